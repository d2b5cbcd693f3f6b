"""Connections that change from one thread of the node to another: nobody may notice, whatever they do."""
import os
import re
import signal
import subprocess
import time

import pytest

from certificates import Authority
from harness import UPSTREAM, free_port, server
from test_slimbench import bench, clean, running, slimbench

pytestmark = pytest.mark.skipif(UPSTREAM or len(os.sched_getaffinity(0)) < 2, reason="needs our node and two cores")

RESTLESS = ("--placement", "restless")
SHORT = ("--duration", 0.6, "--warmup", 0.1)


def moved(node):
    return re.findall(r"connection moved conn_index=(\d+) .* from_worker=(\d+) to_worker=(\d+)", node.process.log.read_text())


@pytest.fixture
def verbose(monkeypatch):
    monkeypatch.setenv("SLIM_NODE_LOG", "debug")


@pytest.fixture(params=["io_uring", "epoll"])
def restless(verbose, make_node, request):
    return make_node(arguments=("--io", request.param, *RESTLESS))


@pytest.mark.parametrize("mode", [("stream", *SHORT), ("stream", *SHORT, "--payload", "64-40000", "--publishers", 4, "--subscribers", 2),
                                  ("stream", *SHORT, "--payload", 300000), ("stream", *SHORT, "--no-mac", "--publishers", 8, "--subscribers", 8),
                                  ("fanout", *SHORT, "--publishers", 2, "--subscribers", 80), ("request", *SHORT), ("churn", *SHORT)], ids=str)
def test_every_message_arrives_once_and_in_order(restless, make_node, mode):
    node = restless
    if "--no-mac" in mode:
        node.stop()
        node = make_node("open", servers=[server(f"127.0.0.1:{free_port()}", require_header_mac=False)], arguments=node.arguments)
    found = clean(bench(node.endpoints[0], *mode))
    assert found["delivered"] > 50
    assert len(moved(node)) > 20


def test_over_tls(verbose, make_node, folder):
    authority, port = Authority(folder, "authority"), free_port()
    source = {"type": "file", **authority.leaf("server", "server")}
    node = make_node(servers=[{"endpoint": f"127.0.0.1:{port}", "tls": {"source": source}}], arguments=RESTLESS)
    for payload in "64-3000", "200000":
        clean(bench(f"https://127.0.0.1:{port}", "stream", "--ca", authority.path, *SHORT, "--payload", payload))
    assert len(moved(node)) > 20


def test_sessions_of_real_clients(restless, make_peer):
    endpoint = "http://" + restless.endpoints[0]
    left, right = make_peer(label="left"), make_peer(label="right")
    sessions = []
    for number in range(4):
        caller, answerer = left.client(endpoint, f"org/ns/caller{number}"), right.client(endpoint, f"org/ns/answerer{number}")
        answerer.echo()
        sessions.append(caller.open(answerer.name, mls=number % 2 == 1))
    for number in range(15):
        for future in [session.begin("ping", text=f"round {number}", timeout=20) for session in sessions]:
            future.result(30)
    assert len(moved(restless)) > 50


def test_drains_while_connections_move(restless):
    with running(restless.endpoints[0], "stream", "--publishers", "6", "--subscribers", "6", "--duration", "20"):
        time.sleep(0.5)
        assert restless.stop(signal.SIGTERM) == 0
    assert len(moved(restless)) > 20
    assert not re.search("drain .*timed? ?out", restless.process.log.read_text())


def test_clients_that_are_killed_leave_nothing_behind(restless):
    at = restless.endpoints[0]
    descriptors = f"/proc/{restless.pid}/fd"
    before = len(os.listdir(descriptors))
    for _ in range(6):
        load = subprocess.Popen([slimbench(), "stream", "--server", at, "--publishers", "20", "--subscribers", "20"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.4)
        load.kill()
        load.wait()
    deadline = time.monotonic() + 20
    while len(os.listdir(descriptors)) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(os.listdir(descriptors)) <= before, "what the probe of the start had may be gone"
    clean(bench(at, "stream", *SHORT))


def test_a_publisher_follows_its_receiver(verbose, make_node):
    node = make_node(arguments=("--placement", "follow"))
    clean(bench(node.endpoints[0], "stream", "--rate", 5000, "--duration", 0.8, "--warmup", 0.1))
    assert len(moved(node)) == 1
    node.stop()
    fixed = make_node("fixed", arguments=("--placement", "fixed"))
    clean(bench(fixed.endpoints[0], "stream", "--rate", 5000, "--duration", 0.8, "--warmup", 0.1))
    assert moved(fixed) == []
