"""TLS with and without client certificates, and unix sockets."""
import pytest

from certificates import Authority
from harness import PeerError, free_port, server, wait_until


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

    def told(words):
        wait_until(lambda: words in node.process.log.read_text(), 10, f"the log tells: {words}")

    refused(make_peer, endpoint, tls={"ca": stranger.path})
    told("the peer does not trust our certificate (unknown CA): it must be given the authority that signed source.cert")
    refused(make_peer, endpoint, tls={"ca": authority.path, "server_name": "elsewhere.example"})
    told("the peer refuses our certificate (bad certificate)")
    refused(make_peer, endpoint, tls={"ca": authority.path, "version": "tls1.2"})
    told("the peer does not speak TLS 1.3: set tls_version alike at both ends")
    refused(make_peer, "http://" + node.endpoints[0])
    told("the peer does not speak TLS\"")
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


def across(make_peer, here, there, transport):
    """Messages between clients of two nodes in both directions."""
    peer = make_peer()
    apps = [peer.client(here, "org/ns/here", **transport), peer.client(there, "org/ns/there", **transport)]
    for app in apps:
        app.echo()
    for caller, callee in (apps, apps[::-1]):
        # The subscription of the other end may still be on its way.
        caller.open(callee.name, retries=40, interval=0.25).ping("hello")


@pytest.mark.smoke
@pytest.mark.parametrize("dialler,listener", [(None, None), (None, "upstream"), ("upstream", None)],
                         ids=["hub-to-hub", "hub-to-upstream", "upstream-to-hub"])
def test_nodes_linked_by_mutual_tls(make_node, make_peer, authority, dialler, listener):
    port, front = free_port(), free_port()
    make_node("listener", kind=listener, servers=[
        {"endpoint": f"127.0.0.1:{port}", "tls": {"source": {"type": "file", **authority.leaf("server", "server")},
                                                  "client_ca": {"type": "file", "path": authority.path}}},
        server(f"127.0.0.1:{front}")])
    near = make_node("dialler", kind=dialler, clients=[
        {"endpoint": f"https://localhost:{port}", "connection_type": "peer",
         "tls": {"source": {"type": "file", **authority.leaf("client", "client")}, "ca_source": {"type": "file", "path": authority.path}}}])
    across(make_peer, f"http://{near.endpoints[0]}", f"http://127.0.0.1:{front}", {})


@pytest.mark.parametrize("host,bind,name", [("[::1]", "[::1]", None), ("127.0.0.1", "127.0.0.1", None), ("127.0.0.1", "127.0.0.1", "localhost."),
                                            ("localhost", "127.0.0.1", "[::1]")])
def test_names_that_our_own_client_verifies(make_node, make_peer, authority, host, bind, name):
    port, front = free_port(), free_port()
    make_node("listener", servers=[{"endpoint": f"{bind}:{port}", "tls": {"source": {"type": "file", **authority.leaf("server", "server")}}},
                                   server(f"127.0.0.1:{front}")])
    entry = {"endpoint": f"https://{host}:{port}", "connection_type": "peer",
             "tls": {"ca_source": {"type": "file", "path": authority.path}}}
    near = make_node("dialler", clients=[{**entry, **({"server_name": name} if name else {})}])
    across(make_peer, f"http://{near.endpoints[0]}", f"http://127.0.0.1:{front}", {})


def test_a_server_whose_name_is_another(make_node, authority):
    port = free_port()
    make_node("listener", servers=[{"endpoint": f"127.0.0.1:{port}", "tls": {"source": {"type": "file", **authority.leaf("server", "server")}}}])
    near = make_node("dialler", clients=[{"endpoint": f"https://127.0.0.1:{port}", "server_name": "elsewhere.example.",
                                          "tls": {"ca_source": {"type": "file", "path": authority.path}}}])
    wait_until(lambda: "it is not for elsewhere.example: use a name that it has as server_name" in near.process.log.read_text(), 10,
               "the log tells which name is wanted")


def test_nodes_linked_by_a_unix_socket(make_node, make_peer, folder):
    path = f"unix://{folder}/hub.sock"
    port = free_port()
    make_node("listener", servers=[server(path), server(f"127.0.0.1:{port}")])
    near = make_node("dialler", clients=[{"endpoint": path, "connection_type": "peer", "tls": {"insecure": True}}])
    across(make_peer, f"http://{near.endpoints[0]}", f"http://127.0.0.1:{port}", {})
