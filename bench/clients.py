"""Unmodified clients (the Python package slim-bindings) on a node, and how many messages a second they get done; one line of JSON.

`clients.py request|group|stream --endpoint URL --duration SECONDS`. Sessions are reliable in all three. request: one message in flight,
which the other end sends back. group: one message in flight to a channel with three receivers, all of which acknowledge it. stream: one
way, with a bounded number of messages that are not acknowledged yet. Each client is a service of its own, and thus has a connection of
its own; a message that does not come ends the run with status 1.
"""
import argparse
import collections
import datetime
import json
import os
import statistics
import sys
import threading
import time

import slim_bindings as slim

SECRET = "the clients of the benchmark use this shared secret"
SILENCE = datetime.timedelta(seconds=15)
PAYLOAD_BYTES = 64
STREAM_AHEAD = 64
RECEIVERS = 3


def name(text):
    return slim.Name.from_string(text)


def number_of(message):
    if len(message.payload) != PAYLOAD_BYTES:
        raise ValueError(f"a message of {len(message.payload)} bytes came, {PAYLOAD_BYTES} were sent")
    return int.from_bytes(message.payload[:8], "big")


def payload(number):
    return number.to_bytes(8, "big").ljust(PAYLOAD_BYTES, b".")


class Client:
    def __init__(self, endpoint, label):
        self.name = f"bench/clients/{label}"
        service = slim.create_service(f"service-{label}")
        self.connection = service.connect(slim.new_insecure_client_config(endpoint))
        shared = {"id": self.name, "data": SECRET}
        self.app = service.create_app(name(self.name), slim.IdentityProviderConfig.SHARED_SECRET(**shared),
                                      slim.IdentityVerifierConfig.SHARED_SECRET(**shared))
        self.app.subscribe(self.app.name(), self.connection)

    def open(self, destination, group=False):
        kind = slim.SessionType.GROUP if group else slim.SessionType.POINT_TO_POINT
        config = slim.SessionConfig(session_type=kind, max_retries=10, interval=datetime.timedelta(seconds=2), metadata={}, mls_settings=None)
        self.app.set_route(name(destination), self.connection)
        return self.app.create_session_and_wait(config, name(destination))

    def invite(self, session, other):
        self.app.set_route(name(other), self.connection)
        session.invite_and_wait(name(other))

    def listen(self):
        return self.app.listen_for_session(SILENCE)


class Receiver(threading.Thread):
    """Takes numbered messages from 0 on, each once and in order, and does `each` with them."""

    def __init__(self, client, each=None):
        super().__init__(daemon=True)
        self.client, self.each, self.count, self.error = client, each, 0, None

    def run(self):
        try:
            session = self.client.listen()
            while True:
                message = session.get_message(None)
                if (number := number_of(message)) != self.count:
                    raise ValueError(f"message {number} came in place of {self.count}")
                if self.each:
                    self.each(session, message)
                self.count += 1
        except Exception as error:
            self.error = error

    def wait(self, count):
        deadline = time.monotonic() + SILENCE.total_seconds()
        while self.count < count:
            if self.error:
                raise self.error
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.client.name} got {self.count} of {count} messages")
            time.sleep(0.002)


class Clock:
    """Counts what is done after the warm-up."""

    def __init__(self, duration, warmup):
        self.began = time.monotonic()
        self.from_, self.to = self.began + warmup, self.began + warmup + duration
        self.times, self.last = [], self.began

    def runs(self):
        return time.monotonic() < self.to

    def done(self, began):
        now = time.monotonic()
        if began >= self.from_:
            self.times.append(now - began)
        self.last = now

    def report(self):
        if not self.times:
            raise TimeoutError("not one message was done in the time given; --duration has to be longer")
        # The last one may have begun inside and ended behind the window.
        seconds = max(self.last, self.to) - self.from_
        return {"seconds": round(seconds, 3), "delivered": len(self.times), "rate": round(len(self.times) / seconds, 1),
                "latency_p50_us": round(statistics.median(self.times) * 1e6, 1), "warnings": []}


def answer(session, message):
    session.publish(message.payload, None, None)


def request(endpoint, clock):
    client, server = Client(endpoint, "client"), Client(endpoint, "server")
    Receiver(server, answer).start()
    session = client.open(server.name)
    watch, number = clock(), 0
    while watch.runs():
        began = time.monotonic()
        session.publish(payload(number), None, None)
        if number_of(session.get_message(SILENCE)) != number:
            raise ValueError(f"the answer to message {number} is that to another")
        watch.done(began)
        number += 1
    return watch


def group(endpoint, clock):
    moderator = Client(endpoint, "moderator")
    session = moderator.open("bench/clients/channel", group=True)
    receivers = [Receiver(Client(endpoint, f"member-{number}")) for number in range(RECEIVERS)]
    for receiver in receivers:
        receiver.start()
        moderator.invite(session, receiver.client.name)
    watch, number = clock(), 0
    while watch.runs():
        began = time.monotonic()
        session.publish_and_wait(payload(number), None, None)
        watch.done(began)
        number += 1
    for receiver in receivers:
        receiver.wait(number)
    return watch


def stream(endpoint, clock):
    sender, receiver = Client(endpoint, "sender"), Receiver(Client(endpoint, "receiver"))
    receiver.start()
    session = sender.open(receiver.client.name)
    watch, number, ahead = clock(), 0, collections.deque()

    def settle():
        began, handle = ahead.popleft()
        handle.wait_for(SILENCE)
        watch.done(began)

    while watch.runs():
        ahead.append((time.monotonic(), session.publish(payload(number), None, None)))
        number += 1
        if len(ahead) == STREAM_AHEAD:
            settle()
    while ahead:
        settle()
    receiver.wait(number)
    return watch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["request", "group", "stream"])
    parser.add_argument("--endpoint", required=True, metavar="URL")
    parser.add_argument("--duration", type=float, default=2)
    parser.add_argument("--warmup", type=float, default=0.5)
    options = parser.parse_args()
    # The library writes its log to standard output, which is for the report alone.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    slim.initialize_with_configs(slim.new_runtime_config(), slim.new_tracing_config_with("error", False, False, []),
                                 [slim.new_service_config()])
    status = 0
    try:
        found = globals()[options.kind](options.endpoint, lambda: Clock(options.duration, options.warmup)).report()
        print(json.dumps(found), file=out, flush=True)
    except Exception as error:
        print(f"clients: {options.kind} at {options.endpoint}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        status = 1
    # No orderly end: the library may abort in its own.
    os._exit(status)


main()
