#!/usr/bin/env python3
"""Our node against upstream's, in alternating runs of slimbench: node CPU per delivered message, rate and latency.

Each shape runs on both nodes in turn (A B A B ...), so that what else the machine does falls on both alike. The figures are medians; the
spread is the distance from the lowest to the highest run over the median. Nodes run as they come, without tuning.
"""
import argparse
import contextlib
import json
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from chart import chart

OURS, UPSTREAM = "SlimRouter", "upstream"


class Shape:
    def __init__(self, label, mode, *arguments, mac=True, tls=False, goal=None):
        self.label, self.mode, self.arguments, self.mac, self.tls, self.goal = label, mode, arguments, mac, tls, goal


# Identity 0 unless the label says otherwise, as in the table of the goals; goal: at most this share of upstream's CPU.
SHAPES = [
    Shape("1 to 1, 64 B", "stream", "--payload", "64", "--identity", "0", goal=1 / 6.5),
    Shape("1 to 1, 64 B, identity 256 B", "stream", "--payload", "64", "--identity", "256", goal=1 / 6),
    Shape("1 to 1, 1 KiB", "stream", "--payload", "1024", "--identity", "0", goal=1 / 6),
    Shape("1 to 1, 16 KiB", "stream", "--payload", "16384", "--identity", "0", goal=1 / 3),
    Shape("1 to 1, 256 KiB", "stream", "--payload", "262144", "--identity", "0", goal=1 / 2.5),
    Shape("8 to 8, 64 B", "stream", "--payload", "64", "--identity", "0", "--publishers", "8", "--subscribers", "8", goal=1 / 5.5),
    Shape("1 to 16, 64 B", "fanout", "--payload", "64", "--identity", "0", "--subscribers", "16", goal=1 / 8),
    Shape("1 to 100, 64 B", "fanout", "--payload", "64", "--identity", "0", "--subscribers", "100", goal=1 / 8),
    Shape("1 to 1, 64 B, no MAC", "stream", "--payload", "64", "--identity", "0", "--no-mac", mac=False),
    Shape("1 to 1, 1 KiB, no MAC", "stream", "--payload", "1024", "--identity", "0", "--no-mac", mac=False),
    Shape("1 to 1, 64 B, TLS", "stream", "--payload", "64", "--identity", "0", tls=True),
    Shape("1 to 1, 1 KiB, TLS", "stream", "--payload", "1024", "--identity", "0", tls=True),
    Shape("1 to 1, 16 KiB, TLS", "stream", "--payload", "16384", "--identity", "0", tls=True),
    Shape("one in flight, 64 B", "request", "--payload", "64", "--identity", "0"),
]

# label, mode and arguments, and what is of interest: (column, key of the report). Each run has nodes of its own: memory shows only once.
FOOTPRINTS = [
    ("1,000 idle links", ["connections", "--links", "1000", "--duration", "0.5"], [("KiB each", "node_link_kib"), ("links/s", "rate")]),
    ("10,000 names", ["subscriptions", "--names", "10000", "--lookups", "1000"], [("bytes each", "node_name_bytes"), ("acks/s", "rate")]),
    ("10,000 ids of a name", ["subscriptions", "--ids", "10000", "--lookups", "1000"], [("bytes each", "node_name_bytes"), ("acks/s", "rate")]),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificate(folder):
    """(certificate, key) of a server, made once per folder."""
    cert, key = folder / "server.pem", folder / "server.key"
    if not cert.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert], check=True,
                       capture_output=True)
    return cert, key


class Node:
    def __init__(self, label, command, folder, mac, tls=False):
        self.label, self.port = label, free_port()
        self.server = f"https://127.0.0.1:{self.port}" if tls else f"127.0.0.1:{self.port}"
        security = "insecure: true" if not tls else 'source: {{type: file, cert: "{}", key: "{}"}}'.format(*certificate(folder))
        config = folder / f"{label}.yaml"
        config.write_text(
            "tracing:\n  log_level: warn\nservices:\n  slim/0:\n    dataplane:\n      servers:\n"
            f'        - endpoint: "127.0.0.1:{self.port}"\n          require_header_mac: {"true" if mac else "false"}\n'
            f"          tls:\n            {security}\n")
        self.log = open(folder / f"{label}.log", "ab")
        self.child = subprocess.Popen([*command, "--config", str(config)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def ready(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                sys.exit(f"compare: {self.label} ended with status {self.child.returncode}:\n{self.tail()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        sys.exit(f"compare: {self.label} does not listen on 127.0.0.1:{self.port} after 20 s:\n{self.tail()}")

    def tail(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-1000:]

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()


def run(options, label, node, arguments):
    """The report, or None when the run failed, which is told."""
    command = [options.slimbench, *arguments, "--server", node.server, "--pid", str(node.child.pid), "--json", "--quick-ack"]
    if node.server.startswith("https"):
        command.append("--insecure-skip-verify")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 60)
    except subprocess.TimeoutExpired as late:
        print(f"compare: {label} on {node.label}: slimbench did not end within {late.timeout:g} s", file=sys.stderr)
        return None
    if done.returncode == 0:
        return json.loads(done.stdout)
    print(f"compare: {label} on {node.label}: slimbench ended with status {done.returncode}: {done.stderr.strip()}", file=sys.stderr)
    return None


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def commands(options):
    return (OURS, [options.node]), (UPSTREAM, options.upstream)


def measure(options, shape, folder):
    """{node: list of reports}; a run that failed is left out."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for label, command in commands(options):
            node = Node(label, command, folder, shape.mac, shape.tls)
            stack.callback(node.stop)
            nodes.append(node)
        for node in nodes:
            node.ready()
        found = {node.label: [] for node in nodes}
        for number in range(options.rounds):
            for node in nodes:
                progress(f"{shape.label}: round {number + 1} of {options.rounds}, {node.label}")
                if (report := run(options, shape.label, node, [shape.mode, "--duration", str(options.seconds), "--warmup", "0.5",
                                                               *shape.arguments])) is not None:
                    found[node.label].append(report)
        progress("")
    return found


def measure_footprint(options, label, arguments, folder):
    found = {OURS: [], UPSTREAM: []}
    for number in range(options.rounds):
        for name, command in commands(options):
            progress(f"{label}: round {number + 1} of {options.rounds}, {name}")
            node = Node(name, command, folder, True)
            try:
                node.ready()
                if (report := run(options, label, node, arguments)) is not None:
                    found[name].append(report)
            finally:
                node.stop()
    progress("")
    return found


def footprint_rows(label, columns, found):
    for column, key in columns:
        values = median(found[OURS], key), median(found[UPSTREAM], key)
        yield (f"{label}, {column}", number(values[0], 0), f"{spread(found[OURS], key):.0f} %", number(values[1], 0),
               f"{spread(found[UPSTREAM], key):.0f} %")


def median(reports, key):
    values = [report[key] for report in reports if report[key] is not None]
    return statistics.median(values) if values else None


def spread(reports, key):
    values = [report[key] for report in reports if report[key] is not None]
    return (max(values) - min(values)) / statistics.median(values) * 100 if values and statistics.median(values) else 0


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for index, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                                for column, (cell, width) in enumerate(zip(row, widths))) + " |")
        if index == 0:
            print("|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":") for column, width in enumerate(widths)) + "|")


def summarise(results):
    """The table, and rows for the chart."""
    rows = [("shape", "CPU ours, us", "spread", "CPU upstream, us", "spread", "upstream / ours", "goal", "rate ours, /s", "rate upstream, /s",
             "p50 ours, us", "p50 upstream, us")]
    bars = []
    limited = []
    for shape, found in results:
        ours, theirs = found[OURS], found[UPSTREAM]
        cpu = median(ours, "node_cpu_us"), median(theirs, "node_cpu_us")
        ratio = cpu[1] / cpu[0] if cpu[0] and cpu[1] else None
        rate = "requests_rate" if shape.mode == "request" else "rate"
        rows.append((shape.label, number(cpu[0]), f"{spread(ours, 'node_cpu_us'):.0f} %", number(cpu[1]),
                     f"{spread(theirs, 'node_cpu_us'):.0f} %", number(ratio, 1), number(1 / shape.goal, 1) if shape.goal else "",
                     number(median(ours, rate), 0), number(median(theirs, rate), 0), number(median(ours, "latency_p50_us"), 0),
                     number(median(theirs, "latency_p50_us"), 0)))
        if ratio:
            bars.append((shape.label, ratio, f"{cpu[0]:.2f} us / {cpu[1]:.2f} us"))
        for label, reports in found.items():
            for warning in dict.fromkeys(text.split(":")[0] for report in reports for text in report["warnings"]):
                limited.append(f"{shape.label}, {label}: {warning}")
    table(rows)
    if limited:
        print("\nslimbench warned in some runs:")
        for line in limited:
            print(f"* {line}")
    return bars


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each shape on each node (3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a run (3)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only shapes whose label holds this text")
    parser.add_argument("--slim", metavar="FILE", help="a slim binary built from upstream's sources, in place of the node in the wheel")
    for name in ("node", "slimbench", "python", "wheel-node", "svg", "json"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.upstream = [options.slim] if options.slim else [options.python, options.wheel_node]
    options.shapes = [shape for shape in SHAPES if options.only in shape.label]
    options.footprints = [entry for entry in FOOTPRINTS if options.only in entry[0]]
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds have to be more than 0")
    if not options.shapes and not options.footprints:
        labels = [shape.label for shape in SHAPES] + [entry[0] for entry in FOOTPRINTS]
        parser.error(f'no shape holds "{options.only}"; there are: {"; ".join(labels)}')
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results, footprints = [], []
    with tempfile.TemporaryDirectory(prefix="slimbench-") as folder:
        with contextlib.suppress(KeyboardInterrupt):
            for shape in options.shapes:
                results.append((shape, measure(options, shape, pathlib.Path(folder))))
            for label, command, columns in options.footprints:
                footprints.append((label, columns, measure_footprint(options, label, command, pathlib.Path(folder))))
    if not results and not footprints:
        sys.exit("compare: interrupted before the first shape was measured")
    everything = {shape.label: found for shape, found in results} | {label: found for label, _, found in footprints}
    pathlib.Path(options.json).write_text(json.dumps(everything, indent=1) + "\n")
    print(f"Medians of {options.rounds} alternating runs of {options.seconds:g} s; CPU is that of the node per delivered message; the load side "
          "acknowledges at once.\n")
    if results:
        bars = summarise(results)
        if bars:
            pathlib.Path(options.svg).write_text(chart("Node CPU per delivered message: upstream's over SlimRouter's",
                                                       "How many times the CPU upstream's node takes (us ours / us upstream); the line is 1.",
                                                       bars, 1))
            print(f"\nChart: {options.svg}")
    if footprints:
        print()
        table([("footprint", "ours", "spread", "upstream", "spread"),
               *(row for label, columns, found in footprints for row in footprint_rows(label, columns, found))])
    print(f"\nAll figures: {options.json}")
    server = shutil.which("nats-server")
    print(f"NATS is left out: {'nats-server is installed' if server else 'nats-server is not installed'}, and nothing here drives it yet.")
    if any(len(found[label]) < options.rounds for found in everything.values() for label in (OURS, UPSTREAM)):
        sys.exit("compare: some runs failed, see above")


if __name__ == "__main__":
    main()
