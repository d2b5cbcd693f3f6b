"""Three nodes in a chain, linked by client entries of type peer and without a `peers` block; one of them is upstream's."""
import itertools

import pytest

from harness import free_port, server, wait_until
from wire import dial, name

ORDERS = [("upstream", None, None), (None, "upstream", None), (None, None, "upstream")]


def chain(make_node, kinds, dials_right):
    """Nodes n0 - n1 - n2; each dials its right neighbour, or each its left one. What is dialled starts first."""
    endpoints = [f"127.0.0.1:{free_port()}" for _ in kinds]
    order = range(len(kinds) - 1, -1, -1) if dials_right else range(len(kinds))
    for index in order:
        other = index + (1 if dials_right else -1)
        clients = []
        if 0 <= other < len(kinds):
            clients = [{"endpoint": f"http://{endpoints[other]}", "tls": {"insecure": True}, "connection_type": "peer"}]
        make_node(f"n{index}-{kinds[index] or 'hub'}", servers=[server(endpoints[index])], clients=clients, kind=kinds[index])
    return ["http://" + endpoint for endpoint in endpoints]


def open_across(caller, destination):
    """The subscription of the other end may still be on its way through the chain: the handshake is repeated until it is there."""
    return caller.open(destination, retries=40, interval=0.25)


@pytest.mark.parametrize("dials_right", [True, False], ids=["dials-right", "dials-left"])
@pytest.mark.parametrize("kinds", ORDERS, ids=["upstream-hub-hub", "hub-upstream-hub", "hub-hub-upstream"])
def test_message_across(make_node, make_peer, kinds, dials_right):
    endpoints = chain(make_node, kinds, dials_right)
    peer = make_peer()
    apps = [peer.client(endpoint, f"org/ns/app{index}") for index, endpoint in enumerate(endpoints)]
    for app in apps:
        app.echo()
    for caller, callee in itertools.permutations(apps, 2):
        open_across(caller, callee.name).ping(f"{caller.name} to {callee.name}")


def test_subscriptions_from_before_the_link(make_node, make_peer):
    """What a node knows before a peer joins is told to it, and what leaves is forgotten everywhere."""
    first, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    make_node("first", servers=[server(first)])
    early_peer = make_peer(label="early")
    early = early_peer.client(f"http://{first}", "org/ns/early")
    early.echo()
    make_node("second", servers=[server(second)], kind="upstream",
              clients=[{"endpoint": f"http://{first}", "tls": {"insecure": True}, "connection_type": "peer"}])
    late = make_peer(label="late").client(f"http://{second}", "org/ns/late")
    open_across(late, early.name).ping("hello")
    # Gone on one node, gone on the other: a new instance behind the first node is found, not the dead one.
    early_peer.kill()
    again = make_peer(label="again").client(f"http://{first}", "org/ns/early")
    again.echo()
    open_across(late, again.name).ping("hello again")


def test_group_across(make_node, make_peer):
    """One member at each node of a chain."""
    endpoints = chain(make_node, (None, "upstream", None), True)
    peer = make_peer()
    apps = [peer.client(endpoint, f"org/ns/member{index}") for index, endpoint in enumerate(endpoints)]
    room = apps[0].open("org/ns/room", group=True, mls=True, retries=40, interval=0.5)
    members = []
    for app in apps[1:]:
        room.invite(app.name)
        members.append(app.listen())
    everyone = [room, *members]

    def heard_by_all(text):
        everyone[1].publish(text)
        return all(session.receive()["size"] == len(text) for session in (room, members[1]))

    # The channel's own subscriptions travel through the chain too; messages before that are repeated by the session.
    assert wait_until(lambda: heard_by_all("from the middle"), 30, "the group is connected")
    room.publish("from the first")
    assert [session.receive()["size"] for session in members] == [14, 14]


def test_edge_link_keeps_its_routes(make_node):
    """What leads over a link that the node dialled, and what was forwarded over it, is there again when the link comes back."""
    far_node = make_node("far")
    near_node = make_node("near", clients=[{"endpoint": f"http://{far_node.endpoints[0]}", "tls": {"insecure": True}}])
    # The index of the dialled link: it stands before the first client comes.
    wait_until(lambda: "client connected" in near_node.process.log.read_text(), 20, "the near node is connected")
    near = dial(near_node.endpoints[0])
    near.subscribe(name("org/forwarded/name", 1), 77, header={"forward_to": 0})
    assert near.acked(77, 20) is None
    near.subscribe(name("org/routed/name", 1), 78, header={"recv_from": 0})
    assert near.acked(78, 20) is None

    def heard_across():
        far.publish(name("org/forwarded/name", 1), b"to the near one")
        near.connection.pump(0.5)
        return bool(near.messages)

    for _ in range(2):
        far = dial(far_node.endpoints[0])
        far.subscribed(name("org/routed/name", 1))
        wait_until(heard_across, 20, "the forwarded subscription is known to the far node")
        assert near.received() == b"to the near one"
        while near.messages:
            near.received()
        near.publish(name("org/routed/name", 1), b"to the far one")
        assert far.received() == b"to the far one"
        far_node.stop()
        far_node.start()
