"""Fixtures: nodes and peers that end with the test, and their logs with the report of a test that failed."""
import itertools
import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import Node, Peer, free_port, server  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: the part that also runs under the sanitizers")


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def started(request, folder):
    """What has to be ended after the test; a node under a sanitizer must not have reported anything."""
    things = []
    yield things
    for thing in reversed(things):
        thing.kill()
    for log in folder.glob("*.log"):
        text = log.read_text(errors="replace")
        for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:"):
            assert mark not in text, f"{log.name}: {mark}\n{text[-4000:]}"


@pytest.fixture
def make_node(folder, started):
    """make_node(label="hub", servers=[...], clients=[...], kind=None, start=True) -> Node"""

    def make(label="hub", servers=None, clients=None, kind=None, start=True, arguments=(), **service):
        dataplane = {"servers": servers if servers is not None else [server(f"127.0.0.1:{free_port()}")]}
        if clients:
            dataplane["clients"] = clients
        node = Node(folder, label, dataplane, kind, arguments, **service)
        started.append(node)
        if start:
            node.start()
        return node

    return make


@pytest.fixture
def make_peer(folder, started):
    """make_peer(version="3.3.8") -> Peer"""
    numbers = itertools.count(1)

    def make(version="3.3.8", label=None, **more):
        peer = Peer(folder, label or f"peer{next(numbers)}", version, **more)
        started.append(peer)
        return peer

    return make


@pytest.fixture
def hub(make_node):
    return make_node()


@pytest.fixture
def endpoint(hub):
    return "http://" + hub.endpoints[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and (path := item.funcargs.get("folder")):
        for log in sorted(path.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            report.sections.append((f"last lines of {log.name}", "\n".join(line[:400] for line in lines[-60:])))
        if keep := os.environ.get("SLIM_INTEROP_LOGS"):
            target = pathlib.Path(keep) / "".join(c if c.isalnum() or c in "-_." else "_" for c in item.name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("*.sock"))
    return report
