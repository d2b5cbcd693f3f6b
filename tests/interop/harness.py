"""Starting and watching the processes of the interoperability tests: nodes and peers, each with a log file; free ports; YAML."""
import base64
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).parent
PYTHON = {"3.3.8": os.environ.get("SLIM_PEER_338", sys.executable), "2.2.0": os.environ.get("SLIM_PEER_220", "")}
UPSTREAM = os.environ.get("NODE") == "upstream"


def node_command(kind=None):
    """What starts a node: kind None is the node under test, "upstream" always upstream's own."""
    if UPSTREAM or kind == "upstream":
        return [PYTHON["3.3.8"], str(HERE / "upstream_node.py")]
    binary = os.environ.get("SLIMROUTER_BIN")
    if not binary:
        raise RuntimeError("set SLIMROUTER_BIN to the daemon, or NODE=upstream")
    return [str(pathlib.Path(binary).resolve()), "--io", os.environ.get("SLIM_NODE_IO", "auto"),
            "--placement", os.environ.get("SLIM_NODE_PLACEMENT", "follow")]


_given = set()


def free_port():
    """A port below the range from which the kernel takes local ports, so that no outgoing connection grabs it between two starts."""
    while True:
        port = random.randrange(20000, 32000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def yaml(value, indent=0):
    """Block style YAML of dictionaries, lists, strings, numbers and booleans."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{pad}{key}:\n{yaml(item, indent + 1)}")
            else:
                lines.append(f"{pad}{key}: {scalar(item)}\n")
        return "".join(lines)
    lines = []
    for item in value:
        text = yaml(item, indent + 1) if isinstance(item, (dict, list)) else f"{pad}  {scalar(item)}\n"
        lines.append(f"{pad}- {text[len(pad) + 2:]}")
    return "".join(lines)


def scalar(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    return json.dumps(value) if isinstance(value, str) else str(value)


def base64_of(text):
    """As `receive` reports short payloads."""
    return base64.b64encode(text.encode()).decode()


def server(endpoint, **more):
    return {"endpoint": endpoint, "tls": {"insecure": True}, **more}


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return result


class Process:
    """A child with a log file."""

    def __init__(self, command, log, **popen):
        self.log = pathlib.Path(log)
        self.command = command
        with open(self.log, "ab") as stream:
            stream.write(f"$ {' '.join(map(str, command))}\n".encode())
            stream.flush()
            self.child = subprocess.Popen(command, stderr=stream, **({"stdout": stream} | popen))

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(10)


class Node:
    """A node from a YAML file. It can be stopped and started again on the same ports."""

    def __init__(self, folder, label, dataplane, kind=None, arguments=(), **service):
        self.folder, self.label, self.kind, self.arguments = folder, label, kind, arguments
        self.endpoints = [entry["endpoint"] for entry in dataplane.get("servers", [])]
        self.config = folder / f"{label}.yaml"
        document = {"tracing": {"log_level": os.environ.get("SLIM_NODE_LOG", "info")}, "runtime": {"drain_timeout": "2s"},
                    "services": {"slim/0": {**service, "dataplane": dataplane}}}
        self.config.write_text(yaml(document))
        self.process = None

    def start(self, wait=True, **popen):
        self.process = Process([*node_command(self.kind), "--config", str(self.config), *self.arguments], self.folder / f"{self.label}.log",
                               stdin=subprocess.DEVNULL, **popen)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        for endpoint in self.endpoints:
            wait_until(lambda: self._accepts(endpoint), 20, f"{self.label} listens on {endpoint}")

    def _accepts(self, endpoint):
        if self.process.child.poll() is not None:
            raise RuntimeError(f"{self.label} ended with status {self.process.child.returncode}; see {self.process.log}")
        if endpoint.startswith("unix://"):
            family, address = socket.AF_UNIX, endpoint[len("unix://"):]
        else:
            host, port = endpoint.rsplit(":", 1)
            family, address = (socket.AF_INET6 if host.startswith("[") else socket.AF_INET), (host.strip("[]"), int(port))
        with socket.socket(family) as probe:
            probe.settimeout(1)
            return probe.connect_ex(address) == 0

    def stop(self, number=signal.SIGTERM, seconds=15):
        """Its exit status; after SIGTERM it has to end by itself."""
        self.process.signal(number)
        return self.process.child.wait(seconds)

    def kill(self):
        """Our node ends in order, so that a sanitizer can tell of leaks."""
        if not self.process:
            return
        if self.kind is None and not UPSTREAM and self.process.child.poll() is None:
            self.process.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.child.wait(8)
        self.process.kill()

    @property
    def pid(self):
        return self.process.child.pid

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+) kB", status)[1]) / 1024


class PeerError(Exception):
    """What a peer answered when an operation failed."""


class Peer:
    """A process of real clients (peer.py)."""

    def __init__(self, folder, label, version="3.3.8", env=None):
        if not PYTHON[version]:
            raise RuntimeError("set SLIM_PEER_220 to the Python of an environment with slim-bindings 2.2.0")
        self.label = label
        self.process = Process([PYTHON[version], str(HERE / "peer.py")], folder / f"{label}.log", stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env={**os.environ, **(env or {})})
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.lock = threading.Lock()
        self.services = itertools.count(1)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.child.stdout:
            reply = json.loads(line)
            with self.lock:
                future = self.waiting.pop(reply["id"])
            if "error" in reply:
                future.set_exception(PeerError(reply["error"]))
            else:
                future.set_result(reply["ok"])
        with self.lock:
            lost, self.waiting = self.waiting, {}
        for future in lost.values():
            future.set_exception(PeerError(f"{self.label} ended (status {self.process.child.poll()}); see {self.process.log}"))

    def begin(self, op, **arguments):
        """A future of the answer."""
        future = concurrent.futures.Future()
        with self.lock:
            number = next(self.numbers)
            self.waiting[number] = future
            try:
                self.process.child.stdin.write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
                self.process.child.stdin.flush()
            except OSError as error:
                self.waiting.pop(number, None)
                future.set_exception(PeerError(f"{self.label} is gone: {error}"))
        return future

    def call(self, op, within=60, **arguments):
        try:
            return self.begin(op, **arguments).result(within)
        except concurrent.futures.TimeoutError:
            raise TimeoutError(f"{self.label}: {op} did not answer within {within} s") from None

    def connect(self, endpoint, **more):
        return self.call("connect", service=f"service-{next(self.services)}", endpoint=endpoint, **more)

    def client(self, endpoint, name, **more):
        """A connection and one application on it, subscribed to its name."""
        transport = {key: more.pop(key) for key in ("tls", "attempts") if key in more}
        connection = self.connect(endpoint, **transport)
        return App(self, connection, name, **more)

    def signal(self, number):
        self.process.signal(number)

    def kill(self):
        self.process.kill()


class App:
    """An application of a peer."""

    def __init__(self, peer, connection, name, **more):
        self.peer, self.connection, self.name = peer, connection, name
        made = peer.call("app", client=connection, name=name, **more)
        self.handle, self.id = made["app"], made["id"]

    def open(self, destination, within=60, **more):
        return Session(self, self.peer.call("open", within=within, app=self.handle, destination=destination, **more))

    def listen(self, timeout=20):
        return Session(self, self.peer.call("listen", within=timeout + 10, app=self.handle, timeout=timeout))

    def echo(self):
        self.peer.call("echo", app=self.handle)


class Session:
    """One end of a session."""

    def __init__(self, app, made):
        self.app, self.peer, self.info, self.handle = app, app.peer, made, made["session"]

    def call(self, op, within=60, **arguments):
        return self.peer.call(op, within=within, session=self.handle, **arguments)

    def begin(self, op, **arguments):
        return self.peer.begin(op, session=self.handle, **arguments)

    def publish(self, text, **more):
        return self.call("publish", text=text, **more)

    def receive(self, timeout=20):
        return self.call("receive", within=timeout + 10, timeout=timeout)

    def ping(self, text, timeout=20):
        return self.call("ping", within=timeout + 10, text=text, timeout=timeout)

    def invite(self, name, within=60):
        return self.call("invite", within=within, app=self.app.handle, name=name)

    def remove(self, name, within=60):
        return self.call("remove", within=within, name=name)

    def close(self, within=60):
        return self.call("close", within=within, app=self.app.handle)
