"""One process of real clients, under whichever wheel its interpreter has (the API of 2.2.0 and 3.3.8 is the same).

It reads one JSON object per line, {"id": n, "op": name, ...}, runs each in a thread of its own and answers {"id": n, "ok": value} or
{"id": n, "error": text}. Objects stay here and are named by small numbers. Every client is a service of its own and so has a
connection of its own: one service cannot connect twice to one endpoint.
"""
import base64
import datetime
import hashlib
import itertools
import json
import os
import sys
import threading
import time
import traceback

import slim_bindings as slim

SECRET = "the interop tests use this shared secret"
handles = itertools.count(1)
table = {}


def keep(thing):
    number = next(handles)
    table[number] = thing
    return number


def seconds(value):
    return None if value is None else datetime.timedelta(seconds=value)


def name(text):
    return slim.Name.from_string(text)


def pattern(size, seed):
    """The same bytes for the same seed in every process; the first eight are the seed."""
    block = hashlib.sha512(str(seed).encode()).digest()
    return (seed.to_bytes(8, "big") + block * (size // len(block) + 1))[:size]


def payload_of(command):
    if "text" in command:
        return command["text"].encode()
    return pattern(command["size"], command.get("seed", 0))


def jwt_key(kind, pem):
    config = slim.JwtKeyConfig(algorithm=slim.JwtAlgorithm.ES256, format=slim.JwtKeyFormat.PEM, key=slim.JwtKeyData.DATA(value=pem))
    return getattr(slim.JwtKeyType, kind)(key=config)


def identity(command):
    jwt = command.get("jwt")
    if jwt is None:
        shared = {"id": command["name"], "data": command.get("secret", SECRET)}
        return slim.IdentityProviderConfig.SHARED_SECRET(**shared), slim.IdentityVerifierConfig.SHARED_SECRET(**shared)
    claims = {"audience": [jwt["audience"]], "issuer": jwt["issuer"], "duration": datetime.timedelta(hours=1)}
    provider = slim.ClientJwtAuth(key=jwt_key("ENCODING", jwt["private"]), subject=jwt["subject"], **claims)
    verifier = slim.JwtAuth(key=jwt_key("DECODING", jwt["public"]), subject=None, **claims)
    return slim.IdentityProviderConfig.JWT(config=provider), slim.IdentityVerifierConfig.JWT(config=verifier)


def client_config(command):
    config = slim.new_insecure_client_config(command["endpoint"])
    tls = command.get("tls")
    if tls is not None:
        source = slim.TlsSource.FILE(cert=tls["cert"], key=tls["key"]) if "cert" in tls else slim.TlsSource.NONE()
        authority = slim.CaSource.FILE(path=tls["ca"]) if "ca" in tls else slim.CaSource.NONE()
        config.tls = slim.TlsClientConfig(insecure=False, insecure_skip_verify=tls.get("skip_verify", False), source=source,
                                          ca_source=authority, include_system_ca_certs_pool=False,
                                          tls_version=tls.get("version", "tls1.3"))
        config.server_name = tls.get("server_name")
    if "attempts" in command:
        backoff = slim.FixedIntervalBackoff(interval=datetime.timedelta(milliseconds=100), max_attempts=command["attempts"])
        config.backoff = slim.BackoffConfig.FIXED_INTERVAL(config=backoff)
    return config


def describe(message):
    payload, context = message.payload, message.context
    answer = {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest(), "source": str(context.source_name),
              "source_id": context.source_name.id(), "metadata": dict(context.metadata), "payload_type": context.payload_type}
    if len(payload) <= 256:
        answer["base64"] = base64.b64encode(payload).decode()
    return answer


def op_version(command):
    return slim.get_version()


def op_digest(command):
    return hashlib.sha256(payload_of(command)).hexdigest()


def op_connect(command):
    """A service and its connection; `app` puts applications on it."""
    service = slim.create_service(command["service"])
    connection = service.connect(client_config(command))
    return keep((service, connection))


def op_app(command):
    service, connection = table[command["client"]]
    app = service.create_app(name(command["name"]), *identity(command))
    if command.get("subscribe", True):
        app.subscribe(app.name(), connection)
    if "gateway" in command:
        app.set_route(name(command["gateway"]), connection)
    return {"app": keep((app, connection)), "id": app.id()}


def op_subscribe(command):
    app, connection = table[command["app"]]
    app.subscribe(name(command["name"]), connection)


def op_unsubscribe(command):
    app, connection = table[command["app"]]
    app.unsubscribe(name(command["name"]), connection)


def op_route(command):
    app, connection = table[command["app"]]
    app.set_route(name(command["name"]), connection)


def op_disconnect(command):
    service, connection = table.pop(command["client"])
    service.disconnect(connection)


def op_open(command):
    app, connection = table[command["app"]]
    mls = slim.MlsSettings(header_integrity_validation_percent=100, max_seen_control_message_ids_size=None) if command.get("mls") else None
    config = slim.SessionConfig(session_type=slim.SessionType.GROUP if command.get("group") else slim.SessionType.POINT_TO_POINT,
                                max_retries=command.get("retries", 10), interval=seconds(command.get("interval", 1.0)),
                                metadata=command.get("metadata", {}), mls_settings=mls)
    destination = name(command["destination"])
    # Without a default gateway (2.2.0 has none) a publish needs a route.
    app.set_route(destination, connection)
    return describe_session(app.create_session_and_wait(config, destination))


def describe_session(session):
    return {"session": keep(session), "id": session.session_id(), "source": str(session.source()), "destination": str(session.destination()),
            "destination_id": session.destination().id(), "metadata": dict(session.metadata()), "initiator": session.is_initiator()}


def op_listen(command):
    app, _ = table[command["app"]]
    return describe_session(app.listen_for_session(seconds(command.get("timeout", 20.0))))


def op_publish(command):
    session = table[command["session"]]
    args = (payload_of(command), command.get("payload_type"), command.get("metadata"))
    if command.get("wait", True):
        session.publish_and_wait(*args)
    else:
        session.publish(*args)


def op_receive(command):
    return describe(table[command["session"]].get_message(seconds(command.get("timeout", 20.0))))


def op_publish_many(command):
    """`count` numbered messages, all acknowledged before the answer."""
    session = table[command["session"]]
    first = command.get("first", 0)
    pending = [session.publish(pattern(command["size"], number), None, None) for number in range(first, first + command["count"])]
    for handle in pending:
        handle.wait_for(seconds(command.get("timeout", 60.0)))


def op_receive_many(command):
    """The numbers of the next `count` messages, each checked whole."""
    session = table[command["session"]]
    numbers = []
    for _ in range(command["count"]):
        payload = session.get_message(seconds(command.get("timeout", 60.0))).payload
        number = int.from_bytes(payload[:8], "big")
        if payload != pattern(len(payload), number):
            raise ValueError(f"message {number} is damaged")
        numbers.append(number)
    return numbers


def op_echo(command):
    """From now on every session of the application answers each message with the same bytes."""
    app, _ = table[command["app"]]

    def serve(session):
        while True:
            try:
                message = session.get_message(None)
                session.publish(message.payload, message.context.payload_type, None)
            except slim.SlimError as error:
                print(f"echo: {error!r}", file=sys.stderr, flush=True)
                # While the node is away a publish fails; a closed session is over.
                if "closed" in str(error) or "dropped" in str(error):
                    return
                time.sleep(0.05)

    def accept():
        while True:
            try:
                session = app.listen_for_session(None)
            except Exception as error:
                print(f"echo ended: {error!r}", file=sys.stderr, flush=True)
                return
            keep(session)
            threading.Thread(target=serve, args=(session,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def op_ping(command):
    """A message there and back on a session whose other end echoes; how many had to be sent.

    A message whose first sending failed because the node was away is not sent again by the library until a later one makes its
    gap visible: hence a new one every second.
    """
    session = table[command["session"]]
    deadline = time.monotonic() + command.get("timeout", 20.0)
    sent = 0
    error = None
    while time.monotonic() < deadline:
        sent += 1
        try:
            session.publish(f"{command['text']} {sent}".encode(), None, None)
            again = time.monotonic() + 1.0
            while (left := again - time.monotonic()) > 0:
                if session.get_message(seconds(left)).payload.startswith(command["text"].encode() + b" "):
                    return sent
        except slim.SlimError as failure:
            error = failure
            if "timeout" not in str(failure):
                time.sleep(0.2)
    raise TimeoutError(f"no echo; last error: {error!r}")


def op_invite(command):
    app, connection = table[command["app"]]
    app.set_route(name(command["name"]), connection)
    table[command["session"]].invite_and_wait(name(command["name"]))


def op_remove(command):
    table[command["session"]].remove_and_wait(name(command["name"]))


def op_participants(command):
    return sorted(str(p.name) for p in table[command["session"]].participants_list())


def op_close(command):
    app, _ = table[command["app"]]
    app.delete_session_and_wait(table.pop(command["session"]))


def main():
    # The library writes its log to standard output: keep that for the answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()
    slim.initialize_with_configs(slim.new_runtime_config(),
                                 slim.new_tracing_config_with(os.environ.get("SLIM_PEER_LOG", "info"), False, False, []),
                                 [slim.new_service_config()])

    def answer(number, **result):
        with lock:
            answers.write(json.dumps({"id": number, **result}) + "\n")
            answers.flush()

    def run(command):
        try:
            answer(command["id"], ok=globals()["op_" + command["op"]](command))
        except BaseException as error:
            traceback.print_exc()
            answer(command["id"], error=f"{type(error).__name__}: {error}")

    for line in sys.stdin:
        command = json.loads(line)
        threading.Thread(target=run, args=(command,), daemon=True).start()
    # No orderly end: the library may abort in its own, and a client that just goes away is what a node must bear.
    sys.stderr.flush()
    os._exit(0)


main()
