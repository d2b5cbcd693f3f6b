"""A receiver that stops reading holds up those who write to it and nobody else; what was sent to it is not lost."""
import signal

import pytest

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
