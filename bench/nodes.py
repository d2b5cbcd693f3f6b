"""The servers that are compared, each a process of its own on a free port of the loopback interface."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

OURS, UPSTREAM, NATS = "SlimRouter", "upstream", "NATS"
ONE_WORKER, TWO_WORKERS = "one worker", "two workers"


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


def nats_server():
    """Its path, or None; Debian puts it where only root looks."""
    return shutil.which("nats-server", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Server:
    def __init__(self, label, port, command, folder):
        self.label, self.port = label, port
        self.log = open(folder / f"{label}.log", "ab")
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

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


class Node(Server):
    """A SLIM node; workers: threads that it may use, all it likes without."""

    def __init__(self, label, command, folder, mac=True, tls=False, workers=None):
        port = free_port()
        self.address = f"https://127.0.0.1:{port}" if tls else f"127.0.0.1:{port}"
        security = "insecure: true" if not tls else 'source: {{type: file, cert: "{}", key: "{}"}}'.format(*certificate(folder))
        config = folder / f"{label}.yaml"
        config.write_text(
            "tracing:\n  log_level: warn\n" + (f"runtime:\n  n_cores: {workers}\n" if workers else "") +
            "services:\n  slim/0:\n    dataplane:\n      servers:\n"
            f'        - endpoint: "127.0.0.1:{port}"\n          require_header_mac: {"true" if mac else "false"}\n'
            f"          tls:\n            {security}\n")
        super().__init__(label, port, [*command, "--config", str(config)], folder)


class NatsServer(Server):
    def __init__(self, folder):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        super().__init__(NATS, port, [nats_server(), "--addr", "127.0.0.1", "--port", str(port)], folder)


def start(options, label, folder, mac=True, tls=False):
    if label == NATS:
        return NatsServer(folder)
    if label == UPSTREAM:
        return Node(label, options.upstream, folder, mac, tls)
    return Node(label, [options.node], folder, mac, tls, {ONE_WORKER: 1, TWO_WORKERS: 2}.get(label))
