"""Point-to-point sessions of real clients through the node."""
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import PeerError, base64_of, wait_until

KIB = 1024
SIZES = {"nothing": 0, "one byte": 1, "64 KiB": 64 * KIB, "1 MiB": 1024 * KIB, "just below 4 MiB": 4096 * KIB - 4 * KIB}


def pair(make_peer, endpoint, versions=("3.3.8", "3.3.8"), **more):
    alice = make_peer(versions[0], "alice").client(endpoint, "org/ns/alice", **more)
    bob = make_peer(versions[1], "bob").client(endpoint, "org/ns/bob", **more)
    return alice, bob


def exchange(alice, bob, mls, rounds=3):
    out = alice.open("org/ns/bob", mls=mls)
    back = bob.listen()
    for number in range(rounds):
        out.publish(f"ping {number}")
        assert back.receive()["base64"] == base64_of(f"ping {number}")
        back.publish(f"pong {number}")
        assert out.receive()["base64"] == base64_of(f"pong {number}")
    return out, back


@pytest.mark.smoke
@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_messages_and_replies(make_peer, endpoint, mls):
    alice, bob = pair(make_peer, endpoint)
    out, back = exchange(alice, bob, mls, rounds=20)
    assert back.info["source"].startswith("org/ns/bob")
    assert back.info["destination_id"] == alice.id
    out.close()
    with pytest.raises(PeerError, match="session"):
        back.receive(timeout=10)


@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
@pytest.mark.parametrize("versions", [("3.3.8", "2.2.0"), ("2.2.0", "3.3.8"), ("2.2.0", "2.2.0")], ids=lambda v: "-to-".join(v))
def test_generations(make_peer, endpoint, versions, mls):
    alice, bob = pair(make_peer, endpoint, versions)
    exchange(alice, bob, mls)


def test_metadata(make_peer, endpoint):
    alice, bob = pair(make_peer, endpoint)
    out = alice.open("org/ns/bob", metadata={"purpose": "test", "empty": "", "ключ": "значение"})
    back = bob.listen()
    assert {key: back.info["metadata"].get(key) for key in ("purpose", "empty", "ключ")} == {"purpose": "test", "empty": "", "ключ": "значение"}
    out.publish("x", payload_type="application/x-test", metadata={"a": "1", "b": "z" * 1000})
    got = back.receive()
    assert got["payload_type"] == "application/x-test"
    assert {key: got["metadata"].get(key) for key in ("a", "b")} == {"a": "1", "b": "z" * 1000}


@pytest.mark.smoke
@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_payload_sizes(make_peer, endpoint, mls):
    alice, bob = pair(make_peer, endpoint)
    # Large messages take a while on a loaded machine; no retransmission shall add to that.
    out = alice.open("org/ns/bob", mls=mls, interval=10.0)
    back = bob.listen()
    for label, size in SIZES.items():
        if mls and size > 3 * 1024 * KIB:
            # MLS pads large messages to steps of an eighth of their size: the next step would pass 4 MiB.
            size = 3584 * KIB - 4 * KIB
        out.call("publish", size=size, seed=size)
        got = back.receive()
        assert got["size"] == size, label
        assert got["sha256"] == out.peer.call("digest", size=size, seed=size), label


def jwt_pair():
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_jwt_identities(make_peer, endpoint, mls):
    private, public = jwt_pair()

    def claims(subject, private=private):
        return {"private": private, "public": public, "issuer": "tests", "audience": "tests", "subject": subject}

    alice = make_peer(label="alice").client(endpoint, "org/ns/alice", jwt=claims("alice"))
    bob = make_peer(label="bob").client(endpoint, "org/ns/bob", jwt=claims("bob"))
    exchange(alice, bob, mls)
    # The hub carries the token of a stranger as well; it is Bob who does not believe it.
    mallory = make_peer(label="mallory").client(endpoint, "org/ns/mallory", jwt=claims("mallory", jwt_pair()[0]))
    with pytest.raises(PeerError, match="message send retries exhausted"):
        mallory.open("org/ns/bob", mls=mls, retries=1, interval=0.3)


def test_session_sticks_to_one_of_five(make_peer, endpoint):
    alice = make_peer(label="alice").client(endpoint, "org/ns/alice")
    workers = make_peer(label="workers")
    apps = [workers.client(endpoint, "org/ns/worker") for _ in range(5)]
    assert len({app.id for app in apps}) == 5
    listening = {index: app.peer.begin("listen", app=app.handle, timeout=60) for index, app in enumerate(apps)}
    taken = []
    for number in range(10):
        out = alice.open("org/ns/worker")
        arrived = wait_until(lambda: [index for index in listening if listening[index].done()], 10, "a session arrived")
        assert len(arrived) == 1
        index = arrived[0]
        session = listening[index].result()["session"]
        listening[index] = workers.begin("listen", app=apps[index].handle, timeout=60)
        for message in range(5):
            out.publish(f"{number}/{message}")
        for message in range(5):
            got = workers.call("receive", session=session, timeout=10)
            assert got["base64"] == base64_of(f"{number}/{message}")
        taken.append(index)
    # The hub takes the receivers of a name in turn.
    assert sorted(taken) == sorted(list(range(5)) * 2)


def test_nobody_there(make_peer, endpoint):
    alice = make_peer(label="alice").client(endpoint, "org/ns/alice")
    with pytest.raises(PeerError, match="message send retries exhausted"):
        alice.open("org/ns/nobody", retries=2, interval=0.3, within=20)
    # The link is none the worse for it.
    bob = make_peer(label="bob").client(endpoint, "org/ns/bob")
    exchange(alice, bob, False)
