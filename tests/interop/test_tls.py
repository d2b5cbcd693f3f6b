"""TLS with and without client certificates, and unix sockets."""
import time

import pytest

from certificates import Authority
from harness import PeerError, free_port, server


@pytest.fixture
def authority(folder):
    return Authority(folder, "authority")


def tls_node(make_node, authority, **tls):
    port = free_port()
    node = make_node(servers=[{"endpoint": f"127.0.0.1:{port}", "tls": {
        "source": {"type": "file", **authority.leaf("server", "server")}, **tls}}])
    return node, f"https://127.0.0.1:{port}"


def talk(make_peer, endpoint, **transport):
    alice = make_peer(label="alice").client(endpoint, "org/ns/alice", **transport)
    bob = make_peer(label="bob").client(endpoint, "org/ns/bob", **transport)
    bob.echo()
    session = alice.open("org/ns/bob", mls=True, interval=5.0)
    for number in range(5):
        session.ping(f"ping {number}")
    plain = alice.open("org/ns/bob", interval=5.0)
    for size in (1, 100_000, 1_000_000):
        plain.call("publish", size=size, seed=size)
        assert plain.receive()["sha256"] == plain.peer.call("digest", size=size, seed=size)


def refused(make_peer, endpoint, **transport):
    """Neither a connection nor, where the refusal comes late, a subscription."""
    peer = make_peer()
    with pytest.raises(PeerError) as caught:
        peer.client(endpoint, "org/ns/refused", attempts=2, **transport)
    return str(caught.value)


@pytest.mark.smoke
@pytest.mark.parametrize("version", ["tls1.3", "tls1.2"])
def test_tls(make_node, make_peer, authority, version):
    _, endpoint = tls_node(make_node, authority, tls_version=version)
    talk(make_peer, endpoint, tls={"ca": authority.path, "version": version})


def test_tls_by_name(make_node, make_peer, authority):
    _, endpoint = tls_node(make_node, authority)
    talk(make_peer, endpoint.replace("127.0.0.1", "localhost"), tls={"ca": authority.path})


def test_tls_older_generation(make_node, make_peer, authority):
    _, endpoint = tls_node(make_node, authority)
    old = make_peer("2.2.0", "old").client(endpoint, "org/ns/old", tls={"ca": authority.path})
    new = make_peer(label="new").client(endpoint, "org/ns/new", tls={"ca": authority.path})
    new.echo()
    old.open("org/ns/new").ping("hello")


def test_tls_refusals(make_node, make_peer, authority, folder):
    node, endpoint = tls_node(make_node, authority)
    stranger = Authority(folder, "stranger")
    refused(make_peer, endpoint, tls={"ca": stranger.path})
    refused(make_peer, endpoint, tls={"ca": authority.path, "server_name": "elsewhere.example"})
    refused(make_peer, endpoint, tls={"ca": authority.path, "version": "tls1.2"})
    refused(make_peer, "http://" + node.endpoints[0])
    # The node is none the worse for it.
    talk(make_peer, endpoint, tls={"ca": authority.path})


@pytest.mark.smoke
def test_mutual_tls(make_node, make_peer, authority, folder):
    _, endpoint = tls_node(make_node, authority, client_ca={"type": "file", "path": authority.path})
    talk(make_peer, endpoint, tls={"ca": authority.path, **authority.leaf("client", "client")})
    refused(make_peer, endpoint, tls={"ca": authority.path})
    stranger = Authority(folder, "stranger")
    refused(make_peer, endpoint, tls={"ca": authority.path, **stranger.leaf("strange", "client")})
    make_peer(label="late").client(endpoint, "org/ns/late", tls={"ca": authority.path, **authority.leaf("client2", "client")})


def test_pem_in_the_configuration(make_node, make_peer, authority):
    leaf = authority.leaf("server", "server")
    port = free_port()
    make_node(servers=[{"endpoint": f"127.0.0.1:{port}", "tls": {
        "source": {"type": "pem", "cert": open(leaf["cert"]).read(), "key": open(leaf["key"]).read()}}}])
    talk(make_peer, f"https://127.0.0.1:{port}", tls={"ca": authority.path})


@pytest.mark.smoke
def test_unix_socket(make_node, make_peer, folder):
    endpoint = f"unix://{folder}/hub.sock"
    node = make_node(servers=[server(endpoint)])
    talk(make_peer, endpoint)
    # A socket file that a killed node left behind is in nobody's way.
    node.stop(9)
    assert (folder / "hub.sock").exists()
    node.start()
    make_peer(label="carol").client(endpoint, "org/ns/carol")


def test_several_listeners(make_node, make_peer, authority, folder):
    """A plain client, a TLS client and one on a unix socket share one routing table."""
    plain, secure = free_port(), free_port()
    make_node(servers=[server(f"127.0.0.1:{plain}"), server(f"unix://{folder}/hub.sock"),
                       {"endpoint": f"127.0.0.1:{secure}", "tls": {"source": {"type": "file", **authority.leaf("server", "server")}}}])
    peer = make_peer()
    a = peer.client(f"http://127.0.0.1:{plain}", "org/ns/a")
    b = peer.client(f"https://127.0.0.1:{secure}", "org/ns/b", tls={"ca": authority.path})
    c = peer.client(f"unix://{folder}/hub.sock", "org/ns/c")
    for app in (a, b, c):
        app.echo()
    for caller, callee in ((a, b), (b, c), (c, a)):
        caller.open(callee.name).ping("hello")


@pytest.mark.smoke
def test_link_between_nodes(make_node, make_peer, authority):
    """A node dials another one over TLS, and what is subscribed at one is reached from the other."""
    _, endpoint = tls_node(make_node, authority)
    near = make_node("near", clients=[{"endpoint": endpoint, "connection_type": "peer",
                                       "tls": {"ca_source": {"type": "file", "path": authority.path}}}])
    bob = make_peer(label="bob").client(endpoint, "org/ns/bob", tls={"ca": authority.path})
    bob.echo()
    alice = make_peer(label="alice").client("http://" + near.endpoints[0], "org/ns/alice")
    deadline = time.monotonic() + 30
    while True:
        try:
            alice.open("org/ns/bob", interval=1.0, retries=3).ping("over TLS")
            return
        except PeerError:
            assert time.monotonic() < deadline, "no way over the link between the nodes"
