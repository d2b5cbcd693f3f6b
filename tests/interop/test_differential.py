"""The same random sequence of subscriptions and publishes to our node and to upstream's: acks and deliveries must be the same.

Which of several links gets a publish for one is upstream's inner order (data-plane.md 5.2), so there only kind and number are compared.
"""
import os
import random

import pytest

from harness import UPSTREAM
from wire import EDGE, REMOTE, dial, name

NAMES = ["org/ns/a", "org/ns/b", "org/other/a"]
IDS = [None, 1, 2, 2**127 + 5]
LINKS = 6
STEPS = int(os.environ.get("SLIM_DIFFERENTIAL_STEPS", "400"))


def kind_of(number):
    return REMOTE if number % 3 == 2 else EDGE


def without_zeros(value):
    """A field of value zero is the same as none; we pass on what came, upstream leaves it out."""
    if not isinstance(value, dict):
        return value
    return {key: without_zeros(part) for key, part in value.items() if isinstance(part, dict) or part}


class Side:
    """One node and its links; a link that was closed is replaced."""

    def __init__(self, at):
        self.at = at
        self.links = [None] * LINKS
        for number in range(LINKS):
            self.open(number)

    def open(self, number):
        self.links[number] = dial(self.at, type=kind_of(number))
        self.links[number].subscribed(name(f"org/probe/{number}"), 1)

    def change(self, number, verb, target, subscription):
        link = self.links[number]
        link.subscribe(target, subscription, verb)
        return link.acked(subscription, 20)

    def publish(self, number, target, blob, **more):
        """What every other link got, in order: a marker from the same link follows on each."""
        link = self.links[number]
        link.publish(target, blob, **more)
        heard = {}
        for other, receiver in enumerate(self.links):
            if other == number:
                continue
            link.publish(name(f"org/probe/{other}"), b"marker" + blob)
            got = []
            while (message := receiver.receive(20))["publish"]["msg"]["app"]["blob"] != b"marker" + blob:
                receiver.check(message)
                header = message["publish"]["header"]
                header.pop("mac", None)
                header.pop("incoming_conn", None)
                got.append(without_zeros(message))
            if got:
                heard[other] = got
        return heard

    def close(self, number):
        link = self.links[number]
        link.send_bytes(b"", end=True)
        link.wait_end(20)
        link.connection.close()



def ttl_of(step):
    """Now and then a message that must not arrive."""
    return (8, 8, 8, 1, 2, 8, 0, 8)[step % 8]


def steps(rng):
    made = []
    for number in range(STEPS):
        dice = rng.random()
        link = rng.randrange(LINKS)
        target = (rng.choice(NAMES), rng.choice(IDS))
        if dice < 0.3:
            subscription = rng.choice([rng.randrange(1, 5), 1000 + number])
            made.append((link, target, subscription))
            yield "subscribe", link, target, subscription
        elif dice < 0.5:
            if made and rng.random() < 0.7:
                link, target, subscription = made.pop(rng.randrange(len(made)))
                yield "unsubscribe", link, target, subscription
            else:
                yield "unsubscribe", link, target, rng.randrange(1, 5)
        elif dice < 0.97:
            yield "publish", link, target, rng.choice([1, 1, 0, 2, 256])
        else:
            made = [entry for entry in made if entry[0] != link]
            yield "close", link, None, None


@pytest.mark.skipif(UPSTREAM, reason="compares our node with upstream's")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("round", range(2))
def test_same_answers(make_node, round):
    seed = int(os.environ.get("SLIM_TEST_SEED", 0)) or random.SystemRandom().randrange(1, 2**32)
    print(f"SLIM_TEST_SEED={seed}")
    rng = random.Random(seed)
    ours = Side(make_node("ours").endpoints[0])
    theirs = Side(make_node("theirs", kind="upstream").endpoints[0])
    for step, (verb, link, target, value) in enumerate(steps(rng)):
        label = f"step {step}: {verb} link {link} {target} {value}"
        if verb == "publish":
            blob = step.to_bytes(4, "big")
            a, b = (side.publish(link, name(*target), blob, fanout=value, ttl=ttl_of(step)) for side in (ours, theirs))
            if value == 1:
                assert [kind_of(number) for number in a] == [kind_of(number) for number in b], label
                assert [got for got in a.values()] == [got for got in b.values()], label
            else:
                assert a == b, label
        elif verb == "close":
            for side in (ours, theirs):
                side.close(link)
                side.open(link)
        else:
            a, b = (side.change(link, verb, name(*target), value) for side in (ours, theirs))
            assert a == b, label
