"""Peers that strain what comes before the first message: connections without end, slow ones, TLS, and the last descriptor."""
import contextlib
import ctypes
import os
import resource
import socket
import ssl
import struct
import time

import pytest

from certificates import Authority
from hostile import DATA, PREFACE, SETTINGS, Raw, Watch, frame, request
from harness import UPSTREAM, free_port, server, wait_until
from wire import dial, name

pytestmark = [pytest.mark.skipif(UPSTREAM, reason="upstream has none of these limits"), pytest.mark.smoke]
# What the node gives a peer for its handshake, preface and first call is 10 s; a busy machine may come late.
PATIENCE = 25


@pytest.fixture
def watch(hub):
    with Watch(hub) as watch:
        yield watch


@pytest.fixture
def descriptors():
    """This process opens thousands of sockets too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def secure(make_node, folder, request):
    """A node with a TLS listener and a plain one, which the good peers use."""
    leaf = Authority(folder, "root").leaf("node", "server")
    tls = {"source": {"type": "file", "cert": leaf["cert"], "key": leaf["key"]}, "tls_version": getattr(request, "param", "tls1.3")}
    return make_node(servers=[server(f"127.0.0.1:{free_port()}"), {"endpoint": f"127.0.0.1:{free_port()}", "tls": tls}])


def connect(node, number=0):
    host, port = node.endpoints[number].rsplit(":", 1)
    return socket.create_connection((host, int(port)), 10)


def test_half_open_and_slow_connections(hub, descriptors):
    """Two thousand that say nothing, and some that say their preface, their headers or their first message byte by byte."""
    opening = PREFACE + frame(SETTINGS)
    # What is said at once, and what one byte at a time.
    kinds = {"preface": (b"", opening), "settings": (PREFACE, frame(SETTINGS)[:8] * 9), "headers": (opening, request(1, 0)),
             "message": (opening + request(1), frame(DATA, 0, 1, b"\0\0\0\x10\0" + bytes(4096)))}
    with Watch(hub, 48) as watch:
        silent = [Raw(hub, preface=False) for _ in range(2000)]
        calm = [Raw(hub) for _ in range(100)]
        slow = []
        for first, rest in kinds.values():
            for _ in range(5):
                raw = Raw(hub, preface=False)
                raw.send(first)
                slow.append((raw, iter(rest)))
        deadline = time.monotonic() + PATIENCE
        waiting = silent + calm + [raw for raw, _ in slow]
        while waiting and time.monotonic() < deadline:
            for raw, rest in slow:
                if (byte := next(rest, None)) is not None:
                    raw.send(bytes([byte]), 1)
            time.sleep(0.3)
            # The first and the last of a crowd stand for it until they are closed.
            if waiting[0].is_closed() or waiting[-1].is_closed():
                waiting = [raw for raw in waiting if not raw.is_closed()]
        messages = [raw for raw, _ in slow[-5:]]
        # A call that was opened ends with its trailers, and its connection 10 s later.
        assert all(raw in messages for raw in waiting), f"{len(waiting)} connections are still open"
        watch.blamed("no HTTP/2 preface in time")
        watch.blamed("timed out waiting for link negotiation")


def test_connection_storm(hub, watch):
    for number in range(3000):
        one = connect(hub)
        if number % 3 == 0:
            # Reset instead of an orderly end.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif number % 3 == 1:
            one.send(PREFACE + frame(SETTINGS) + request(1))
        one.close()


def hello(pair):
    """The first flight of a TLS client."""
    _, outgoing, shake = pair
    with contextlib.suppress(ssl.SSLWantReadError):
        shake.do_handshake()
    return outgoing.read()


def tls_pair(context):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return incoming, outgoing, context.wrap_bio(incoming, outgoing, server_hostname="localhost")


def client_context(folder):
    context = ssl.create_default_context(cafile=str(folder / "root.pem"))
    context.set_alpn_protocols(["h2"])
    return context


def test_tls_handshake_storm(secure, folder):
    """Handshakes that are left after the first flight, broken in it, and finished and left."""
    context, kept = client_context(folder), []
    with Watch(secure, 64) as watch:
        for _ in range(300):
            one = connect(secure, 1)
            one.send(hello(tls_pair(context)))
            kept.append(one)
        for number in range(300):
            one = connect(secure, 1)
            data = bytearray(hello(tls_pair(context)))
            data[number % len(data)] ^= 0xFF
            one.send(data[:-20] if number % 2 else data)
            one.close()
        for _ in range(100):
            context.wrap_socket(connect(secure, 1), server_hostname="localhost").close()
        plain = connect(secure, 1)
        plain.send(PREFACE + frame(SETTINGS))
        plain.settimeout(10)
        while plain.recv(4096):
            pass
        watch.blamed("reason=")
        for one in kept:
            one.close()


@pytest.mark.parametrize("secure", ["tls1.2"], indirect=True)
def test_tls_renegotiation(secure):
    """TLS 1.2 allows a peer to ask for another handshake at any time; the node refuses, however often it is asked."""
    lib = ctypes.CDLL("libssl.so.3")
    pointer = ctypes.c_void_p
    for call, result, arguments in (("TLS_client_method", pointer, []), ("SSL_CTX_new", pointer, [pointer]),
                                    ("SSL_new", pointer, [pointer]), ("SSL_CTX_ctrl", ctypes.c_long, [pointer, ctypes.c_int, ctypes.c_long, pointer]),
                                    ("SSL_set_fd", ctypes.c_int, [pointer, ctypes.c_int]), ("SSL_connect", ctypes.c_int, [pointer]),
                                    ("SSL_renegotiate", ctypes.c_int, [pointer]), ("SSL_do_handshake", ctypes.c_int, [pointer]),
                                    ("SSL_free", None, [pointer]), ("SSL_CTX_free", None, [pointer])):
        getattr(lib, call).restype, getattr(lib, call).argtypes = result, arguments
    # The numbers of SSL_CTRL_SET_MAX_PROTO_VERSION and TLS1_2_VERSION.
    set_max_version, tls12 = 124, 0x0303
    with Watch(secure, 48):
        context = lib.SSL_CTX_new(lib.TLS_client_method())
        lib.SSL_CTX_ctrl(context, set_max_version, tls12, None)
        for _ in range(20):
            one = connect(secure, 1)
            one.settimeout(None)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
            session = lib.SSL_new(context)
            lib.SSL_set_fd(session, one.fileno())
            assert lib.SSL_connect(session) == 1, "the first handshake"
            assert lib.SSL_renegotiate(session) == 1
            assert lib.SSL_do_handshake(session) != 1, "the node took part in another handshake"
            lib.SSL_free(session)
            one.close()
        lib.SSL_CTX_free(context)


@pytest.mark.parametrize("backend", ["auto", "epoll"])
def test_no_descriptor_left(make_node, backend):
    """Existing links are served, the log says it once a second, and when descriptors return the node accepts again."""
    node = make_node(start=False, arguments=("--io", backend))
    node.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    with Watch(node) as watch:
        links = []
        while len(os.listdir(f"/proc/{node.pid}/fd")) < 63:
            links.append(dial(node.endpoints[0]))
        crowd = [Raw(node) for _ in range(50)]
        watch.blamed("accept failed")
        # For a while they wait: a client of upstream's that is turned away may never try again.
        assert not any(one.is_closed() for one in crowd)
        since, rounds, before = time.monotonic(), watch.rounds, len(watch.blamed("accept failed"))
        while time.monotonic() < since + 2.2:
            crowd.append(Raw(node, preface=False))
            time.sleep(0.05)
        assert watch.rounds > rounds + 10, "links that were there before are not served"
        more = len(watch.blamed("accept failed")) - before
        assert 1 <= more <= time.monotonic() - since + 2, f"{more} lines in 2 s"
        if backend == "auto":
            # When it lasts they are turned away instead of waiting for what may never come.
            wait_until(lambda: sum(one.is_closed() for one in crowd[3:]) == len(crowd) - 3, 15, "the end of those who came last")
            links[0].subscribed(name("org/ns/there", 1))
        for link in links:
            link.connection.close()
        for one in crowd:
            one.close()
        link = dial(node.endpoints[0])
        link.subscribed(name("org/ns/late", 1))


@pytest.mark.parametrize("backend", ["auto", "epoll"])
def test_connections_of_one_address(make_node, backend):
    """The limit is exact, tells its name in the log, spares other addresses, and a connection that ends makes room."""
    node = make_node(arguments=("--io", backend, "--per-address", "40"))
    host, port = node.endpoints[0].rsplit(":", 1)

    def connect_from(source):
        one = socket.socket()
        one.bind((source, 0))
        one.settimeout(10)
        one.connect((host, int(port)))
        one.send(PREFACE + frame(SETTINGS))
        return one

    def is_refused(one):
        try:
            return one.recv(1) == b""
        except ConnectionError:
            return True

    with Watch(node) as watch:
        crowd = [connect_from("127.0.0.77") for _ in range(40)]
        assert not any(is_refused(one) for one in crowd)
        assert all(is_refused(connect_from("127.0.0.77")) for _ in range(10))
        watch.blamed("its address has too many open; --per-address sets the limit")
        other = connect_from("127.0.0.78")
        assert not is_refused(other)
        for one in crowd[:5]:
            one.close()

        def has_room():
            one = connect_from("127.0.0.77")
            if not is_refused(one):
                crowd.append(one)
            return len(crowd) == 45
        wait_until(has_room, 10, "room for as many as have left")
        for one in crowd:
            one.close()
    node.stop()
