"""Two hundred clients with a connection each, all at once."""
import concurrent.futures

import pytest

PROCESSES = 8
CLIENTS = 200


@pytest.mark.timeout(180)
def test_two_hundred_clients(make_peer, endpoint):
    peers = [make_peer(label=f"peer{number}") for number in range(PROCESSES)]
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        def make(number):
            app = peers[number % PROCESSES].client(endpoint, f"org/many/client{number}")
            app.echo()
            return app

        apps = list(pool.map(make, range(CLIENTS)))
        assert len({app.id for app in apps}) == CLIENTS

        def talk(number):
            # The other one is in another process.
            session = apps[number].open(apps[(number + 1) % CLIENTS].name, interval=5.0, within=100)
            for message in range(5):
                session.ping(f"{number}/{message}", timeout=60)
            return session

        sessions = list(pool.map(talk, range(CLIENTS)))
        assert len(sessions) == CLIENTS
        # And all again at one moment, on sessions that exist.
        for future in [session.begin("ping", text="again", timeout=60) for session in sessions]:
            future.result(100)
