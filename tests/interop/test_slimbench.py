"""The load tool against both nodes, and against one that loses, doubles, swaps and spoils messages."""
import contextlib
import csv
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from certificates import Authority
from faulty_nats import FaultyNats
from faulty_node import FaultyNode
from harness import HERE, UPSTREAM, free_port, node_command, server, wait_until
from hostile import sanitized

def slimbench():
    if path := os.environ.get("SLIMBENCH_BIN"):
        return str(pathlib.Path(path).resolve())
    # <build>/src/bin/slimrouter and <build>/bench/slimbench
    return str(pathlib.Path(os.environ["SLIMROUTER_BIN"]).resolve().parents[2] / "bench" / "slimbench")


def bench(at, mode, *arguments, status=0, output="--json"):
    done = subprocess.run([slimbench(), mode, "--server", at, *([output] if output else []), *map(str, arguments)], capture_output=True,
                          text=True, timeout=40)
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    if output != "--json":
        return done.stdout
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def clean(found):
    assert [found[key] for key in ("lost", "duplicates", "reordered", "corrupt")] == [0, 0, 0, 0], found
    return found


@pytest.fixture
def at(hub):
    return hub.endpoints[0]


SHORT = ("--duration", 0.3, "--warmup", 0.1)


@pytest.mark.smoke
@pytest.mark.parametrize("more", [(), ("--publishers", 5, "--subscribers", 3, "--threads", 2, "--payload", "16-5000"), ("--payload", 0),
                                  ("--identity", 0, "--verify-mac", "on", "--quick-ack"), ("--rate", 2000)], ids=str)
def test_stream(hub, at, more):
    found = clean(bench(at, "stream", *SHORT, "--pid", hub.pid, *more))
    assert found["delivered"] > 100
    assert found["node_cpu_us"] > 0 and found["node_rss_mib"] > 1 and found["own_cpu_us"] > 0


def test_stream_by_count(at):
    found = clean(bench(at, "stream", "--count", 3000, "--publishers", 2, "--payload", "16,100000"))
    assert found["sent"] == found["delivered"] == 6000


@pytest.mark.smoke
def test_fanout(at):
    found = clean(bench(at, "fanout", "--count", 200, "--publishers", 2, "--subscribers", 20, "--threads", 2))
    assert found["sent"] == 400
    assert found["delivered"] == 8000


def test_latency(at):
    found = clean(bench(at, "latency", "--count", 70, "--rate", 400, "--publishers", 3))
    assert found["sent"] == found["delivered"] == 210
    # The last one is due 209 intervals after the first.
    assert found["seconds"] > 0.52
    assert 0 < found["latency_p50_us"] <= found["latency_p90_us"] <= found["latency_p99_us"] <= found["latency_max_us"]


@contextlib.contextmanager
def running(at, mode, *arguments):
    """slimbench at work: both links are open."""
    child = subprocess.Popen([slimbench(), mode, "--server", at, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: sockets(child.pid) >= 2, 20, "slimbench opens its links")
        yield child
    finally:
        child.kill()
        child.wait(10)


def sockets(pid):
    count = 0
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(entry).startswith("socket:")
    return count


def pause(child, seconds):
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(seconds)


def test_latency_counts_the_wait(hub, at):
    """While the node stands still messages go on being due; who measures from the send would see one slow message."""
    with running(at, "latency", "--json", "--count", "1000", "--rate", "500") as child:
        pause(child, 0.5)
        os.kill(hub.pid, signal.SIGSTOP)
        try:
            pause(child, 0.6)
        finally:
            os.kill(hub.pid, signal.SIGCONT)
        out, _ = child.communicate(timeout=20)
    found = clean(json.loads(out))
    # 300 of the 1000 messages were due meanwhile, evenly.
    assert found["latency_max_us"] > 500_000
    assert found["latency_p90_us"] > 250_000


@pytest.mark.smoke
def test_request(at):
    found = clean(bench(at, "request", "--count", 50, "--publishers", 4, "--subscribers", 2, "--threads", 2))
    assert found["sent"] == 200
    assert found["delivered"] == 400
    assert found["requests_rate"] > 0


@pytest.mark.smoke
def test_connections(hub, at):
    found = bench(at, "connections", "--links", 150, "--duration", 0.2, "--threads", 2, "--pid", hub.pid)
    assert (found["opened"], found["failed"], found["lost"]) == (150, 0, 0)
    assert found["rate"] > 0


@pytest.mark.skipif(UPSTREAM, reason="upstream's links cost 64 KiB")
def test_an_idle_link_costs_little(hub, at):
    if sanitized(hub):
        pytest.skip("a sanitizer's memory says nothing about ours")
    found = bench(at, "connections", "--links", 1000, "--duration", 0.5, "--pid", hub.pid)
    assert (found["opened"], found["failed"], found["lost"]) == (1000, 0, 0)
    assert 1 < found["node_link_kib"] <= 16


@pytest.mark.smoke
@pytest.mark.parametrize("what", ["--names", "--ids"])
def test_subscriptions(hub, at, what):
    found = clean(bench(at, "subscriptions", what, 2000, "--links", 3, "--threads", 2, "--lookups", 3000, "--pid", hub.pid))
    assert found["acked"] == 2000
    assert found["lookups"] == 3000
    assert found["rate"] > 0


@pytest.mark.smoke
def test_churn(at):
    found = clean(bench(at, "churn", *SHORT, "--links", 4, "--names", 5, "--threads", 2))
    assert found["cycles"] >= 4
    assert found["failures"] == 0
    assert found["delivered"] > 100


@pytest.mark.parametrize("mode", ["stream", "fanout", "latency", "request", "connections", "subscriptions", "churn"])
def test_upstream(make_node, mode):
    node = make_node(kind="upstream")
    more = {"connections": ("--links", 20, "--duration", 0.1), "subscriptions": ("--names", 300, "--lookups", 300)}.get(mode, SHORT)
    if mode == "churn":
        # Upstream's node refuses about one subscription in 100,000 of links that come and go, which slimbench has to tell.
        done = subprocess.run([slimbench(), mode, "--server", node.endpoints[0], "--pid", str(node.pid), "--json", *map(str, more)],
                              capture_output=True, text=True, timeout=40)
        found = json.loads(done.stdout)
        assert done.returncode == (1 if found["failures"] else 0), done.stderr
        assert found["failures"] <= 2 and all("refused a subscription" in line for line in found["warnings"]), found
    else:
        found = bench(node.endpoints[0], mode, "--pid", node.pid, *more)
    if mode != "connections":
        clean(found)
    assert found["node_rss_mib"] > 1


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
def test_tls(make_node, folder, mutual):
    authority, port = Authority(folder, "authority"), free_port()
    more = {"client_ca": {"type": "file", "path": authority.path}} if mutual else {}
    make_node(servers=[{"endpoint": f"127.0.0.1:{port}", "tls": {"source": {"type": "file", **authority.leaf("server", "server")}, **more}}])
    leaf = authority.leaf("client", "client")
    present = ("--cert", leaf["cert"], "--key", leaf["key"]) if mutual else ()
    found = clean(bench(f"https://127.0.0.1:{port}", "stream", "--count", 500, "--ca", authority.path, *present))
    assert found["tls"] == "yes"
    clean(bench(f"https://127.0.0.1:{port}", "stream", "--count", 500, "--insecure-skip-verify", *present))
    bench(f"https://127.0.0.1:{port}", "stream", "--count", 5, *present, status=1, output=None)


def test_unix_socket(make_node, folder):
    make_node(servers=[server(f"unix://{folder}/hub.sock")])
    clean(bench(f"unix://{folder}/hub.sock", "stream", "--count", 1000, "--quick-ack"))


def test_without_mac(make_node, at):
    node = make_node("lenient", servers=[server(f"127.0.0.1:{free_port()}", require_header_mac=False)])
    assert clean(bench(node.endpoints[0], "stream", "--count", 1000, "--no-mac"))["mac"] == "no"
    bench(at, "stream", "--count", 5, "--no-mac", status=1, output=None)


def test_formats(at):
    rows = list(csv.reader(io.StringIO(bench(at, "stream", "--count", 10, "--payload", "16,20", output="--csv"))))
    assert len(rows) == 2 and len(rows[0]) == len(rows[1])
    row = dict(zip(*rows))
    assert (row["delivered"], row["payload"], row["node_cpu_us"]) == ("10", "16,20", "")
    assert "delivered" in bench(at, "stream", "--count", 10, output=None)


def test_interrupt(at):
    with running(at, "stream", "--json", "--duration", "60", "--warmup", "0", "--rate", "1000") as child:
        pause(child, 0.5)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    found = clean(json.loads(out))
    assert 0 < found["seconds"] < 20
    assert found["delivered"] > 0


def test_status(at):
    assert "--payload" in complaint(at, 2, "stream", "--payload", "many")
    nowhere = f"127.0.0.1:{free_port()}"
    assert nowhere in complaint(nowhere, 1, "stream")
    assert "4194303" in complaint(at, 1, "stream", "--pid", "4194303")


def complaint(at, status, *arguments):
    done = subprocess.run([slimbench(), *arguments, "--server", at], capture_output=True, text=True, timeout=40)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("slimbench: ")
    return done.stderr


def test_node_dies(hub, at):
    with running(at, "stream", "--duration", "60", "--warmup", "0") as child:
        pause(child, 0.5)
        os.kill(hub.pid, signal.SIGKILL)
        out, err = child.communicate(timeout=20)
    # Whether messages were under way decides between lost messages and nothing but a lost link.
    assert child.returncode in (1, 3), err
    assert at in err
    assert "delivered" in out


def drop(number, message):
    return [] if number in (10, 11, 40) else [message]


def double(number, message):
    return [message, message] if number in (10, 20) else [message]


class Swap:
    def __init__(self):
        self.kept = []

    def __call__(self, number, message):
        if number == 10:
            self.kept = [message]
            return []
        kept, self.kept = self.kept, []
        return [message, *kept]


def spoil(number, message):
    """The last byte of the payload."""
    return [message[:-1] + bytes([message[-1] ^ 1])] if number in (10, 20, 30, 45) else [message]


# A fault, and what must be told of it: lost, duplicates, reordered, corrupt.
each_fault = pytest.mark.parametrize("fault,expected", [(lambda n, m: [m], (0, 0, 0, 0)), (drop, (3, 0, 0, 0)), (double, (0, 2, 0, 0)),
                                                        (Swap(), (0, 0, 1, 0)), (spoil, (4, 0, 0, 4))],
                                     ids=["none", "drop", "double", "swap", "spoil"])


@each_fault
def test_faults_are_seen(fault, expected):
    node = FaultyNode(fault)
    try:
        found = bench(node.endpoint, "stream", "--no-mac", "--count", 50, "--publishers", 1, status=3 if any(expected) else 0)
    finally:
        node.stop()
    assert tuple(found[key] for key in ("lost", "duplicates", "reordered", "corrupt")) == expected


def natsbench(at, mode, *arguments, status=0):
    program = pathlib.Path(slimbench()).with_name("natsbench")
    done = subprocess.run([program, mode, "--server", at, *map(str, arguments)], capture_output=True, text=True, timeout=40)
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@each_fault
def test_natsbench_sees_faults(fault, expected):
    server = FaultyNats(fault)
    try:
        done = natsbench(server.endpoint, "stream", "--duration", 0.5, "--warmup", 0.1, "--json", status=3 if any(expected) else 0)
    finally:
        server.stop()
    found = json.loads(done.stdout)
    assert server.published > 50 and server.pinged
    assert tuple(found[key] for key in ("lost", "duplicates", "reordered", "corrupt")) == expected


def test_natsbench_links():
    server = FaultyNats(lambda number, payload: [payload])
    try:
        found = json.loads(natsbench(server.endpoint, "connections", "--links", 20, "--duration", 0.1, "--pid", os.getpid(), "--json").stdout)
    finally:
        server.stop()
    assert found["opened"] == 20 and found["node_rss_mib"] > 1


def test_natsbench_status():
    nowhere = f"127.0.0.1:{free_port()}"
    assert nowhere in natsbench(nowhere, "stream", status=1).stderr
    assert "--payload" in natsbench(nowhere, "stream", "--payload", "15", status=2).stderr
    assert "stream or connections" in natsbench(nowhere, "request", status=2).stderr


def compare(folder, only, *more):
    """(what was printed, all figures)"""
    done = subprocess.run([sys.executable, HERE.parents[1] / "bench" / "compare.py", "--rounds", "1", "--seconds", "0.3", "--only", only, *more,
                           "--node", node_command()[0], "--slimbench", slimbench(), "--python", node_command("upstream")[0],
                           "--wheel-node", HERE / "upstream_node.py", "--svg", folder / "bench.svg", "--json", folder / "bench.json"],
                          capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "bench.json").read_text())


@pytest.mark.skipif(UPSTREAM, reason="compares our node")
def test_compare(folder):
    out, figures = compare(folder, "64 B, no MAC", "--no-nats")
    assert "| 1 to 1, 64 B, no MAC |" in out and "NATS is left out" in out
    found = figures["1 to 1, 64 B, no MAC"]
    assert set(found) == {"SlimRouter", "upstream"}
    assert all(clean(report)["delivered"] > 0 for reports in found.values() for report in reports)
    assert "no MAC" in "".join(xml.etree.ElementTree.parse(folder / "bench.svg").getroot().itertext())


@pytest.mark.skipif(UPSTREAM, reason="compares our node")
def test_compare_workers(folder):
    out, figures = compare(folder, "workers")
    assert "two / one" in out
    found = figures["8 to 8, 64 B, workers"]
    assert set(found) == {"one worker", "two workers"}
    assert all(clean(report)["node_cpu_us"] > 0 for reports in found.values() for report in reports)


@pytest.mark.skipif(UPSTREAM, reason="compares our node")
def test_compare_clients(folder):
    """That each row's clients get their messages through both nodes."""
    _, figures = compare(folder, "clients")
    assert len(figures) == 3
    for found in figures.values():
        assert all(len(reports) == 1 and reports[0]["delivered"] > 0 for reports in found.values())


def test_compare_tables(capsys, monkeypatch):
    """From made-up figures, so that each ratio is known."""
    monkeypatch.syspath_prepend(str(HERE.parents[1] / "bench"))
    import shapes
    import tables

    def reports(*values, **more):
        return [{"node_cpu_us": value, "rate": value * 1000, "warnings": [], **more} for value in values]

    by_label = {entry.label: entry for entry in [*shapes.SHAPES, *shapes.FOOTPRINTS, *shapes.CLIENTS]}
    both = {"SlimRouter": reports(2, 1, 4), "upstream": reports(10), "NATS": reports(4)}
    shape = by_label["1 to 1, 64 B, no MAC"]
    assert list(tables.shape_rows([(shape, both)]))[1][1:6] == ("2.00", "150 %", "10.00", "0 %", "5.0")
    assert list(tables.nats_rows([(shape, both)]))[1][5:7] == ("0.50", "1.00")
    assert [value for _, value, _ in tables.bars([(shape, both)])] == [5, 2]
    # A server whose runs all failed leaves a gap and no ratio.
    gap = list(tables.shape_rows([(shape, {**both, "upstream": []})]))[1]
    assert gap[3:6] == ("-", "-", "-")
    clients = by_label["clients, request and reply"]
    slow, fast = ({"SlimRouter": reports(2), "upstream": reports(value)} for value in (0.05, 1))
    assert [list(tables.client_rows([(clients, found)]))[1][-2:] for found in (slow, fast)] == [("40.0", "20"), ("2.0", "")]
    tables.table(list(tables.footprint_rows([(by_label["100,000 names"], {"SlimRouter": reports(3, node_name_bytes=600), "upstream": []})])))
    assert "| 100,000 names, bytes each |   600 |    0 % |        - |      - |" in capsys.readouterr().out
