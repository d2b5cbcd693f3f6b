"""What a node does with good messages, seen from raw links: header MAC, acks, ttl, fanout, routes, peers. Facts: data-plane.md 4.4, 5."""
import os
import uuid

import pytest

from harness import UPSTREAM, free_port, server
from wire import EDGE, PEER, REMOTE, dial, encode, grpc, name, tag, tagged

ours = pytest.mark.skipif(UPSTREAM, reason="upstream's node is known to differ here")
R = "org/ns/r"
MARKER = b"marker "


@pytest.fixture
def at(hub):
    return hub.endpoints[0]


@pytest.fixture
def lenient(make_node):
    return make_node(servers=[server(f"127.0.0.1:{free_port()}", require_header_mac=False)]).endpoints[0]


def receivers(at, *ids, **more):
    """Links subscribed to R, one for each id."""
    links = [dial(at, **more) for _ in ids]
    for link, number in zip(links, ids):
        link.subscribed(name(R, number))
    return links


def drain(link, at, target):
    """Blobs that arrived before a marker, which a fresh link sends now. Only for links that hear `target`; all of them hear it, so
    markers meant for others are passed over."""
    marker = MARKER + uuid.uuid4().bytes
    dial(at).publish(target, marker, fanout=256)
    got = []
    while (blob := link.received()) != marker:
        if not blob.startswith(MARKER):
            got.append(blob)
    return got


# Header MAC


PUBLISH_TAGS = {"good": "good", "absent": None, "empty": b"", "short": bytes(31), "wrong": bytes(32), "long": bytes(33)}


@pytest.mark.smoke
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
def test_publish_tags(make_node, strict):
    """With a key installed only a good tag passes, strict or not. A message that fails is dropped, its link lives on."""
    at = make_node(servers=[server(f"127.0.0.1:{free_port()}", require_header_mac=strict)]).endpoints[0]
    receiver, = receivers(at, 1)
    sender = dial(at)
    for label, mac in PUBLISH_TAGS.items():
        sender.publish(name(R, 1), label.encode(), mac=mac)
    sender.publish(name(R, 1), b"end")
    assert receiver.received() == b"good"
    assert receiver.received() == b"end"


def test_tag_covers_the_header(at):
    """Each field of the preimage changed after signing; then those outside it, which do no harm."""
    receiver, = receivers(at, 1)
    sender = dial(at)
    covered = [{"source": name("a/b/other")}, {"identity": "other"}, {"fanout": 2}, {"ttl": 9}, {"recv_from": 1}, {"forward_to": 0},
               {"error": False}, {"error": True}]
    for change in covered:
        message = sender.publication(name(R, 1), repr(change).encode())
        message["publish"]["header"] |= change
        sender.send_message(message)
    free = [{"version": "9.9.9"}, {"incoming_conn": 77}, {"signature": b"x" * 70}]
    for change in free:
        message = sender.publication(name(R, 1), repr(change).encode())
        message["publish"]["header"] |= change
        sender.send_message(message)
    assert [receiver.received() for _ in free] == [repr(change).encode() for change in free]


def test_tag_of_another_link(at):
    receiver, = receivers(at, 1)
    first, second = dial(at), dial(at)
    message = first.publication(name(R, 1), b"stolen")
    second.send_message(message)
    second.publish(name(R, 1), b"own")
    assert receiver.received() == b"own"
    # The same bytes again on their own link pass: the key has no sequence number.
    for _ in range(2):
        first.send_message(message)
        assert receiver.received() == b"stolen"


@pytest.mark.parametrize("mac", [None, b"", bytes(32)], ids=["absent", "empty", "wrong"])
def test_subscribe_tags_strict(at, mac):
    link = dial(at)
    link.subscribe(name(R, 1), 5, mac=mac)
    link.subscribed(name("org/ns/marker"), 6)


@pytest.mark.parametrize("mac,passes", [(None, True), (b"", True), (bytes(32), False)], ids=["absent", "empty", "wrong"])
def test_subscribe_tags_lenient(lenient, mac, passes):
    link = dial(lenient)
    link.subscribe(name(R, 1), 5, mac=mac)
    if passes:
        assert link.acked(5) is None
    link.subscribed(name("org/ns/marker"), 6)


def test_link_without_key_lenient(lenient):
    """No key offered: the reply has none, and only what has no tag passes as publish."""
    sender = dial(lenient, key=None)
    assert sender.key is None
    receiver, = receivers(lenient, 1)
    sender.publish(name(R, 1), b"tagged", mac=bytes(32))
    sender.publish(name(R, 1), b"plain", mac=None)
    assert receiver.received() == b"plain"
    sender.subscribed(name("org/ns/keyless", 1), mac=bytes(32))
    sender.subscribed(name("org/ns/keyless", 2))


@ours
def test_towards_a_link_without_key_there_is_no_tag(lenient):
    receiver = dial(lenient, key=None)
    receiver.subscribed(name(R, 1))
    dial(lenient).publish(name(R, 1), b"x")
    assert "mac" not in receiver.receive()["publish"]["header"]


@pytest.mark.parametrize("key", [bytes(31), bytes(32)], ids=["length", "zero"])
def test_useless_key_lenient(lenient, key):
    link = dial(lenient, key=key)
    assert link.key is None
    link.subscribed(name(R, 1))


# What arrives


def test_forwarded_header(at):
    receiver, = receivers(at, 1)
    sender = dial(at)
    sender.publish(name(R, 1), b"x", ttl=5, source=name("a/b/c", 2**100 + 17), metadata={"k": "v", "": "", "ü": "ß"},
                   header={"identity": "ident\0ity", "version": "1.2.3", "error": True, "signature": b"s" * 70, "incoming_conn": 2**63})
    got = receiver.receive()
    receiver.check(got)
    header = got["publish"]["header"]
    assert header["source"] == name("a/b/c", 2**100 + 17) and header["destination"] == name(R, 1)
    assert (header["identity"], header["version"], header["error"], header["signature"]) == ("ident\0ity", "1.2.3", True, b"s" * 70)
    assert (header["fanout"], header["ttl"]) == (1, 4)
    assert header["incoming_conn"] != 2**63
    assert "recv_from" not in header and "forward_to" not in header
    assert got["metadata"] == {"k": "v", "": "", "ü": "ß"}
    assert got["publish"]["session"] == {"type": 1, "kind": 1, "session_id": 5, "message_id": 1}


@ours
def test_unknown_fields_are_kept(at):
    receiver, = receivers(at, 1)
    sender = dial(at)
    future = tagged(200, b"future") + tagged(201, b"\xff\xfe")
    message = sender.publication(name(R, 1), b"x")
    message["raw"] = future
    message["publish"]["raw"] = future
    message["publish"]["header"]["raw"] = future
    message["publish"]["session"]["raw"] = future
    sender.send_message(message)
    got = receiver.receive()
    receiver.check(got)
    for part in (got, got["publish"], got["publish"]["header"], got["publish"]["session"]):
        assert part["unknown"] == [(200, 2, b"future"), (201, 2, b"\xff\xfe")]


def test_parts_that_come_twice_are_merged(at):
    """Scalars: the last one; messages: field by field; the oneof: merged when it is the same member, else the last one."""
    receiver, = receivers(at, 1)
    sender = dial(at)
    whole = sender.publication(name(R, 1), b"merged")["publish"]
    header = whole["header"]
    first = {"header": {"source": header["source"], "destination": {"name": header["destination"]["name"]}, "identity": "first", "fanout": 5},
             "session": {"type": 2, "kind": 1}}
    second = {"header": {"destination": {"text": header["destination"]["text"]}, "identity": header["identity"], "fanout": header["fanout"],
                         "version": header["version"], "ttl": header["ttl"], "mac": header["mac"]},
              "session": {"type": 1, "session_id": 5, "message_id": 1}, "msg": whole["msg"]}
    sender.send_message(encode({"subscribe": {"subscription_id": 9}}) + encode({"publish": first}) + encode({"publish": second}))
    got = receiver.receive()
    receiver.check(got)
    assert got["publish"]["msg"]["app"]["blob"] == b"merged"
    assert got["publish"]["session"] == {"type": 1, "kind": 1, "session_id": 5, "message_id": 1}
    assert got["publish"]["header"]["identity"] == header["identity"]


def test_numbers_above_32_bits_are_cut(at):
    first, second = receivers(at, 1, 2)
    sender = dial(at)
    message = sender.publication(name(R), b"one of them", fanout=1, ttl=8)
    message["publish"]["header"] |= {"fanout": 2**32 + 1, "ttl": 2**40 + 8}
    sender.send_message(message)
    assert first.received() == b"one of them"
    assert drain(second, at, name(R, 2)) == []


# ttl


@pytest.mark.parametrize("ttl,arrives", [(8, 7), (2, 1), (1, None), (0, None), (None, None), (2**32 - 1, 2**32 - 2)])
def test_ttl(at, ttl, arrives):
    receiver, = receivers(at, 1)
    sender = dial(at)
    message = sender.publication(name(R, 1), b"x", ttl=ttl or 0, header={} if ttl is not None else {"ttl": None})
    sender.send_message(message)
    sender.publish(name(R, 1), b"marker")
    if arrives is not None:
        assert receiver.receive()["publish"]["header"]["ttl"] == arrives
    assert receiver.received() == b"marker"


def test_subscribe_with_exhausted_ttl_is_dropped(at):
    link = dial(at)
    for ttl in (0, 1):
        link.subscribe(name(R, 1), 5, header={"ttl": ttl})
    link.subscribed(name(R, 1), 6, header={"ttl": 2})


# Fanout and choice


@pytest.mark.smoke
@pytest.mark.parametrize("fanout", [0, 2, 256, 2**32 - 1])
def test_fanout_to_all(at, fanout):
    """Every matching link gets one copy, however many ids it has; the sender gets none."""
    links = receivers(at, 1, 2, 3)
    links[0].subscribed(name(R, 4))
    sender = links[2]
    sender.publish(name(R), b"all", fanout=fanout)
    for link in links[:2]:
        assert link.received() == b"all"
        assert drain(link, at, name(R)) == []
    assert drain(sender, at, name(R)) == []


def test_fanout_to_all_with_an_id(at):
    first, second, third = receivers(at, 1, 1, 2)
    dial(at).publish(name(R, 1), b"all", fanout=256)
    assert first.received() == second.received() == b"all"
    assert drain(third, at, name(R, 2)) == []


@pytest.mark.parametrize("ids,target", [((1, 2, 3), None), ((1, 1, 1), 1), (("null", "null", "null"), None), ((1, 2, 3), "null")],
                         ids=["any", "same id", "null ids", "null target"])
def test_one_receiver_in_turn(at, ids, target):
    links = receivers(at, *ids)
    sender = dial(at)
    for number in range(9):
        sender.publish(name(R, target), bytes([number]))
    got = [[link.received() for _ in range(3)] for link in links]
    # Each gets every third, whoever begins.
    assert sorted(blob[0] for blobs in got for blob in blobs) == list(range(9))
    for blobs in got:
        assert [blob[0] - blobs[0][0] for blob in blobs] == [0, 3, 6]


def test_sender_is_left_out_of_the_turn(at):
    links = receivers(at, 1, 2, 3)
    for number in range(8):
        links[0].publish(name(R), bytes([number]))
    got = [drain(link, at, name(R)) for link in links]
    assert got[0] == []
    assert sorted(blob[0] for blob in got[1] + got[2]) == list(range(8))
    assert got[1] and got[2]


def test_only_receiver_is_the_sender(at):
    link, = receivers(at, 1)
    for target in (name(R), name(R, 1)):
        for fanout in (1, 256):
            link.publish(target, b"echo?", fanout=fanout)
    assert drain(link, at, name(R)) == []


def test_fanout_does_not_move_the_turn(at):
    links = receivers(at, 1, 2)
    sender = dial(at)
    order = []
    for number in range(6):
        sender.publish(name(R), b"all", fanout=256)
        sender.publish(name(R), b"one")
        counts = [drain(link, at, name(R)) for link in links]
        order.append([blobs.count(b"one") for blobs in counts])
        assert all(blobs.count(b"all") == 1 for blobs in counts)
    assert order == [order[0], order[1]] * 3 and sorted(order[:2]) == [[0, 1], [1, 0]]


def test_remote_before_edge(at):
    """Fanout 1 tries the types in the order remote, peer, edge."""
    edge, = receivers(at, 1)
    remote, = receivers(at, 1, type=REMOTE)
    sender = dial(at)
    for number in range(3):
        sender.publish(name(R, 1), bytes([number]))
    assert [remote.received() for _ in range(3)] == [b"\0", b"\1", b"\2"]
    remote.publish(name(R, 1), b"from the remote one")
    assert edge.received() == b"from the remote one"


# Names


def test_ids(at):
    """An id wants exactly that id; the wildcard wants any, and a wildcard subscription is one more id."""
    one, null, absent = receivers(at, 1, "null", None)
    sender = dial(at)
    sender.publish(name(R, 1), b"one", fanout=256)
    sender.publish(name(R, 2), b"nobody", fanout=256)
    sender.publish(name(R), b"everyone", fanout=256)
    assert one.received() == b"one" and one.received() == b"everyone"
    assert null.received() == b"everyone" and absent.received() == b"everyone"


def test_numbers_route_and_strings_do_not(at):
    receiver = dial(at)
    who = name(R, 1)
    who["text"] = {"t0": "quite", "t1": "other", "t2": "strings"}
    receiver.subscribed(who)
    target = name(R, 1)
    target["text"] = {"t0": "again", "t1": "other", "t2": "ones"}
    sender = dial(at)
    sender.publish(name("quite/other/strings", 1), b"no")
    sender.publish(target, b"yes")
    got = receiver.receive()
    assert got["publish"]["msg"]["app"]["blob"] == b"yes" and got["publish"]["header"]["destination"]["text"] == target["text"]


@pytest.mark.parametrize("number", [0, 1, 2**64, 2**127, 2**128 - 2, 2**128 - 1])
def test_any_id(at, number):
    receiver, other = receivers(at, number, 12345)
    sender = dial(at)
    sender.publish(name(R, number), b"x", fanout=256)
    assert receiver.received() == b"x"
    # All ones is the wildcard.
    assert drain(other, at, name(R, 12345)) == ([b"x"] if number == 2**128 - 1 else [])


# Subscriptions and their acks


def null_text(number):
    return str(uuid.UUID(int=number))


def test_ack_texts(at):
    link, other = dial(at), dial(at)
    far = name("org/ns/nobody")
    link.subscribe(far, 1, "unsubscribe")
    assert link.acked(1) == "subscription not found"
    other.subscribed(name(R, 1), 10)
    link.subscribe(name(R, 2), 2, "unsubscribe")
    assert link.acked(2) == f"id not found: {null_text(2)}"
    link.subscribe(name(R), 3, "unsubscribe")
    assert link.acked(3) == "id not found: NULL_COMPONENT"
    link.subscribe(name(R, 1), 10, "unsubscribe")
    assert link.acked(10) == "subscription id not found: 10"
    link.subscribed(name(R, 1), 11)
    link.subscribe(name(R, 1), 12, "unsubscribe")
    assert link.acked(12) == "subscription id not found: 12"
    link.subscribed(name(R, 1), 11, "unsubscribe")
    link.subscribe(name(R, 1), 11, "unsubscribe")
    assert link.acked(11) == "subscription id not found: 11"
    # The other one is as it was.
    dial(at).publish(name(R, 1), b"x")
    assert other.received() == b"x"


def test_ack_for_a_connection_that_is_not_there(at):
    link = dial(at)
    link.subscribe(name(R, 1), 5, header={"recv_from": 4_000_000})
    assert link.acked(5) == "connection not found: 4000000"


def test_large_subscription_ids(at):
    link = dial(at)
    for number in (1, 2**32, 2**63, 2**64 - 1):
        link.subscribed(name(R, 1), number)
    for number in (1, 2**32, 2**63, 2**64 - 1):
        link.subscribed(name(R, 1), number, "unsubscribe")
    link.subscribe(name(R, 1), 1, "unsubscribe")
    assert link.acked(1) == "subscription not found"


def test_subscription_without_id_is_not_acked(at):
    link = dial(at)
    link.subscribe(name(R, 1), 0)
    link.subscribe(name(R, 1), 0, "unsubscribe")
    link.subscribe(name(R, 2), 0)
    link.subscribed(name("org/ns/marker"), 7)
    sender = dial(at)
    sender.publish(name(R, 1), b"gone")
    sender.publish(name(R, 2), b"there")
    assert link.received() == b"there"


def test_references_are_counted(at):
    """A name stays while one of its subscriptions is there; the same id twice is one."""
    link, spare = dial(at), dial(at)
    link.subscribe(name(R, 1), 0)
    for number in (5, 5, 6):
        link.subscribed(name(R, 1), number)
    spare.subscribed(name("org/ns/spare", 1))

    def routed():
        sender = dial(at)
        sender.publish(name(R, 1), b"ping")
        sender.publish(name("org/ns/spare", 1), b"marker")
        assert spare.received() == b"marker"
        link.subscribe(name("org/ns/own"), 77)
        message = link.receive()
        if "publish" in message:
            assert link.receive()["ack"]["subscription_id"] == 77
            return True
        assert message["ack"]["subscription_id"] == 77
        return False

    assert routed()
    for number in (5, 6):
        link.subscribed(name(R, 1), number, "unsubscribe")
        assert routed()
    link.subscribe(name(R, 1), 0, "unsubscribe")
    assert not routed()


def test_one_id_for_two_names(at):
    link = dial(at)
    link.subscribed(name(R, 1), 5)
    link.subscribed(name(R, 2), 5)
    link.subscribed(name(R, 1), 5, "unsubscribe")
    sender = dial(at)
    sender.publish(name(R, 1), b"gone")
    sender.publish(name(R, 2), b"there")
    assert link.received() == b"there"


def test_absent_and_null_id_are_two_forms(at):
    link = dial(at)
    link.subscribed(name(R), 5)
    link.subscribe(name(R, "null"), 5, "unsubscribe")
    assert link.acked(5) == "subscription id not found: 5"
    link.subscribed(name(R), 5, "unsubscribe")


def test_unsubscribe_needs_a_connection_of_its_own(at):
    """Two links with the same id and name: each takes away its own."""
    first, second = receivers(at, 1, 1)
    for link in (first, second):
        link.subscribed(name("org/ns/both", 1), 5)
    first.subscribed(name("org/ns/both", 1), 5, "unsubscribe")
    for number in range(3):
        dial(at).publish(name("org/ns/both", 1), bytes([number]))
    assert [second.received() for _ in range(3)] == [b"\0", b"\1", b"\2"]


def test_link_that_ends_takes_its_routes_along(at):
    first, second = receivers(at, 1, 1)
    first.connection.close()
    probe = dial(at)
    for number in range(20):
        probe.publish(name(R, 1), bytes([number]), fanout=256)
    assert [second.received() for _ in range(20)] == [bytes([number]) for number in range(20)]
    second.send_bytes(b"", end=True)
    second.wait_end()
    probe.subscribe(name(R, 1), 5, "unsubscribe")
    assert probe.acked(5) == "subscription not found"


def test_publish_before_the_ack(at):
    """Subscribe, and in the same write a publish that makes another answer to the new name: the answer is never lost."""
    asker, answerer = dial(at), dial(at)
    answerer.subscribed(name("org/ns/answerer", 1))
    for number in range(1, int(os.environ.get("SLIM_ANSWER_ROUNDS", "400")) + 1):
        reply_to = name(f"org/reply/{number}", number)
        subscribe = asker.sign({"subscribe": {"header": {"source": reply_to, "destination": reply_to, "fanout": 1, "ttl": 8},
                                              "subscription_id": number}})
        ask = asker.publication(name("org/ns/answerer", 1), str(number).encode(), source=reply_to)
        asker.send_bytes(grpc(encode(subscribe)) + grpc(encode(ask)))
        question = answerer.receive()["publish"]
        answerer.publish(question["header"]["source"], question["msg"]["app"]["blob"])
        kinds = {}
        for _ in range(2):
            message = asker.receive()
            kinds |= message
        assert kinds["ack"] == {"subscription_id": number, "success": True}
        assert kinds["publish"]["msg"]["app"]["blob"] == str(number).encode()


def test_order_is_kept(at):
    receiver, = receivers(at, 1)
    senders = [dial(at), dial(at)]
    for sender, letter in zip(senders, b"ab"):
        sender.send_bytes(b"".join(grpc(encode(sender.publication(name(R, 1), bytes([letter]) + number.to_bytes(4, "big"))))
                                   for number in range(2000)))
    got = [receiver.received(10) for _ in range(4000)]
    for letter in b"ab":
        assert [int.from_bytes(blob[1:], "big") for blob in got if blob[0] == letter] == list(range(2000))


def test_answers_do_not_overtake(at):
    """One writer tells a watcher, then an asker; what the asker says to the watcher for it must come second, whoever serves whom."""
    for number in range(int(os.environ.get("SLIM_ANSWER_ROUNDS", "400")) // 20):
        # In turn all three sit on other workers.
        links = [dial(at) for _ in range(3 + number % 2)]
        watcher, asker, writer = links[:3]
        watcher.subscribed(name("org/ns/watcher", 1))
        asker.subscribed(name("org/ns/asker", 1))
        for step in range(20):
            news = writer.publication(name("org/ns/watcher", 1), b"news %d" % step)
            question = writer.publication(name("org/ns/asker", 1), b"ask")
            writer.send_bytes(grpc(encode(news)) + grpc(encode(question)))
            assert asker.received() == b"ask"
            asker.publish(name("org/ns/watcher", 1), b"answer %d" % step)
            assert watcher.received() == b"news %d" % step
            assert watcher.received() == b"answer %d" % step
        for link in links:
            link.connection.close()


def test_thousands_of_names(at):
    link = dial(at)
    count = 3000
    link.send_bytes(b"".join(grpc(encode(link.sign({"subscribe": {"header": {
        "source": name(f"org/many/{number}", number), "destination": name(f"org/many/{number}", number), "fanout": 1, "ttl": 8},
        "subscription_id": number}}))) for number in range(1, count + 1)))
    assert {link.receive(10)["ack"]["subscription_id"] for _ in range(count)} == set(range(1, count + 1))
    sender = dial(at)
    for number in (1, count // 2, count):
        sender.publish(name(f"org/many/{number}", number), str(number).encode())
        assert link.received() == str(number).encode()


# Peers


def answer_peer(peer):
    """The next subscription change a peer is told, acknowledged."""
    message = peer.receive()
    kind, = message
    part = message[kind]
    if part.get("subscription_id"):
        peer.send_message({"ack": {"subscription_id": part["subscription_id"], "success": True}})
    return kind, part


@pytest.mark.smoke
def test_peer_is_told_what_is_subscribed(at):
    early = dial(at)
    early.subscribed(name("org/ns/early", 5), 50)
    peer = dial(at, type=PEER)
    kind, part = answer_peer(peer)
    header = part["header"]
    assert kind == "subscribe" and part["subscription_id"] == 50
    assert header["source"] == header["destination"] == name("org/ns/early", 5)
    assert (header["ttl"], header["fanout"]) == (8, 1)
    assert not header.get("identity") and "mac" not in header

    late = dial(at)
    late.subscribe(name("org/ns/late", 6), 60)
    kind, part = answer_peer(peer)
    assert kind == "subscribe" and part["header"]["destination"] == name("org/ns/late", 6)
    assert late.acked(60) is None
    # Only the first subscription of a name is news.
    other = dial(at)
    other.subscribed(name("org/ns/late", 6), 61)
    other.subscribed(name("org/ns/late", 6), 61, "unsubscribe")
    late.subscribe(name("org/ns/late", 6), 60, "unsubscribe")
    kind, part = answer_peer(peer)
    assert kind == "unsubscribe" and part["header"]["destination"] == name("org/ns/late", 6)
    assert late.acked(60) is None
    early.connection.close()
    kind, part = answer_peer(peer)
    assert kind == "unsubscribe" and part["header"]["destination"] == name("org/ns/early", 5)


def test_messages_to_and_from_a_peer(at):
    """No tag is made towards a peer and none is asked of it; the ttl counts."""
    peer = dial(at, type=PEER)
    peer.subscribed(name("org/ns/far", 1), mac=None)
    edge = dial(at)
    edge.publish(name("org/ns/far", 1), b"out")
    got = peer.receive()["publish"]
    assert got["msg"]["app"]["blob"] == b"out" and got["header"]["ttl"] == 7
    edge.subscribe(name(R, 1), 9)
    answer_peer(peer)
    assert edge.acked(9) is None
    for mac in (None, bytes(32)):
        peer.publish(name(R, 1), b"in", mac=mac)
        assert edge.received() == b"in"


@ours
def test_towards_a_peer_there_is_no_tag(at):
    peer = dial(at, type=PEER)
    peer.subscribed(name("org/ns/far", 1), mac=None)
    dial(at).publish(name("org/ns/far", 1), b"out")
    assert "mac" not in peer.receive()["publish"]["header"]


def test_peer_before_edge(at):
    """A fanout of 1 takes a peer rather than a client of the node itself."""
    edge, = receivers(at, 1)
    peer = dial(at, type=PEER)
    answer_peer(peer)
    peer.subscribed(name(R, 1), mac=None)
    sender = dial(at, type=EDGE)
    for number in range(3):
        sender.publish(name(R, 1), bytes([number]))
    assert [peer.receive()["publish"]["msg"]["app"]["blob"] for _ in range(3)] == [b"\0", b"\1", b"\2"]
    sender.publish(name(R, 1), b"all", fanout=256)
    assert edge.received() == b"all" and peer.receive()["publish"]["msg"]["app"]["blob"] == b"all"


def test_subscriptions_travel_from_peer_to_peer(at):
    """Without a `peers` block a node relays them, as long as the ttl allows."""
    first, second = dial(at, type=PEER), dial(at, type=PEER)
    first.subscribe(name("org/ns/far", 1), 5, mac=None, header={"ttl": 8})
    kind, part = answer_peer(second)
    assert kind == "subscribe" and part["header"]["ttl"] == 7 and part["header"]["destination"] == name("org/ns/far", 1)
    assert first.acked(5) is None
    second.publish(name("org/ns/far", 1), b"relayed", mac=None)
    assert first.receive()["publish"]["msg"]["app"]["blob"] == b"relayed"
    first.subscribed(name("org/ns/near", 1), 6, mac=None, header={"ttl": 2})
    second.publish(name("org/ns/near", 1), b"not told but reachable", mac=None)
    assert first.receive()["publish"]["msg"]["app"]["blob"] == b"not told but reachable"


def test_peer_that_does_not_ack(at):
    """A client is acked all the same, after five seconds at most."""
    dial(at, type=PEER)
    edge = dial(at)
    edge.subscribe(name(R, 1), 5)
    assert edge.acked(5, seconds=10) is None
    dial(at).publish(name(R, 1), b"x")
    assert edge.received() == b"x"


def test_tag_vector():
    """The recorded tag of data-plane.md 8.2, so that a mistake shared by node and test is seen."""
    key = bytes.fromhex("755afe675a5f5aef3f579cba8c718adc0595a9b22d784984c25577e454d89cca")
    header = {"source": name("raw/raw/src", 7), "destination": name("org/ns/raw", 42), "fanout": 1, "ttl": 7}
    assert tag(key, "ccb827ab-06dc-463a-96a4-d0c573c3627c", header).hex() == \
        "69c21b83651ab797257d10935173bf32bef51179040b21a2ad8b0d81db6470c2"
