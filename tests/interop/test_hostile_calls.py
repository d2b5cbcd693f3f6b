"""Peers that keep to HTTP/2 and break or strain what runs on it: gRPC framing, protobuf, subscriptions, tags, windows."""
import concurrent.futures
import itertools
import multiprocessing
import os
import random
import time

import pytest

from hostile import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, Watch, frame, request
from harness import UPSTREAM, free_port, server, wait_until
from wire import dial, encode, grpc, name, varint

pytestmark = [pytest.mark.skipif(UPSTREAM, reason="upstream has none of these limits"), pytest.mark.smoke]
SUBSCRIPTIONS = int(os.environ.get("SLIM_HOSTILE_SUBSCRIPTIONS", "100000"))
# What one more id of a known name may cost, and a new name; both with what the allocator adds.
ID_BYTES, NAME_BYTES = 450, 750
# Receive buffers that were never used before, and what the allocator keeps.
OTHER_MIB = 32
TOP = 1 << 63


@pytest.fixture
def watch(hub):
    with Watch(hub) as watch:
        yield watch


@pytest.fixture
def lenient(make_node):
    """A node that takes links without tags, so that a flood needs no HMAC here."""
    return make_node(servers=[server(f"127.0.0.1:{free_port()}", require_header_mac=False)])


def free_dial(node, **more):
    return dial(node.endpoints[0], key=None, **more)


def subscriptions(count, fresh_names, verb="subscribe"):
    """gRPC messages that subscribe `count` names, or ids of one name; made from one by replacing numbers."""
    mark, number = TOP | 0x155555, TOP | 0x2AAAAA
    who = {"name": {"c0": 1, "c1": 2, "c2": mark if fresh_names else 3, "id": {"low": 7 if fresh_names else mark}}}
    model = grpc(encode({verb: {"header": {"source": name("raw/raw/source", 7), "destination": who, "identity": "token", "fanout": 1,
                                           "ttl": 8}, "subscription_id": number}}))
    left, rest = model.split(varint(mark))
    middle, right = rest.split(varint(number))
    tail = varint(TOP)[3:]
    for index in range(count):
        value = bytes((index & 127 | 128, index >> 7 & 127 | 128, index >> 14 & 127 | 128)) + tail
        yield left + value + middle + value + right


def send_all(link, messages, seconds=120):
    """In pieces, because each piece is copied once for each frame of it."""
    payload = b"".join(messages)
    for at in range(0, len(payload), 65536):
        link.send_bytes(payload[at:at + 65536], seconds)


def take(link, messages):
    """Sends until the node gives no more window for a while; how many it took."""
    machine, sent = link.connection.h2, 0
    for message in messages:
        while machine.local_flow_control_window(link.id) < len(message) and link.connection.pump(0.2):
            pass
        if machine.local_flow_control_window(link.id) < len(message):
            break
        link.send_bytes(message)
        sent += 1
    return sent


def acked(link, count, seconds=60):
    """Reads until `count` messages have come; every one must be an acknowledgement of success."""
    link.connection.until(lambda: len(link.messages) >= count or link.ended, seconds, f"{count} acknowledgements")
    # Field 6 is the acknowledgement, field 2 in it the success.
    bad = [message for message in link.messages if message[0] != 0x32 or b"\x10\x01" not in message]
    assert not bad and len(link.messages) == count, (len(link.messages), bad[:3])
    link.messages.clear()


def test_grpc_length_of_4_gibibytes(hub, watch):
    raw = Raw(hub)
    raw.send(request(1) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + bytes(10000)))
    ended = [flags & END_STREAM for kind, flags, _, _ in raw.frames(10, lambda kind, flags, *_: kind == HEADERS and flags & END_STREAM)]
    assert ended[-1], "closed without trailers"
    watch.blamed("message larger than", raw.peer)


def test_bytes_under_way_when_the_node_ends_a_call(hub, watch):
    """The peer could not know it yet, so they are ignored, and the connection serves the next call."""
    raw = Raw(hub)
    raw.send(request(1) + frame(DATA, 0, 1, b"\1\0\0\0\1x"))
    assert raw.answer(RST_STREAM, 1) == bytes(4)
    raw.send(frame(DATA, 0, 1, bytes(1000)) * 20 + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01b") + request(3))
    assert raw.answer(HEADERS, 3)


@pytest.mark.parametrize("broken", [b"\xff" * 20, b"\x1a\xff\xff\xff\xff\x0f", b"\x1a\x05ab", b"\x0b" * 1000],
                         ids=["endless varint", "length of 4 GiB", "truncated", "groups"])
def test_broken_protobuf(hub, watch, broken):
    link = dial(hub.endpoints[0])
    link.send_message(broken)
    link.wait_end()
    watch.blamed("cannot be decoded", "{}:{}".format(*link.connection.socket.getsockname()))


def test_many_links_with_broken_protobuf(hub, watch):
    for _ in range(100):
        link = dial(hub.endpoints[0])
        link.send_message(random.Random(5).randbytes(1000))
        link.wait_end()
        link.connection.close()


def test_forged_tags(hub, watch):
    link, receiver = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/victim", 1))
    forged = grpc(encode(link.publication(name("org/ns/victim", 1), b"forged", mac=bytes(32))))
    link.send_bytes(forged * 50000, 60)
    watch.blamed("header integrity verification failed", "{}:{}".format(*link.connection.socket.getsockname()))
    link.publish(name("org/ns/victim", 1), b"true")
    assert receiver.received(20) == b"true", "a forged message came through"


def subscribe_and_leave(endpoint, count, fresh_names):
    link = dial(endpoint, key=None)
    send_all(link, subscriptions(count, fresh_names))
    acked(link, count, 120)
    link.connection.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fresh_names", [False, True], ids=["ids", "names"])
def test_very_many_subscriptions(lenient, fresh_names):
    """Each costs a bounded amount of memory, and all of it is free for the next link."""
    # What one link left may go while the next one comes, but no more than that.
    with Watch(lenient, 2.2 * SUBSCRIPTIONS * (NAME_BYTES if fresh_names else ID_BYTES) / 2**20 + OTHER_MIB, key=None):
        # In a process of its own, so that the good peers do not wait for this one's interpreter.
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            for _ in range(6):
                pool.submit(subscribe_and_leave, lenient.endpoints[0], SUBSCRIPTIONS, fresh_names).result(120)


def test_subscriptions_up_to_the_memory_limit(make_node):
    """One link may fill half of the table and hears that it is full; another still gets its subscriptions, and all of it once the
    first is gone."""
    node = make_node(servers=[server(f"127.0.0.1:{free_port()}", require_header_mac=False)], arguments=("--memory", "16"))
    with Watch(node, 16 * 2 + OTHER_MIB, key=None) as watch:
        greedy = free_dial(node)
        send_all(greedy, subscriptions(60000, True))
        greedy.connection.until(lambda: len(greedy.messages) == 60000, 60, "60000 answers")
        refused = [message for message in greedy.messages if b"memory limit" in message]
        assert 10000 < len(refused) < 50000, len(refused)
        watch.blamed("subscription refused", "{}:{}".format(*greedy.connection.socket.getsockname()))
        modest = free_dial(node)
        send_all(modest, subscriptions(1000, False))
        acked(modest, 1000)
        greedy.connection.close()
        time.sleep(0.5)
        send_all(modest, subscriptions(5000, True))
        acked(modest, 5000)


def test_subscribe_and_unsubscribe_storm(lenient):
    with Watch(lenient, key=None):
        link = free_dial(lenient)
        pairs = zip(subscriptions(20000, True), subscriptions(20000, True, "unsubscribe"))
        send_all(link, (a + b for a, b in pairs))
        acked(link, 40000)
        link.subscribed(name("org/ns/after", 1))


def collide(kind, index):
    """Numbers of a name that a mixer without a secret maps together: sums, exclusive ors, low bits, high bits of a product."""
    phi = 0x9E3779B97F4A7C15
    inverse = pow(phi, -1, 2**64)
    value = index + 1
    if kind == "sum":
        return value, 2**64 - value, 5
    if kind == "xor":
        return value << 20, value << 20, 5
    if kind == "shift":
        return value << 44, 5, 5
    return value * inverse % 2**64, 5, 5


@pytest.mark.parametrize("kind", ["sum", "xor", "shift", "product"])
def test_names_chosen_to_collide(lenient, kind):
    """No slower than names by chance, but for a generous factor: a list in one bucket would cost 30000 steps for each."""
    count, source, took = 30000, random.Random(9), {}
    head = {"source": name("raw/raw/source", 7), "identity": "token", "fanout": 1, "ttl": 8}

    def one(numbers, index):
        who = {"name": dict(zip(("c0", "c1", "c2"), numbers)) | {"id": {"low": 1}}}
        return grpc(encode({"subscribe": {"header": head | {"destination": who}, "subscription_id": index + 1}}))

    chosen = {"chance": [one((source.getrandbits(64), source.getrandbits(64), 5), index) for index in range(count)],
              kind: [one(collide(kind, index), index) for index in range(count)]}
    with Watch(lenient, 2 * count * NAME_BYTES / 2**20 + OTHER_MIB, key=None):
        for label, messages in chosen.items():
            link, since = free_dial(lenient), time.monotonic()
            send_all(link, messages)
            acked(link, count)
            took[label] = time.monotonic() - since
            link.connection.close()
    assert took[kind] < 5 * took["chance"] + 2, took


def test_acknowledgements_that_are_never_read(lenient):
    """The node stops to take requests; when the answers are read after all, none is missing."""
    with Watch(lenient, 48, key=None):
        link = free_dial(lenient, window=65535, hold=True)
        sent = take(link, subscriptions(200000, False))
        assert sent < 100000, "the node took all of them"
        link.release()
        acked(link, sent)


def test_subscriptions_forwarded_to_a_link_that_does_not_read(lenient):
    """They wait for its windows like anything else."""
    with Watch(lenient, 64, key=None) as watch:
        slow = free_dial(lenient, window=65535, hold=True)
        peer = "{}:{}".format(*slow.connection.socket.getsockname())
        number = int(watch.blamed("new connection received", peer)[0].split("conn_index=")[1].split()[0])
        link = free_dial(lenient)
        head = {"source": name("raw/raw/source", 7), "destination": name("org/ns/far", 1), "identity": "x" * 10000, "fanout": 1,
                "ttl": 8, "forward_to": number}
        message = grpc(encode({"subscribe": {"header": head, "subscription_id": 5}}))
        assert take(link, itertools.repeat(message, 20000)) < 5000, "the node took 50 MB for a receiver that reads nothing"


def test_receivers_that_hold_their_windows_at_zero(make_node):
    """Thirty pairs, each with more under way than a thirtieth of the limit."""
    node = make_node(arguments=("--memory", "64"))
    with Watch(node, 64 + 80):
        links = []
        for number in range(30):
            slow, sender = dial(node.endpoints[0], window=65535, hold=True), dial(node.endpoints[0])
            links += [slow, sender]
            who = name(f"org/ns/slow{number}", 1)
            slow.subscribed(who)
            message = grpc(encode(sender.publication(who, bytes(60000))))
            sent = take(sender, itertools.repeat(message, 200))
            # Its own buffers hold the rest of what is under way.
            assert sent < 200, "the node took 12 MB for a receiver that reads nothing"


def test_client_that_reconnects_in_a_tight_loop(hub, watch):
    for _ in range(300):
        link = dial(hub.endpoints[0])
        link.subscribed(name("org/ns/restless", 1))
        link.connection.close()
    wait_until(lambda: len([line for line in watch.lines() if "connection closed" in line]) >= 300, 10, "300 links ended")
