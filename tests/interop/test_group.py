"""Groups: a moderator invites, everyone hears everyone, one is removed and hears no more."""
import pytest

from harness import PeerError, base64_of

NAMES = ["alice", "bob", "carol", "dave"]


@pytest.mark.smoke
@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_five_members_and_a_removal(make_peer, endpoint, mls):
    moderator = make_peer(label="moderator").client(endpoint, "org/ns/moderator")
    # Half of the members are of the older generation.
    members = {name: make_peer("2.2.0" if number % 2 else "3.3.8", name).client(endpoint, f"org/ns/{name}")
               for number, name in enumerate(NAMES)}
    room = moderator.open("org/ns/room", group=True, mls=mls, interval=2.0)
    sessions = {"moderator": room}
    for name, app in members.items():
        room.invite(app.name)
        sessions[name] = app.listen()

    def all_hear(speaker, text):
        sessions[speaker].publish(text)
        for name, session in sessions.items():
            if name != speaker:
                got = session.receive()
                assert got["base64"] == base64_of(text), f"{name} hears {speaker}"
                assert got["source"].startswith(f"org/ns/{speaker}")

    for speaker in list(sessions):
        all_hear(speaker, f"{speaker} speaks")
    assert len(room.call("participants")) == 5

    gone = sessions.pop("carol")
    room.remove("org/ns/carol")
    with pytest.raises(PeerError, match="session"):
        gone.receive(timeout=20)
    for speaker in list(sessions):
        all_hear(speaker, f"{speaker} speaks without carol")
    assert len(room.call("participants")) == 4

    room.close()
    for name in ("alice", "bob", "dave"):
        with pytest.raises(PeerError, match="session"):
            sessions[name].receive(timeout=20)


def test_two_groups_do_not_mix(make_peer, endpoint):
    """The same members in two channels, and a third application that is in none."""
    alice = make_peer(label="alice").client(endpoint, "org/ns/alice")
    bob = make_peer(label="bob").client(endpoint, "org/ns/bob")
    make_peer(label="carol").client(endpoint, "org/ns/carol")
    rooms = {}
    for channel in ("red", "blue"):
        room = alice.open(f"org/ns/{channel}", group=True)
        room.invite("org/ns/bob")
        rooms[channel] = (room, bob.listen())
    for number in range(20):
        for channel, (room, _) in rooms.items():
            room.publish(f"{channel} {number}")
    for channel, (_, inside) in rooms.items():
        assert [inside.receive()["base64"] for _ in range(20)] == [base64_of(f"{channel} {number}") for number in range(20)]
        with pytest.raises(PeerError, match="timeout"):
            inside.receive(timeout=0.5)
