"""A receiver that stops reading holds up those who write to it and nobody else; what was sent to it is not lost."""
import signal

import pytest

from harness import UPSTREAM
from wire import Ended, dial, encode, grpc, name

SIZE = 20_000
COUNT = 600


@pytest.mark.smoke
def test_stalled_receiver(make_peer, endpoint):
    slow_peer = make_peer(label="slow")
    slow = slow_peer.client(endpoint, "org/ns/slow")
    writer = make_peer(label="writer").client(endpoint, "org/ns/writer")
    others = make_peer(label="others")
    caller, answerer = others.client(endpoint, "org/ns/caller"), others.client(endpoint, "org/ns/answerer")
    answerer.echo()
    # No acknowledgement, so no retransmission either: what arrives is what the node kept.
    out = writer.open(slow.name, interval=None, retries=None)
    inside = slow.listen()
    out.publish("before")
    assert inside.receive()["size"] == 6
    other = caller.open(answerer.name)
    other.ping("before")

    slow_peer.signal(signal.SIGSTOP)
    try:
        # 12 MB, more than all windows and queues between the two.
        flood = [out.begin("publish_many", first=0, count=COUNT, size=SIZE)]
        for number in range(50):
            other.ping(f"meanwhile {number}", timeout=10)
    finally:
        slow_peer.signal(signal.SIGCONT)
    numbers = inside.call("receive_many", count=COUNT, within=90)
    assert numbers == list(range(COUNT))
    flood[0].result(30)
    other.ping("after")


def test_stalled_receiver_is_killed(make_peer, endpoint):
    """The writer goes on with others once the stalled one is gone."""
    slow_peer = make_peer(label="slow")
    slow = slow_peer.client(endpoint, "org/ns/slow")
    writer_peer = make_peer(label="writer")
    writer = writer_peer.client(endpoint, "org/ns/writer")
    answerer = make_peer(label="answerer").client(endpoint, "org/ns/answerer")
    answerer.echo()
    out = writer.open(slow.name, interval=None, retries=None)
    slow.listen()
    other = writer.open(answerer.name)
    other.ping("before")
    slow_peer.signal(signal.SIGSTOP)
    out.begin("publish_many", first=0, count=COUNT, size=SIZE)
    slow_peer.kill()
    # The same link carries both sessions.
    other.ping("after", timeout=40)


@pytest.mark.skipif(UPSTREAM, reason="upstream waits for ever")
def test_a_slow_reader_goes_when_that_was_asked_for(make_node):
    node = make_node(arguments=("--slow-reader", "2"))
    at = node.endpoints[0]
    stalled, other, writer = dial(at, window=65535, hold=True), dial(at), dial(at)
    stalled.subscribed(name("org/ns/stalled", 1))
    other.subscribed(name("org/ns/other", 1))
    assert writer.fill(grpc(encode(writer.publication(name("org/ns/stalled", 1), bytes(SIZE))))) * SIZE > 2 << 20
    # It waits behind what the stalled one does not read.
    writer.publish(name("org/ns/other", 1), b"after")
    with pytest.raises(TimeoutError):
        other.received(1)
    assert other.received(10) == b"after"
    with pytest.raises(Ended):
        while True:
            stalled.receive_bytes(10)
    assert "for 2 s it has not read what is sent to it" in node.process.log.read_text()
