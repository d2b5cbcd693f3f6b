#!/usr/bin/env python3
"""Our node against upstream's, and against a NATS server, in alternating runs: CPU per delivered message, rate, latency, memory.

Each shape runs on all of them in turn (A B A B ...), so that what else the machine does falls on all alike. The figures are medians; the
spread is the distance from the lowest to the highest run over the median. Servers run as they come, without tuning. NATS takes part where
nats-server is installed; its load is that of natsbench. Rows that begin with "clients" have unmodified clients for a load.
"""
import argparse
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile

import tables
from chart import chart
from nodes import NATS, nats_server, start
from shapes import CLIENTS, FOOTPRINTS, SHAPES, WORKERS

# A run of slimbench takes its time for warm-up, links and a last look; 100,000 names take upstream's node two minutes.
GRACE_S = 60
SLOW_S = 400


def run(options, shape, node, grace=GRACE_S):
    """The report, or None when the run failed, which is told."""
    command = shape.command(options, node)
    name = "clients.py" if command[0] == options.python else pathlib.Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + grace)
    except subprocess.TimeoutExpired as late:
        print(f"compare: {shape.label} on {node.label}: {name} did not end within {late.timeout:g} s", file=sys.stderr)
        return None
    if done.returncode == 0:
        return json.loads(done.stdout)
    print(f"compare: {shape.label} on {node.label}: {name} ended with status {done.returncode}: {done.stderr.strip()}", file=sys.stderr)
    return None


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def present(options, shape):
    return [label for label in shape.nodes if label != NATS or options.nats]


def measure(options, shape, folder):
    """{server: list of reports}; a run that failed is left out."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for label in present(options, shape):
            nodes.append(start(options, label, folder, shape.mac, shape.tls))
            stack.callback(nodes[-1].stop)
        for node in nodes:
            node.ready()
        found = {node.label: [] for node in nodes}
        for number in range(options.rounds):
            for node in nodes:
                progress(f"{shape.label}: round {number + 1} of {options.rounds}, {node.label}")
                if (report := run(options, shape, node)) is not None:
                    found[node.label].append(report)
        progress("")
    return found


def measure_footprint(options, footprint, folder):
    labels = present(options, footprint)
    found = {label: [] for label in labels}
    for number in range(options.rounds):
        for label in labels:
            if number >= footprint.rounds(options, label):
                continue
            progress(f"{footprint.label}: round {number + 1} of {options.rounds}, {label}")
            node = start(options, label, folder)
            try:
                node.ready()
                if (report := run(options, footprint, node, SLOW_S if footprint.upstream == "slow" else GRACE_S)) is not None:
                    found[label].append(report)
            finally:
                node.stop()
    progress("")
    return found


def complete(options, entry, found):
    wanted = entry.rounds if hasattr(entry, "rounds") else lambda options, label: options.rounds
    return all(len(reports) >= wanted(options, label) for label, reports in found.items())


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each shape on each server (3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a run (3)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only shapes whose label holds this text")
    parser.add_argument("--slow", action="store_true", help="upstream's node too where that takes minutes: 100,000 names, one run")
    parser.add_argument("--no-nats", action="store_true", help="leave NATS out")
    parser.add_argument("--slim", metavar="FILE", help="a slim binary built from upstream's sources, in place of the node in the wheel")
    for name in ("node", "slimbench", "python", "wheel-node", "svg", "json"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.upstream = [options.slim] if options.slim else [options.python, options.wheel_node]
    options.natsbench = str(pathlib.Path(options.slimbench).with_name("natsbench"))
    options.clients = str(pathlib.Path(__file__).with_name("clients.py"))
    options.nats = not options.no_nats and nats_server() is not None
    everything = [*SHAPES, *WORKERS, *FOOTPRINTS, *CLIENTS]
    options.chosen = [entry for entry in everything if options.only in entry.label]
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds have to be more than 0")
    if not options.chosen:
        parser.error(f'no shape holds "{options.only}"; there are: {"; ".join(entry.label for entry in everything)}')
    return options


def show(options, results):
    """All tables that have rows, and the chart."""
    def of(group):
        return [(entry, found) for entry, found in results if entry in group]

    shapes = of(SHAPES)
    parts = [tables.shape_rows(shapes), tables.nats_rows(shapes), tables.latency_rows(shapes), tables.worker_rows(of(WORKERS)),
             tables.footprint_rows(of(FOOTPRINTS)), tables.client_rows(of(CLIENTS))]
    for rows in map(list, parts):
        if len(rows) > 1:
            tables.table(rows)
            print()
    if limited := list(tables.warnings(results)):
        print("slimbench warned in some runs:", *(f"* {line}" for line in limited), "", sep="\n")
    if bars := list(tables.bars(shapes)):
        pathlib.Path(options.svg).write_text(chart("CPU per delivered message: the others' over SlimRouter's",
                                                   "How many times the CPU upstream's node, or NATS, takes (us ours / us theirs); the line is 1.",
                                                   bars, 1))
        print(f"Chart: {options.svg}")
    print(f"All figures: {options.json}")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = []
    with tempfile.TemporaryDirectory(prefix="slimbench-") as folder:
        with contextlib.suppress(KeyboardInterrupt):
            for entry in options.chosen:
                step = measure_footprint if entry in FOOTPRINTS else measure
                results.append((entry, step(options, entry, pathlib.Path(folder))))
    if not results:
        sys.exit("compare: interrupted before the first shape was measured")
    pathlib.Path(options.json).write_text(json.dumps({entry.label: found for entry, found in results}, indent=1) + "\n")
    print(f"Medians of {options.rounds} alternating runs of {options.seconds:g} s; CPU is that of the server per delivered message; the load "
          "side acknowledges at once unless the label says otherwise.\n")
    show(options, results)
    if not options.nats and any(NATS in entry.nodes for entry in options.chosen):
        print("NATS is left out: " + ("as --no-nats asks." if options.no_nats else "nats-server is not installed (Debian has it as nats-server)."))
    if not all(complete(options, entry, found) for entry, found in results):
        sys.exit("compare: some runs failed, see above")


if __name__ == "__main__":
    main()
