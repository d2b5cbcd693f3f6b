"""What is measured, and the goals. A goal is the most that our share of the other's figure may be, unless it says otherwise."""
from nodes import NATS, ONE_WORKER, OURS, TWO_WORKERS, UPSTREAM


class Shape:
    """A load of slimbench. nats: what natsbench is told for the same one, where NATS takes part."""

    def __init__(self, label, mode, *arguments, mac=True, tls=False, goal=None, quick=True, nats=None, nodes=(OURS, UPSTREAM)):
        self.label, self.mode, self.arguments, self.mac, self.tls, self.goal = label, mode, arguments, mac, tls, goal
        self.quick, self.nats = quick, nats
        self.nodes = (*nodes, NATS) if nats else nodes

    def command(self, options, node):
        times = "--duration", str(options.seconds), "--warmup", "0.5"
        if node.label == NATS:
            return natsbench(options, node, *self.nats, *times)
        return slimbench(options, node, self.mode, *times, *self.arguments, *(["--quick-ack"] if self.quick else []))


class Footprint:
    """Memory, which shows only once: each run has a node of its own. columns: (column, key of the report, digits)."""

    def __init__(self, label, *arguments, columns, nats=None, upstream="always"):
        self.label, self.arguments, self.columns, self.nats, self.upstream = label, arguments, columns, nats, upstream
        self.nodes = (OURS, UPSTREAM, NATS) if nats else (OURS, UPSTREAM)

    def command(self, options, node):
        if node.label == NATS:
            return natsbench(options, node, *self.nats)
        return slimbench(options, node, *self.arguments, "--quick-ack")

    def rounds(self, options, label):
        """Where upstream takes minutes it runs once, when asked to."""
        if label != UPSTREAM or self.upstream == "always":
            return options.rounds
        return 1 if self.upstream == "slow" and options.slow else 0


class Clients:
    """Unmodified clients (clients.py). goal: at least so many times upstream's rate where that is below 100 messages a second."""

    SLOW = 100

    def __init__(self, label, kind, goal=None):
        self.label, self.kind, self.goal, self.mac, self.tls, self.nodes = label, kind, goal, True, False, (OURS, UPSTREAM)

    def command(self, options, node):
        return [options.python, options.clients, self.kind, "--endpoint", f"http://{node.address}", "--duration", str(options.seconds)]


def slimbench(options, node, *arguments):
    more = ["--insecure-skip-verify"] if node.address.startswith("https") else []
    return [options.slimbench, *arguments, "--server", node.address, "--pid", str(node.child.pid), "--json", *more]


def natsbench(options, node, *arguments):
    return [options.natsbench, *arguments, "--server", node.address, "--pid", str(node.child.pid), "--json"]


def stream(payload, *more):
    return "stream", "--payload", str(payload), "--identity", "0", *more


def fanout(payload, subscribers):
    return "fanout", "--payload", str(payload), "--identity", "0", "--subscribers", str(subscribers)


EIGHT = "--publishers", "8", "--subscribers", "8"

# Identity 0 unless the label says otherwise, as in the table of the goals.
SHAPES = [
    Shape("1 to 1, 64 B", *stream(64), goal=1 / 6.5),
    Shape("1 to 1, 64 B, plain acknowledgements", *stream(64), quick=False),
    Shape("1 to 1, 64 B, identity 256 B", "stream", "--payload", "64", "--identity", "256", goal=1 / 6),
    Shape("1 to 1, 1 KiB", *stream(1024), goal=1 / 6),
    Shape("1 to 1, 16 KiB", *stream(16384), goal=1 / 3),
    Shape("1 to 1, 256 KiB", *stream(262144), goal=1 / 2.5),
    Shape("8 to 8, 64 B", *stream(64, *EIGHT), goal=1 / 5.5),
    Shape("1 to 16, 64 B", *fanout(64, 16), goal=1 / 8),
    Shape("1 to 100, 64 B", *fanout(64, 100), goal=1 / 8),
    Shape("1 to 1, 64 B, no MAC", *stream(64, "--no-mac"), mac=False, nats=["stream", "--payload", "64"]),
    Shape("1 to 1, 1 KiB, no MAC", *stream(1024, "--no-mac"), mac=False, nats=["stream", "--payload", "1024"]),
    Shape("1 to 1, 64 B, TLS", *stream(64), tls=True),
    Shape("1 to 1, 1 KiB, TLS", *stream(1024), tls=True, goal=1 / 4),
    Shape("1 to 1, 16 KiB, TLS", *stream(16384), tls=True),
    Shape("one in flight, 64 B", "request", "--payload", "64", "--identity", "0"),
]
NATS_GOAL = 1.0
# (report's key, column, goal) of the shapes with one message in flight.
LATENCIES = [("latency_p50_us", "p50", 0.8), ("latency_p99_us", "p99", 1.0)]

# Ours alone: the CPU of two workers over that of one.
WORKERS = [Shape("8 to 8, 64 B, workers", *stream(64, *EIGHT), goal=1.15, nodes=(ONE_WORKER, TWO_WORKERS))]

LINKS = [("KiB each", "node_link_kib", 1), ("links/s", "rate", 0)]
NAMES = [("bytes each", "node_name_bytes", 0), ("acks/s", "rate", 0)]


def links(n):
    return "connections", "--links", str(n), "--duration", "0.5"


def names(what, n):
    return "subscriptions", what, str(n), "--lookups", "1000"


FOOTPRINTS = [
    Footprint("1,000 idle links", *links(1000), columns=LINKS, nats=links(1000)),
    Footprint("5,000 idle links", *links(5000), columns=LINKS),
    Footprint("10,000 names", *names("--names", 10000), columns=NAMES),
    Footprint("100,000 names", *names("--names", 100000), columns=NAMES, upstream="slow"),
    Footprint("10,000 ids of a name", *names("--ids", 10000), columns=NAMES),
    Footprint("100,000 ids of a name", *names("--ids", 100000), columns=NAMES, upstream="never"),
]

CLIENTS = [
    Clients("clients, request and reply", "request", goal=20),
    Clients("clients, group channel to 3", "group", goal=20),
    Clients("clients, stream", "stream"),
]
