"""The wire below the clients: HTTP/2 and gRPC, link negotiation, bad input. Facts: data-plane.md 1, 2, 4, 6."""
import contextlib
import socket
import time

import pytest

import wire
from harness import UPSTREAM, free_port, server
from wire import EDGE, LIMIT, PEER, REMOTE, Connection, Ended, dial, encode, grpc, name, tagged

ours = pytest.mark.skipif(UPSTREAM, reason="upstream's node is known to differ here")

G1 = bytes.fromhex(
    "2a7e0a7c0a2439343465393335312d373837392d346430642d393530392d3366366539633964663437621205332e342e3622201924c96582233ad33962d1d365"
    "207a8dd79cd5f678ada4f609b4371da3bfdb75280232296e6f64652d37653563336161382d636662382d346539612d613933622d626534346563653265613430")


@pytest.fixture
def quick(make_node):
    """A node that waits one second for a negotiation."""
    return make_node(servers=[server(f"127.0.0.1:{free_port()}", negotiation_timeout_secs=1)], node_id="node-under-test")


def closes(link, seconds=5):
    """A fatal condition: the stream ends with status 0 and without a word, the connection lives on."""
    trailers = link.wait_end(seconds)
    assert trailers["grpc-status"] == "0", trailers
    assert not link.messages
    again = link.connection.open()
    again.negotiate()
    again.subscribed(name("org/ns/again"))


# Transport


@pytest.mark.smoke
def test_headers_come_before_anything_was_asked(hub):
    link = Connection(hub.endpoints[0]).open()
    headers = link.wait_headers()
    assert headers[":status"] == "200"
    assert headers["content-type"].startswith("application/grpc")
    assert not link.messages and not link.ended


def test_golden_negotiation(hub):
    link = Connection(hub.endpoints[0]).open()
    link.wait_headers()
    link.send_message(G1)
    reply = link.receive()["link"]["negotiation"]
    assert reply["link_id"] == "944e9351-7879-4d0d-9509-3f6e9c9df47b"
    assert reply["is_reply"] is True and reply["type"] == EDGE and len(reply["key"]) == 32
    assert reply["node_id"] and reply["version"].count(".") >= 2


def test_frames_cut_everywhere(hub):
    """One byte per DATA frame, and many messages in one frame."""
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    sender.send_message(sender.publication(name("org/ns/r", 1), b"crumbs"), chunk=1)
    assert receiver.received() == b"crumbs"
    batch = b"".join(grpc(encode(sender.publication(name("org/ns/r", 1), str(number).encode()))) for number in range(50))
    sender.send_bytes(batch)
    assert [receiver.received() for _ in range(50)] == [str(number).encode() for number in range(50)]
    sender.send_bytes(batch, chunk=1000)
    assert [receiver.received() for _ in range(50)] == [str(number).encode() for number in range(50)]


def test_large_messages(hub):
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    for size in (100_000, 1 << 20, LIMIT - 1024):
        blob = bytes([size & 0xFF]) * size
        sender.publish(name("org/ns/r", 1), blob)
        assert receiver.received(20) == blob


def fitted(sender, size, **header):
    """A publish of exactly that many bytes of protobuf."""
    room = size - len(encode(sender.publication(name("org/ns/r", 1), b"", header=header))) - 16
    for length in range(room, size):
        message = encode(sender.publication(name("org/ns/r", 1), bytes(length), header=header))
        if len(message) == size:
            return message
    raise AssertionError("no such size")


def test_exactly_four_mebibytes(hub):
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    sender.send_message(fitted(sender, LIMIT, incoming_conn=1))
    assert len(receiver.receive_bytes(20)) == LIMIT
    sender.send_message(fitted(sender, LIMIT - 1, incoming_conn=1))
    assert len(receiver.receive_bytes(20)) == LIMIT - 1


@ours
def test_message_that_would_grow_beyond_the_limit(hub):
    """Without incoming_conn on arrival it grows by two bytes: that copy is dropped, nobody's link ends."""
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    sender.send_message(fitted(sender, LIMIT))
    sender.publish(name("org/ns/r", 1), b"after")
    assert receiver.received(20) == b"after"


def test_message_over_the_limit_ends_its_link(hub):
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    sender.send_bytes(b"\0" + (LIMIT + 1).to_bytes(4, "big"))
    closes(sender)
    assert dial_and_publish(hub, b"others go on") and receiver.received() == b"others go on"


def dial_and_publish(hub, blob):
    link = dial(hub.endpoints[0])
    link.publish(name("org/ns/r", 1), blob)
    return link


def test_half_close(hub):
    receiver, leaver = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    leaver.subscribed(name("org/ns/r", 1))
    receiver.subscribed(name("org/ns/r", 1))
    leaver.send_bytes(b"", end=True)
    assert leaver.wait_end()["grpc-status"] == "0"
    sender = dial(hub.endpoints[0])
    # Its route is gone: in turn means always the other one.
    for number in range(4):
        sender.publish(name("org/ns/r", 1), bytes([number]))
    assert [receiver.received() for _ in range(4)] == [bytes([number]) for number in range(4)]


def test_two_streams_on_one_connection(hub):
    """Each is a link of its own; the end of one is nothing to the other."""
    connection = Connection(hub.endpoints[0])
    first, second = connection.open(), connection.open()
    for link in (first, second):
        link.negotiate()
    first.subscribed(name("org/ns/r", 1))
    second.publish(name("org/ns/r", 1), b"across")
    assert first.received() == b"across"
    second.send_bytes(b"", end=True)
    second.wait_end()
    dial_and_publish(hub, b"still here")
    assert first.received() == b"still here"


@pytest.mark.parametrize("path", ["/dataplane.proto.v1.DataPlaneService/Nothing", "/nothing", "/grpc.health.v1.Health/Check",
                                  wire.PATH + "/", wire.PATH.lower()])
def test_unknown_path(hub, path):
    link = Connection(hub.endpoints[0]).open(path)
    headers = link.wait_end()
    assert headers[":status"] == "200" and headers["grpc-status"] == "12"


def test_compression_is_refused(hub):
    link = Connection(hub.endpoints[0]).open(headers=[("grpc-encoding", "gzip")])
    headers = link.wait_end()
    assert headers[":status"] == "200" and headers["grpc-status"] == "12"
    assert headers["grpc-accept-encoding"] == "identity"
    assert headers["grpc-message"] == "Content%20is%20compressed%20with%20%60gzip%60%20which%20isn't%20supported"
    plain = Connection(hub.endpoints[0]).open(headers=[("grpc-encoding", "identity"), ("grpc-accept-encoding", "gzip,identity")])
    plain.negotiate()


def test_compressed_flag_ends_the_link(hub):
    link = dial(hub.endpoints[0])
    link.send_bytes(grpc(encode(link.publication(name("org/ns/r", 1))), flag=1))
    closes(link)


def test_further_headers_are_no_matter(hub):
    link = Connection(hub.endpoints[0]).open(headers=[("authorization", "Bearer x"), ("x-anything", "y" * 2000), ("grpc-timeout", "1S")])
    link.negotiate()
    time.sleep(1.2)
    link.subscribed(name("org/ns/r", 1))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, bytes(range(256)) * 40, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00",
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x05\x00\x00\x00\x00\x00\x01hello"],
                         ids=["http1", "zeros", "noise", "wrong-preface", "endless-frame", "data-without-settings"])
def test_garbage(hub, data):
    with socket.create_connection(hub.endpoints[0].split(":")) as raw:
        raw.settimeout(15)
        raw.sendall(data)
        # A reset is as good an end as an orderly one; a connection left open runs into the time limit.
        with contextlib.suppress(ConnectionError):
            while raw.recv(65536):
                pass
    dial(hub.endpoints[0]).subscribed(name("org/ns/r", 1))


def test_frame_over_the_announced_size(hub):
    link = dial(hub.endpoints[0])
    assert link.connection.settings.get(5, 16384) == 16384
    link.connection.socket.sendall((16385).to_bytes(3, "big") + b"\0\0" + link.id.to_bytes(4, "big") + bytes(16385))
    with pytest.raises(Ended):
        link.connection.until(lambda: False, 5, "the end of the connection")
    dial(hub.endpoints[0])


def test_ping_is_answered(hub):
    connection = Connection(hub.endpoints[0])
    connection.h2.ping(b"12345678")
    connection.flush()
    connection.until(lambda: connection.pongs, 5, "PING ack")


def test_reset_stream_is_a_link_that_ended(hub):
    receiver, leaver = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    leaver.subscribed(name("org/ns/r", 1))
    receiver.subscribed(name("org/ns/r", 1))
    leaver.connection.h2.reset_stream(leaver.id, 8)
    leaver.connection.h2.ping(b"12345678")
    leaver.connection.flush()
    leaver.connection.until(lambda: leaver.connection.pongs, 5, "PING ack")
    again = leaver.connection.open()
    again.negotiate()
    for number in range(4):
        again.publish(name("org/ns/r", 1), bytes([number]))
    assert [receiver.received() for _ in range(4)] == [bytes([number]) for number in range(4)]


@pytest.mark.smoke
def test_window_that_stays_closed(hub):
    """A receiver that gives no window: its sender is held up, others are not, nothing is lost, PING is answered."""
    slow = dial(hub.endpoints[0], window=65535, hold=True)
    slow.subscribed(name("org/ns/slow", 1))
    other = dial(hub.endpoints[0])
    other.subscribed(name("org/ns/other", 1))
    writer, bystander = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    sent, blob = 0, bytes(10_000)
    message = grpc(encode(writer.publication(name("org/ns/slow", 1), blob)))
    with pytest.raises(TimeoutError):
        while sent < 40_000:
            writer.send_bytes(message, seconds=2)
            sent += 1
    assert sent < 10_000, "100 MB were taken for a receiver that does not read"
    for number in range(100):
        bystander.publish(name("org/ns/other", 1), bytes([number]))
        assert other.received() == bytes([number])
    for link in (slow, writer):
        link.connection.h2.ping(b"12345678")
        link.connection.flush()
        link.connection.until(lambda: link.connection.pongs, 5, "PING ack")
    slow.release()
    for _ in range(sent):
        assert slow.received(20) == blob


# Negotiation


@pytest.mark.parametrize("fields", [{"version": "0.0.1"}, {"version": "1.2.3-rc.1+b"}, {"link_id": "x" * 5000}, {"link_id": "a"}, {"node_id": ""},
                                    {"node_id": None}, {"deployment": "elsewhere"}, {"kem": b"short"}], ids=lambda f: "-".join(f))
def test_negotiation_accepted(hub, fields):
    link = dial(hub.endpoints[0], **fields)
    assert link.key
    link.subscribed(name("org/ns/r", 1))


@pytest.mark.parametrize("asked,answered", [(REMOTE, REMOTE), (EDGE, EDGE), (PEER, PEER), (77, REMOTE)])
def test_connection_type_is_echoed(hub, asked, answered):
    link = Connection(hub.endpoints[0]).open()
    reply = link.negotiate(type=asked)
    assert reply.get("type", REMOTE) == answered


def test_one_link_id_twice(hub):
    first, second = (dial(hub.endpoints[0], link_id="the same") for _ in range(2))
    assert first.key != second.key
    first.subscribed(name("org/ns/first", 1))
    second.publish(name("org/ns/first", 1), b"x")
    assert first.received() == b"x"


@pytest.mark.parametrize("fields", [{"version": bad} for bad in ("banana", "", "1.2", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3.4")] +
                         [{"is_reply": True}, {"link_id": ""}, {"key": None}, {"key": bytes(31)}, {"key": bytes(33)}, {"key": bytes(32)}],
                         ids=lambda f: "-".join(f"{key}={value[:8] if isinstance(value, (str, bytes)) else value!r}" for key, value in f.items()))
def test_negotiation_refused(hub, fields):
    link = Connection(hub.endpoints[0]).open()
    link.wait_headers()
    link.send_message(link.negotiation(**fields))
    closes(link)


@pytest.mark.parametrize("what", ["publish", "subscribe", "ack", "empty", "empty link", "garbage", "nothing", "half a message"])
def test_first_message_is_something_else(quick, what):
    link = Connection(quick.endpoints[0]).open()
    link.wait_headers()
    header = {"source": name("a/b/c", 1), "destination": name("a/b/c", 1), "fanout": 1, "ttl": 8}
    messages = {"publish": {"publish": {"header": header, "session": {}}}, "subscribe": {"subscribe": {"header": header, "subscription_id": 5}},
                "ack": {"ack": {"subscription_id": 1, "success": True}}, "empty": {}, "empty link": {"link": {}}}
    if what in messages:
        link.send_message(encode(messages[what]))
    elif what == "garbage":
        link.send_message(b"\xff\xff\xff")
    elif what == "half a message":
        link.send_bytes(grpc(G1)[:50])
    closes(link)


def test_message_in_the_same_frame_as_the_negotiation(hub):
    """A dialler waits for the reply before it goes on; one that does not, and signs nothing, loses only that message."""
    link = Connection(hub.endpoints[0]).open()
    link.wait_headers()
    who = name("org/ns/early", 1)
    early = {"subscribe": {"header": {"source": who, "destination": who, "fanout": 1, "ttl": 8}, "subscription_id": 3}}
    link.send_bytes(grpc(encode(link.negotiation())) + grpc(encode(early)))
    link.install(link.receive()["link"]["negotiation"])
    assert link.subscribed(who, 4)


def test_second_negotiation_is_ignored(hub):
    link = dial(hub.endpoints[0])
    secret = link.key, link.link_id, link.secret
    link.send_message(link.negotiation(link_id="another"))
    link.key, link.link_id, link.secret = secret
    link.send_message({"link": {}})
    link.subscribed(name("org/ns/r", 1))


def test_node_that_calls_itself(quick):
    link = Connection(quick.endpoints[0]).open()
    link.wait_headers()
    link.send_message(link.negotiation(type=PEER, node_id="node-under-test"))
    link.connection.until(lambda: link.ended, 5, "the refusal")
    assert link.trailers["grpc-status"] == "7"
    assert link.trailers["grpc-message"].replace("%20", " ") == "self-connection rejected: same node_id"


def test_peer_of_another_deployment(make_node):
    node = make_node(domain_name="here")
    link = Connection(node.endpoints[0]).open()
    link.wait_headers()
    link.send_message(link.negotiation(type=PEER, deployment="there"))
    link.connection.until(lambda: link.ended, 5, "the refusal")
    assert link.trailers["grpc-status"] == "7" and "deployment_name" in link.trailers["grpc-message"]
    assert dial(node.endpoints[0], type=PEER, deployment="here").key
    # Only peers are asked where they belong to.
    assert dial(node.endpoints[0], type=EDGE, deployment="there").key


# Bad input on a live link

BROKEN = {
    "truncated": b"\x1a\x05\x0a",
    "field number 0": b"\x02\x00",
    "wire type 6": b"\x1e",
    "wrong wire type": b"\x18\x01",
    "long varint": b"\x38" + b"\xff" * 10 + b"\x01",
    "lone end group": b"\x3c",
    "bad UTF-8 in metadata": tagged(4, tagged(1, b"\xff") + tagged(2, b"x")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_undecodable_message_ends_the_link(hub, what):
    link = dial(hub.endpoints[0])
    receiver = dial(hub.endpoints[0])
    link.subscribed(name("org/ns/r", 1))
    receiver.subscribed(name("org/ns/r", 1))
    link.send_message(BROKEN[what])
    closes(link)
    for number in range(4):
        dial_and_publish(hub, bytes([number]))
    assert sorted(receiver.received() for _ in range(4)) == [bytes([number]) for number in range(4)]


BROKEN_INSIDE = {
    "bad UTF-8 in payload_type": {"msg": {"app": {"raw": tagged(1, b"\xff\xfe") + tagged(2, b"x")}}},
    "truncated content": {"msg": {"raw": b"\x0a\x05\x0a"}},
    "truncated command": {"msg": {"command": b"\x1a\x05\x0a"}},
    "wrong wire type in a command": {"msg": {"command": b"\x08\x01"}},
    "bad UTF-8 deep in a command": {"msg": {"command": tagged(3, tagged(2, tagged(2, tagged(1, b"\xff"))))}},
    "wrong wire type in the session header": {"session": {"raw": b"\x0a\x00"}},
    "bad UTF-8 in a name": {"source": tagged(1, b"\xc3\x28")},
}


@pytest.mark.parametrize("what", BROKEN_INSIDE)
def test_broken_inside_harms_the_sender_only(hub, what):
    """Passed on it would end the receiver's link."""
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    message = sender.publication(name("org/ns/r", 1), b"poison")
    change = dict(BROKEN_INSIDE[what])
    if "source" in change:
        message["publish"]["header"]["source"]["text"] = {"raw": change.pop("source")}
    message["publish"] |= change
    sender.send_message(message)
    closes(sender)
    dial_and_publish(hub, b"fine")
    assert receiver.received() == b"fine"


@pytest.mark.parametrize("what", ["no header", "no source", "no destination", "no source name", "no destination name", "no session"])
def test_missing_parts_are_dropped(hub, what):
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    message = sender.publication(name("org/ns/r", 1), b"incomplete", mac=None)
    publish = message["publish"]
    if what == "no header":
        del publish["header"]
    elif what == "no session":
        del publish["session"]
    elif what.endswith(" name"):
        del publish["header"][what.split()[1]]["name"]
    else:
        del publish["header"][what.split()[1]]
    sender.send_message(sender.sign(message))
    if what in ("no source", "no source name"):
        # The same of a Subscribe: no ack either.
        who = {"text": name("org/ns/x")["text"]} if "name" in what else None
        header = {"source": who, "destination": name("org/ns/x"), "fanout": 1, "ttl": 8}
        if who is None:
            del header["source"]
        sender.send_message(sender.sign({"subscribe": {"header": header, "subscription_id": 99}}))
    sender.subscribed(name("org/ns/y"), 100)
    sender.publish(name("org/ns/r", 1), b"complete")
    assert receiver.received() == b"complete"


@ours
@pytest.mark.parametrize("message", [b"", tagged(15, b"future"), tagged(4, tagged(1, b"only") + tagged(2, b"metadata"))],
                         ids=["empty", "future kind", "only metadata"])
def test_message_of_no_known_kind_is_dropped(hub, message):
    link = dial(hub.endpoints[0])
    link.subscribed(name("org/ns/r", 1))
    link.send_message(message)
    link.subscribed(name("org/ns/s", 1))
    dial_and_publish(hub, b"still routed")
    assert link.received() == b"still routed"


@ours
def test_subscription_without_strings(hub):
    link = dial(hub.endpoints[0])
    link.subscribed(name("org/ns/r", 1, strings=False))
    sender = dial(hub.endpoints[0])
    sender.publish(name("org/ns/r", 1, strings=False), b"x")
    assert link.received() == b"x"


def test_optional_parts_may_be_absent(hub):
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    message = {"publish": {"header": {"source": name("a/b/c", strings=False), "destination": name("org/ns/r", 1, strings=False), "fanout": 1,
                                      "ttl": 8}, "session": {}}}
    sender.send_message(sender.sign(message))
    got = receiver.receive()
    assert got["publish"]["session"] == {} and "msg" not in got["publish"] and "text" not in got["publish"]["header"]["source"]
    receiver.check(got)


def test_unknown_ack_and_unsubscribe_are_ignored(hub):
    link = dial(hub.endpoints[0])
    link.send_message({"ack": {"subscription_id": 12345, "success": True}})
    link.subscribe(name("org/ns/r", 1), 0, "unsubscribe")
    link.subscribed(name("org/ns/r", 1))


@pytest.mark.parametrize("payload", [
    tagged(1, tagged(1, b"msg") + tagged(2, b"") + tagged(99, b"x")), tagged(77, b"future content"), b"", tagged(2, b""),
    tagged(2, tagged(99, b"future command"))], ids=["app", "content", "empty", "no command", "command"])
def test_unknown_content_is_forwarded(hub, payload):
    receiver, sender = dial(hub.endpoints[0]), dial(hub.endpoints[0])
    receiver.subscribed(name("org/ns/r", 1))
    message = sender.publication(name("org/ns/r", 1))
    message["publish"]["msg"] = {"raw": payload}
    message["publish"]["session"] = {"type": 99, "kind": 4000, "session_id": 2**32 - 1, "message_id": 7}
    sender.send_message(message)
    got = receiver.receive()
    receiver.check(got)
    assert got["publish"]["session"] == {"type": 99, "kind": 4000, "session_id": 2**32 - 1, "message_id": 7}
    if not UPSTREAM:
        # Upstream drops what it does not know.
        (_, _, publish), = wire.fields(receiver.last)
        assert {number: value for number, _, value in wire.fields(publish)}[3] == payload
