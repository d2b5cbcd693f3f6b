"""A hub and real clients, of whom some are killed, stopped, cut off and some mean harm, and which itself is stopped and killed now
and then. Those who are left alone must be served all the time.

    chaos.py --minutes 60 [--seed N] [--folder DIR]

SLIMROUTER_BIN, SLIMBENCH_BIN, SLIM_PEER_338 and SLIM_PEER_220 name what is run, as for the interop tests. The last line is
"N checks passed, N failed"; the status is 1 when one failed. The same seed gives the same disturbances.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop"))

from harness import Node, Peer, PeerError, free_port, server, wait_until  # noqa: E402
import hostile  # noqa: E402
from proxy import HOW, Proxy  # noqa: E402

# How long an answer may take those who are left alone: after a restart they look for the hub every two seconds, and a message that
# was lost with it is sent again once its gap is seen.
PATIENCE, PATIENCE_AFTER_RESTART = 20, 45
# The identity in an MLS leaf of upstream's clients is good for an hour, through any node; then their session is dead.
MLS_LIFE = 45 * 60
# What the hub may say at ERROR when it is treated like this.
EXPECTED = re.compile("SLIM header integrity verification failed|accept failed|connection refused|error connecting|reconnect|"
                      "unable to|failed to connect|connection attempt")
GROWN_MIB = 160


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Checks:
    def __init__(self):
        self.passed = collections.Counter()
        self.failures = []
        self.lock = threading.Lock()

    def check(self, what, good, detail=""):
        with self.lock:
            if good:
                self.passed[what] += 1
            else:
                self.failures.append(f"{what}: {detail}")
                print(f"FAILED {time.strftime('%H:%M:%S')} {what}: {detail}", flush=True)
        return good


class Good:
    """Two processes that nobody disturbs; a message goes there and back on each of their sessions, again and again."""

    def __init__(self, world):
        self.world, self.stopping, self.rounds, self.opened, self.mls_until = world, False, 0, 0, 0
        self.left, self.right = Peer(world.folder, "good-left"), Peer(world.folder, "good-right")
        self.older = Peer(world.folder, "good-older", "2.2.0")
        self.sessions = [self.open(number) for number in range(3)]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def open(self, number):
        """0: plain, 1: MLS, 2: of the older generation; each with clients of its own."""
        peer, mls = (self.older if number == 2 else self.left), number == 1
        self.opened += 1
        answerer = self.right.client(self.world.endpoint, f"org/good/answerer{self.opened}")
        answerer.echo()
        caller = peer.client(self.world.endpoint, f"org/good/caller{self.opened}")
        session = caller.open(answerer.name, mls=mls, retries=100, interval=0.5)
        if mls:
            self.mls_until = time.monotonic() + MLS_LIFE
        return session

    def renew(self):
        try:
            self.sessions[1] = self.open(1)
        except PeerError as error:
            self.world.checks.check("a good client opens a session", self.world.restarted_lately(), repr(error))

    def run(self):
        while not self.stopping:
            if time.monotonic() > self.mls_until and not self.world.restarted_lately():
                self.renew()
            patience = PATIENCE_AFTER_RESTART if self.world.restarted_lately() else PATIENCE
            self.rounds += 1
            futures = [session.begin("ping", text=f"round {self.rounds}", timeout=patience) for session in self.sessions]
            for number, future in enumerate(futures):
                try:
                    future.result(patience + 10)
                    self.world.checks.check("a good client is answered", True)
                except (PeerError, concurrent.futures.TimeoutError) as error:
                    # A restart may have come while it waited.
                    if self.world.restarted_lately() and patience == PATIENCE:
                        continue
                    self.world.checks.check("a good client is answered", False, f"session {number}, round {self.rounds}: {error!r}")
            time.sleep(0.2)

    def stop(self):
        self.stopping = True
        self.thread.join()
        for peer in (self.left, self.right, self.older):
            peer.kill()


class Victim:
    """A process of clients behind a proxy of its own. Its sessions may break at any time; what they deliver must still be right."""

    def __init__(self, world, number):
        self.world, self.number, self.life = world, number, 0
        self.proxy = Proxy(world.hub.endpoints[0])
        self.lock = threading.Lock()
        self.peer = None
        self.start()

    def start(self):
        self.life += 1
        self.peer = Peer(self.world.folder, f"victim{self.number}-{self.life}", random.choice(["3.3.8", "3.3.8", "2.2.0"]))
        threading.Thread(target=self.talk, args=(self.peer, self.life), daemon=True).start()

    def talk(self, peer, life):
        """Echoes itself through the hub for as long as that goes."""
        endpoint = "http://" + self.proxy.endpoint
        while self.life == life and peer.process.child.poll() is None:
            with contextlib.suppress(PeerError, TimeoutError, concurrent.futures.TimeoutError):
                answerer = peer.client(endpoint, f"org/victim/answerer{self.number}")
                answerer.echo()
                caller = peer.client(endpoint, f"org/victim/caller{self.number}")
                session = caller.open(answerer.name, within=20, retries=10, interval=0.5)
                for number in range(1000):
                    session.ping(f"life {life} {number}", timeout=10)
                    self.world.victim_rounds += 1
            time.sleep(1)

    def kill(self):
        with self.lock:
            self.peer.kill()
            self.start()

    def freeze(self, seconds):
        with self.lock:
            peer = self.peer
            peer.signal(signal.SIGSTOP)
            time.sleep(seconds)
            peer.signal(signal.SIGCONT)

    def stop(self):
        self.life += 1
        self.peer.signal(signal.SIGCONT)
        self.peer.kill()
        self.proxy.close()


def floods(rng):
    """What a hostile connection sends, once it stands."""
    big = b"x" * 4096
    return {
        "noise": lambda raw: raw.send(rng.randbytes(20000), 2),
        "pings": lambda raw: raw.send(hostile.frame(hostile.PING, 0, 0, b"12345678") * 20000, 2),
        "resets": lambda raw: raw.send(b"".join(hostile.request(2 * n + 1) + hostile.reset(2 * n + 1) for n in range(3000)), 2),
        "settings": lambda raw: raw.send(hostile.frame(hostile.SETTINGS) * 20000, 2),
        "continuation": lambda raw: raw.send(hostile.request(1, 0) + hostile.frame(hostile.CONTINUATION, 0, 1, big) * 200, 2),
        "announced": lambda raw: raw.send(hostile.frame(hostile.DATA, 0, 1, b"", 2**24 - 1), 2),
        "message": lambda raw: raw.send(hostile.request(1) + hostile.frame(hostile.DATA, 0, 1, b"\0\xff\xff\xff\xff" + big), 2),
        "broken": lambda raw: raw.send(hostile.request(1) + hostile.frame(hostile.DATA, 0, 1, b"\0\0\0\x10\0" + rng.randbytes(4096)), 2),
        "silence": lambda raw: None,
    }


class World:
    def __init__(self, folder, rng, slimbench):
        self.folder, self.rng, self.slimbench = folder, rng, slimbench
        self.checks = Checks()
        self.back_io = rng.choice(["io_uring", "epoll"])
        self.placement = rng.choice(["follow", "restless"])
        self.memory = rng.choice(["256", "4096"])
        self.restarted, self.victim_rounds, self.read_up_to = 0.0, 0, 0
        self.hub = Node(folder, "hub", {"servers": [server(f"127.0.0.1:{free_port()}")]}, None,
                        ("--io", self.back_io, "--placement", self.placement, "--memory", self.memory), node_id="chaos-hub")
        self.hub.start()
        self.fds = self.descriptors()
        self.started_mib = self.hub.resident_mib()
        self.endpoint = "http://" + self.hub.endpoints[0]
        self.bridge = Proxy(self.hub.endpoints[0])
        self.second = Node(folder, "second",
                           {"servers": [server(f"127.0.0.1:{free_port()}")],
                            "clients": [{"endpoint": f"http://{self.bridge.endpoint}", "tls": {"insecure": True}, "connection_type": "peer"}]},
                           None, ("--io", self.back_io), node_id="chaos-second")
        self.second.start()
        self.victims = []
        self.hostile_ones = []
        self.bench_running = threading.Lock()
        self.hub_lock = threading.Lock()
        self.descriptors_lock = threading.Lock()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.hub.pid}/fd"))

    def restarted_lately(self):
        return time.monotonic() < self.restarted + PATIENCE_AFTER_RESTART

    # --- disturbances, each in a thread of its own

    def kill_client(self, rng):
        rng.choice(self.victims).kill()

    def stop_client(self, rng):
        rng.choice(self.victims).freeze(rng.uniform(1, 25))

    def disturb_link(self, rng):
        how = rng.choice(HOW)
        rng.choice(self.victims).proxy.disturb(how, rng.uniform(1, 12))

    def disturb_bridge(self, rng):
        self.bridge.disturb(rng.choice(HOW), rng.uniform(1, 8))

    def attack(self, rng):
        kind, flood = rng.choice(sorted(floods(rng).items()))
        with contextlib.suppress(OSError, AssertionError):
            for _ in range(rng.randrange(1, 12)):
                raw = hostile.Raw(self.hub, preface=kind != "noise")
                flood(raw)
                self.hostile_ones.append(raw)
        while len(self.hostile_ones) > 60:
            self.hostile_ones.pop(0).close()

    def few_descriptors(self, rng):
        """No descriptor is left for a while; who is there stays."""
        # One at a time: a second one would take the lowered limit for the usual one, and leave it so.
        with self.descriptors_lock, contextlib.suppress(ProcessLookupError, FileNotFoundError):
            pid, before = self.hub.pid, resource.prlimit(self.hub.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.descriptors() + 2, before[1]))
            time.sleep(rng.uniform(1, 4))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def broken_configuration(self, rng):
        """A second hub with a broken file ends with a message and does not touch the first."""
        text = self.hub.config.read_text()
        broken = self.folder / "broken.yaml"
        broken.write_text(text.replace("endpoint:", rng.choice(["endpont:", "endpoint: [", "endpoint: 7 #"]), 1))
        done = subprocess.run([*self.hub.process.command[:1], "--config", str(broken)], capture_output=True, text=True, timeout=20)
        said = done.stderr + done.stdout
        self.checks.check("a broken configuration is refused with the place", done.returncode != 0 and "broken.yaml" in said,
                          f"status {done.returncode}: {said[:300]}")

    def restart(self, rng, number):
        with self.hub_lock:
            self.restarted = time.monotonic()
            status = self.hub.stop(number, 30)
            self.restarted = time.monotonic()
            if number == signal.SIGTERM:
                self.checks.check("the hub ends in order", status == 0, f"status {status}")
            self.read_log()
            if rng.random() < 0.3:
                time.sleep(3)
            self.hub.start()
            self.started_mib = self.hub.resident_mib()
            self.restarted = time.monotonic()

    def terminate(self, rng):
        self.restart(rng, signal.SIGTERM)

    def crash(self, rng):
        self.restart(rng, signal.SIGKILL)

    def load(self, rng):
        """slimbench for a few seconds: nothing lost or doubled, unless the hub went away under it."""
        if not self.bench_running.acquire(blocking=False):
            return
        try:
            before = self.restarted
            if time.monotonic() < before + 10 and before:
                return
            shape = rng.choice([("stream", "--publishers", "4", "--subscribers", "3", "--rate", "4000", "--payload", "64-3000"),
                                     ("fanout", "--subscribers", "20", "--rate", "300"), ("churn", "--rate", "2000"), ("request",)])
            done = subprocess.run([self.slimbench, shape[0], "--server", self.hub.endpoints[0], *shape[1:], "--duration", "4", "--warmup",
                                   "0.5", "--json"], capture_output=True, text=True, timeout=60)
            if before != self.restarted:
                return
            self.checks.check("load passes without a fault", done.returncode == 0,
                              f"{' '.join(shape)}: status {done.returncode}: {(done.stderr + done.stdout)[:400]}")
        except subprocess.TimeoutExpired:
            self.checks.check("load passes without a fault", False, "slimbench did not end")
        finally:
            self.bench_running.release()

    # --- what is looked at all the time

    def look(self):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, TypeError):
            if self.hub_lock.acquire(blocking=False):
                try:
                    grown = self.hub.resident_mib() - self.started_mib
                    self.checks.check("the hub's memory is bounded", grown < GROWN_MIB, f"{grown:.0f} MiB more than at the start")
                    self.checks.check("the hub lives", self.hub.process.child.poll() is None, "it ended by itself")
                finally:
                    self.hub_lock.release()

    def read_log(self):
        """Lines that must not be there, of everything since the last look."""
        text = plain(self.hub.process.log.read_text(errors="replace"))
        new = text[self.read_up_to:]
        self.read_up_to = len(text)
        bad = [line for line in new.splitlines() if re.search("Sanitizer|runtime error|[Aa]ssert", line) or
               (" ERROR " in line and not EXPECTED.search(line))]
        self.checks.check("the log holds no surprise", not bad, "\n".join(bad[:5]))


ACTIONS = [("kill_client", 6), ("stop_client", 5), ("disturb_link", 10), ("disturb_bridge", 3), ("attack", 8), ("few_descriptors", 2),
           ("broken_configuration", 1), ("terminate", 1), ("crash", 1), ("load", 8)]


def run(world, seconds, each_once):
    world.victims = [Victim(world, number) for number in range(3)]
    good = Good(world)
    wait_until(lambda: good.rounds >= 3, 60, "the first rounds of the good clients")
    end, next_look, next_restart = time.monotonic() + seconds, 0, time.monotonic() + (10 if each_once else 60)
    queue, next_word = [name for name, _ in ACTIONS] if each_once else [], 0
    world.rng.shuffle(queue)
    pool = concurrent.futures.ThreadPoolExecutor(16)
    counts, futures = collections.Counter(), []
    while time.monotonic() < end or queue:
        if queue:
            name = queue.pop()
        else:
            name = world.rng.choices([name for name, _ in ACTIONS], [weight for _, weight in ACTIONS])[0]
        if name in ("terminate", "crash") and not each_once:
            # In the last third the hub lives through everything else, so that its memory has time to grow.
            if time.monotonic() < next_restart or time.monotonic() > end - seconds / 3:
                continue
            next_restart = time.monotonic() + PATIENCE_AFTER_RESTART + world.rng.uniform(10, 60)
        counts[name] += 1
        futures.append(pool.submit(getattr(world, name), random.Random(world.rng.getrandbits(64))))
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + 5
            world.look()
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + 60
                print(f"{time.strftime('%H:%M:%S')} {counts.total()} disturbances, {good.rounds} rounds of the good, "
                      f"{world.victim_rounds} of the others, {world.hub.resident_mib():.0f} MiB, {len(world.checks.failures)} failed", flush=True)
        time.sleep(world.rng.uniform(0.2, 1.5) if each_once else world.rng.uniform(0.5, 4))
    for future in futures:
        try:
            future.result(120)
        except Exception as error:
            world.checks.check("a disturbance can be done", False, repr(error))
    pool.shutdown()
    rounds = good.rounds
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: good.rounds > rounds + 2, 120, "a last round")
    world.checks.check("good clients are served to the end", good.rounds > rounds + 2)
    good.stop()
    for victim in world.victims:
        victim.stop()
    for raw in world.hostile_ones:
        raw.close()
    world.bridge.close()
    world.second.stop()
    world.checks.check("every client is gone from the hub", settled(world), f"{world.descriptors()} descriptors, at first {world.fds}")
    world.look()
    status = world.hub.stop(signal.SIGTERM, 30)
    world.checks.check("the hub ends in order", status == 0, f"status {status}")
    world.read_log()
    return counts, good.rounds


def settled(world):
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: world.descriptors() <= world.fds, 30, "the descriptors of the start")
        return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--each-once", action="store_true", help="one of each disturbance in short order")
    parser.add_argument("--folder", type=pathlib.Path, help="where logs are kept when something failed")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    random.seed(arguments.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    world = World(folder, rng, os.environ["SLIMBENCH_BIN"])
    print(f"seed {arguments.seed}: {world.back_io}, {world.placement}, memory {world.memory} MiB", flush=True)
    counts, rounds = run(world, 0 if arguments.each_once else arguments.minutes * 60, arguments.each_once)
    print(f"{dict(counts)}; {rounds} rounds of the good, {world.victim_rounds} of the others")
    failed = len(world.checks.failures)
    if failed and arguments.folder:
        shutil.rmtree(arguments.folder, ignore_errors=True)
        shutil.copytree(folder, arguments.folder)
        print(f"logs: {arguments.folder}")
    shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(world.checks.passed))
    print(f"{world.checks.passed.total()} checks passed, {failed} failed")
    sys.stdout.flush()
    os._exit(1 if failed else 0)


main()
