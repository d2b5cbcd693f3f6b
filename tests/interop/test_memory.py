"""What messages on their way hold is bounded for the whole process, however many write to a receiver that does not read."""
import os
import resource

import pytest

from harness import UPSTREAM
from wire import LIMIT, Ended, dial, encode, grpc, name

PUBLISHERS = int(os.environ.get("SLIM_PUBLISHERS", "250"))
# A window of 64 KiB for each must fit beside the whole ones, or new links are refused.
LIMIT_MIB = 64 + PUBLISHERS // 8
# Code, tables, receive buffers, and what the allocator keeps.
OTHER_MIB = 80
SIZE = 10_000
ENHANCE_YOUR_CALM = 11


@pytest.mark.skipif(UPSTREAM, reason="upstream has no limit")
@pytest.mark.timeout(300)
def test_many_publishers_to_a_stalled_receiver(make_node):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    node = make_node(arguments=("--memory", str(LIMIT_MIB)))
    at = node.endpoints[0]
    slow = dial(at, window=65535, hold=True)
    slow.subscribed(name("org/ns/slow", 1))
    asker, answerer = dial(at), dial(at)
    answerer.subscribed(name("org/ns/other", 1))
    before = node.resident_mib()
    publishers, sent = [], {}
    for number in range(PUBLISHERS):
        link = dial(at)
        publishers.append(link)
        blob = number.to_bytes(4, "big") + bytes(SIZE)
        sent[number] = link.fill(grpc(encode(link.publication(name("org/ns/slow", 1), blob))))
    grown = node.resident_mib() - before
    total = sum(sent.values()) * SIZE / 2**20
    print(f"{PUBLISHERS} publishers, {total:.1f} MiB taken, {grown:.1f} MiB more resident")
    assert total > LIMIT_MIB / 4, "the test holds too little to say anything"
    assert grown < LIMIT_MIB + OTHER_MIB
    for number in range(50):
        asker.publish(name("org/ns/other", 1), bytes([number]))
        assert answerer.received() == bytes([number])
    # Nothing of it is lost once the receiver reads again.
    slow.release()
    got = dict.fromkeys(sent, 0)
    for _ in range(sum(sent.values())):
        got[int.from_bytes(slow.received(30)[:4], "big")] += 1
    assert got == sent
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(UPSTREAM, reason="upstream has no limit")
def test_large_messages_that_never_end(make_node):
    """A message may be larger than its window, but what all of them may still take is promised within the limit."""
    node = make_node(arguments=("--memory", "32"))
    at = node.endpoints[0]
    asker, answerer = dial(at), dial(at)
    answerer.subscribed(name("org/ns/other", 1))
    before = node.resident_mib()
    links, refused = [], 0
    for _ in range(40):
        link = dial(at)
        links.append(link)
        begun = grpc(bytes(LIMIT))[:LIMIT - 100_000]
        try:
            link.send_bytes(begun, chunk=16384)
        except Ended:
            assert link.reset == ENHANCE_YOUR_CALM
            refused += 1
    grown = node.resident_mib() - before
    print(f"{refused} of {len(links)} refused, {grown:.1f} MiB more resident")
    assert 20 < refused < 40
    assert grown < 32 + OTHER_MIB
    for number in range(20):
        asker.publish(name("org/ns/other", 1), bytes([number]) * 1000)
        assert answerer.received() == bytes([number]) * 1000
    # Those that went on waiting can come to their end, and then there is room for others.
    for link in links:
        link.connection.close()
    blob = bytes(LIMIT - 1000)
    for _ in range(3):
        late = dial(at)
        late.publish(name("org/ns/other", 1), blob)
        assert answerer.received(20) == blob
