"""A client of the wire itself: protobuf codec, link key and header MAC, one gRPC stream over HTTP/2. Nothing here is upstream's.

Messages are dictionaries after SCHEMA. A key that is there is encoded, with an empty value too: presence matters for the MAC.
"""
import collections
import os
import socket
import time
import uuid

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import xxhash
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PATH = "/dataplane.proto.v1.DataPlaneService/OpenChannel"
NULL_HALF = 2**64 - 1
REMOTE, PEER, EDGE = 0, 1, 2
LIMIT = 4 * 1024 * 1024

# field number: (key, type); u: varint, b: bool, s: string, y: bytes, m: map of strings, else the name of a message.
SCHEMA = {
    "Message": {1: ("subscribe", "Subscribe"), 2: ("unsubscribe", "Subscribe"), 3: ("publish", "Publish"), 4: ("metadata", "m"),
                5: ("link", "Link"), 6: ("ack", "Ack")},
    "Subscribe": {1: ("header", "Header"), 2: ("subscription_id", "u")},
    "Publish": {1: ("header", "Header"), 2: ("session", "Session"), 3: ("msg", "Content")},
    "Link": {1: ("negotiation", "Negotiation")},
    "Ack": {1: ("subscription_id", "u"), 2: ("success", "b"), 3: ("error", "s")},
    "Header": {1: ("source", "Name"), 2: ("destination", "Name"), 3: ("identity", "s"), 4: ("fanout", "u"), 5: ("version", "s"),
               6: ("ttl", "u"), 7: ("recv_from", "u"), 8: ("forward_to", "u"), 9: ("incoming_conn", "u"), 10: ("error", "b"),
               11: ("mac", "y"), 12: ("signature", "y")},
    "Name": {1: ("name", "Encoded"), 2: ("text", "Text")},
    "Encoded": {1: ("c0", "u"), 2: ("c1", "u"), 3: ("c2", "u"), 4: ("id", "Id")},
    "Id": {1: ("high", "u"), 2: ("low", "u")},
    "Text": {1: ("t0", "s"), 2: ("t1", "s"), 3: ("t2", "s")},
    "Session": {1: ("type", "u"), 2: ("kind", "u"), 3: ("session_id", "u"), 4: ("message_id", "u")},
    "Content": {1: ("app", "App"), 2: ("command", "y")},
    "App": {1: ("payload_type", "s"), 2: ("blob", "y")},
    "Negotiation": {1: ("link_id", "s"), 2: ("version", "s"), 3: ("is_reply", "b"), 4: ("key", "y"), 5: ("type", "u"), 6: ("node_id", "s"),
                    7: ("deployment", "s"), 8: ("kem", "y")},
}
NUMBER = {schema: {key: (number, kind) for number, (key, kind) in fields.items()} for schema, fields in SCHEMA.items()}


class Ended(Exception):
    """The stream ended; str() names how."""


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tagged(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def encode(message, schema="Message"):
    """`raw` holds bytes that are appended as they are."""
    out = bytearray()
    for key, value in message.items():
        if key == "raw":
            continue
        number, kind = NUMBER[schema][key]
        if kind in "ub":
            out += varint(number << 3) + varint(int(value))
        elif kind == "s":
            out += tagged(number, value.encode())
        elif kind == "y":
            out += tagged(number, value)
        elif kind == "m":
            for name, item in value.items():
                out += tagged(number, tagged(1, name.encode()) + tagged(2, item.encode()))
        else:
            out += tagged(number, encode(value, kind))
    return bytes(out) + message.get("raw", b"")


def take_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """(number, wire type, value) one after the other."""
    at = 0
    while at < len(data):
        key, at = take_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = take_varint(data, at)
        else:
            assert kind in (1, 2, 5), f"wire type {kind}"
            size, at = take_varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            assert at + size <= len(data), "truncated"
            value, at = data[at:at + size], at + size
        yield key >> 3, kind, value


def decode(data, schema="Message"):
    """Unknown fields are listed under `unknown`."""
    out = {}
    for number, wire, value in fields(data):
        if number not in SCHEMA[schema]:
            out.setdefault("unknown", []).append((number, wire, value))
            continue
        key, kind = SCHEMA[schema][number]
        if kind == "u":
            out[key] = value
        elif kind == "b":
            out[key] = bool(value)
        elif kind == "s":
            out[key] = value.decode()
        elif kind == "y":
            out[key] = value
        elif kind == "m":
            entry = {n: v.decode() for n, _, v in fields(value)}
            out.setdefault(key, {})[entry.get(1, "")] = entry.get(2, "")
        else:
            assert key not in out, f"{key} twice"
            out[key] = decode(value, kind)
    return out


def component(text):
    return xxhash.xxh64_intdigest(text.encode() + b"\xff")


def name(text, number=None, strings=True):
    """org/ns/app with an id of 128 bits; number None leaves the id out, "null" writes the wildcard."""
    parts = text.split("/")
    encoded = {f"c{index}": component(part) for index, part in enumerate(parts)}
    if number == "null":
        encoded["id"] = {"high": NULL_HALF, "low": NULL_HALF}
    elif number is not None:
        # Zero is not written, as by upstream; the message itself is there all the same.
        encoded["id"] = {key: half for key, half in (("high", number >> 64), ("low", number & NULL_HALF)) if half}
    result = {"name": encoded}
    if strings:
        result["text"] = {f"t{index}": part for index, part in enumerate(parts)}
    return result


def u32(value):
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def u64(value):
    return value.to_bytes(8, "little")


def counted(data):
    return u32(len(data)) + data


def preimage_name(value):
    if value is None:
        return b"\0"
    out = b"\1"
    encoded = value.get("name")
    if encoded is None:
        out += b"\0"
    else:
        out += b"\1" + b"".join(u64(encoded.get(key, 0)) for key in ("c0", "c1", "c2"))
        number = encoded.get("id")
        out += b"\0" if number is None else b"\1" + u64(number.get("high", 0)) + u64(number.get("low", 0))
    text = value.get("text")
    return out + (b"\0" if text is None else b"\1" + b"".join(counted(text.get(key, "").encode()) for key in ("t0", "t1", "t2")))


def preimage(link_id, header):
    out = b"SLIM-DP-HDR-v1\0" + counted(link_id.encode())
    out += preimage_name(header.get("source")) + preimage_name(header.get("destination"))
    out += counted(header.get("identity", "").encode()) + u32(header.get("fanout", 0))
    for key in ("recv_from", "forward_to"):
        out += b"\1" + u64(header[key]) if key in header else b"\0"
    out += b"\1" + bytes([header["error"]]) if "error" in header else b"\0"
    return out + u32(header.get("ttl", 0))


def tag(key, link_id, header):
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(preimage(link_id, header))
    return mac.finalize()


def link_key(link_id, shared):
    return HKDF(hashes.SHA256(), 32, link_id.encode(), b"SLIM-DP-inter-node-hmac-v1").derive(shared)


def grpc(message, flag=0):
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


class Connection:
    """One HTTP/2 connection. Every wait has a limit; the socket is read only while somebody waits."""

    def __init__(self, endpoint, window=16 << 20):
        if endpoint.startswith("unix://"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(endpoint[len("unix://"):])
        else:
            host, port = endpoint.removeprefix("http://").rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), 10)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.authority = endpoint.removeprefix("http://")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        codes = h2.settings.SettingCodes
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={
            codes.ENABLE_PUSH: 0, codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: 16384, codes.MAX_HEADER_LIST_SIZE: 16384})
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(window)
        self.streams = {}
        self.settings = {}
        self.closed = None
        self.pongs = 0
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        while data:
            self.socket.settimeout(10)
            sent = self.socket.send(data)
            data = data[sent:]

    def pump(self, seconds):
        """Reads once; False when nothing came."""
        if self.closed:
            return False
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(262144)
        except TimeoutError:
            return False
        except OSError as error:
            data, self.closed = b"", f"connection: {error}"
        if not data:
            self.closed = self.closed or "connection closed"
            return False
        for event in self.h2.receive_data(data):
            stream = self.streams.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ConnectionTerminated):
                self.closed = f"GOAWAY {event.error_code}"
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                self.settings |= {int(code): change.new_value for code, change in event.changed_settings.items()}
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif stream:
                stream.take(event)
        if not self.closed:
            self.flush()
        return True

    def until(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{what}: not within {seconds} s")
            if self.closed:
                raise Ended(self.closed)
            self.pump(min(left, 0.2))

    def open(self, path=PATH, headers=None, **more):
        return Link(self, path, headers, **more)

    def close(self):
        self.socket.close()


class Link:
    """One gRPC stream, and what a negotiated link knows: id, key."""

    def __init__(self, connection, path=PATH, headers=None, hold=False):
        self.connection = connection
        self.id = connection.h2.get_next_available_stream_id()
        self.headers = self.trailers = None
        self.ended = False
        self.reset = None
        self.buffer = bytearray()
        self.messages = collections.deque()
        self.hold, self.held = hold, 0
        self.link_id = self.key = None
        connection.streams[self.id] = self
        request = [(":method", "POST"), (":scheme", "http"), (":authority", connection.authority), (":path", path), ("te", "trailers"),
                   ("content-type", "application/grpc"), ("user-agent", "wire-test/1")]
        connection.h2.send_headers(self.id, request if headers is None else [*request, *headers])
        connection.flush()

    # What comes in.

    def take(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.headers = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            if self.hold:
                self.held += event.flow_controlled_length
            elif event.flow_controlled_length:
                self.connection.h2.acknowledge_received_data(event.flow_controlled_length, self.id)
            self.buffer += event.data
            while len(self.buffer) >= 5 and len(self.buffer) >= 5 + (size := int.from_bytes(self.buffer[1:5], "big")):
                assert self.buffer[0] == 0, "compressed"
                self.messages.append(bytes(self.buffer[5:5 + size]))
                del self.buffer[:5 + size]
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code)
            self.ended = True

    def release(self):
        """Gives back the window that was withheld."""
        self.hold = False
        if self.held:
            self.connection.h2.acknowledge_received_data(self.held, self.id)
            self.held = 0
            self.connection.flush()

    def wait_headers(self, seconds=5):
        self.connection.until(lambda: self.headers is not None or self.ended, seconds, "response headers")
        return self.headers

    def receive_bytes(self, seconds=5):
        self.connection.until(lambda: self.messages or self.ended, seconds, "a message")
        if not self.messages:
            raise Ended(f"stream ended: {self.trailers or self.headers}, reset {self.reset}")
        self.last = self.messages.popleft()
        return self.last

    def receive(self, seconds=5):
        return decode(self.receive_bytes(seconds))

    def wait_end(self, seconds=5):
        """The trailers (or the headers that were also the end)."""
        self.connection.until(lambda: self.ended, seconds, "the end of the stream")
        return self.trailers or self.headers

    # What goes out.

    def send_bytes(self, data, seconds=20, chunk=None, end=False):
        """Raw bytes of the stream, within the peer's windows; chunk: at most so many bytes per DATA frame."""
        machine = self.connection.h2
        deadline = time.monotonic() + seconds
        while data:
            room = min(machine.local_flow_control_window(self.id), machine.max_outbound_frame_size, chunk or len(data))
            if room <= 0:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no window for {len(data)} bytes within {seconds} s")
                self.connection.pump(0.05)
                if self.ended or self.connection.closed:
                    raise Ended("while sending")
                continue
            machine.send_data(self.id, data[:room])
            data = data[room:]
            self.connection.flush()
        if end:
            machine.end_stream(self.id)
            self.connection.flush()

    def fill(self, message):
        """Sends whole messages until the node takes no more; how many."""
        machine, sent = self.connection.h2, 0
        while True:
            if machine.local_flow_control_window(self.id) < len(message):
                if not self.connection.pump(0.02):
                    return sent
                continue
            self.send_bytes(message)
            sent += 1

    def send_message(self, message, **more):
        self.send_bytes(grpc(message if isinstance(message, bytes) else encode(message)), **more)

    def sign(self, message, mac="good"):
        """mac: "good", None (no tag) or the bytes to put there."""
        for part in message.values():
            if isinstance(part, dict) and "header" in part:
                header = part["header"]
                header.pop("mac", None)
                if mac == "good" and self.key:
                    header["mac"] = tag(self.key, self.link_id, header)
                elif isinstance(mac, bytes):
                    header["mac"] = mac
        return message

    def negotiation(self, key="good", **more):
        """The request message. key: "good", None or bytes."""
        self.secret = X25519PrivateKey.generate()
        self.link_id = more.pop("link_id", str(uuid.uuid4()))
        request = {"link_id": self.link_id, "version": "3.4.6"}
        if key is not None:
            public = self.secret.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            request["key"] = public if key == "good" else key
        request |= {"type": EDGE, "node_id": f"node-{uuid.uuid4()}", **more}
        return {"link": {"negotiation": {name: value for name, value in request.items() if value is not None}}}

    def install(self, reply):
        if reply.get("key"):
            self.key = link_key(self.link_id, self.secret.exchange(X25519PublicKey.from_public_bytes(reply["key"])))
        return reply

    def negotiate(self, **more):
        """The node's reply; the key is installed."""
        self.wait_headers()
        self.send_message(self.negotiation(**more))
        answer = self.receive()
        assert set(answer) == {"link"}, answer
        return self.install(answer["link"]["negotiation"])

    def subscribe(self, who, number, verb="subscribe", mac="good", header=None):
        """Without waiting for the ack; see `acked`."""
        fill = {"source": who, "destination": who, "identity": "token", "fanout": 1, "ttl": 8, **(header or {})}
        message = {verb: {"header": fill}}
        if number:
            message[verb]["subscription_id"] = number
        self.send_message(self.sign(message, mac))

    def acked(self, number, seconds=5):
        """None, or the error text of the ack."""
        ack = self.receive(seconds)["ack"]
        assert ack["subscription_id"] == number, ack
        if ack.get("success"):
            assert "error" not in ack
            return None
        return ack["error"]

    def subscribed(self, who, number=None, verb="subscribe", **more):
        number = number or int.from_bytes(os.urandom(8), "big") | 1
        self.subscribe(who, number, verb, **more)
        error = self.acked(number)
        assert error is None, error
        return number

    def publication(self, destination, blob=b"", fanout=1, ttl=8, source=None, mac="good", header=None, **more):
        fill = {"source": source or name("raw/raw/source", 7), "destination": destination, "identity": "token", "fanout": fanout,
                "version": "3.4.6", "ttl": ttl, **(header or {})}
        fill = {key: value for key, value in fill.items() if value is not None}
        publish = {"header": fill, "session": {"type": 1, "kind": 1, "session_id": 5, "message_id": 1},
                   "msg": {"app": {"payload_type": "msg", "blob": blob}}}
        return self.sign({"publish": publish, **more}, mac)

    def publish(self, destination, blob=b"", **more):
        self.send_message(self.publication(destination, blob, **more))

    def received(self, seconds=5):
        """The blob of the next publish, whose tag must be right."""
        message = self.receive(seconds)
        self.check(message)
        return message["publish"]["msg"]["app"].get("blob", b"")

    def check(self, message):
        header = message["publish"]["header"]
        if self.key:
            assert header["mac"] == tag(self.key, self.link_id, header), "header MAC"


def dial(endpoint, window=16 << 20, hold=False, **more):
    """A negotiated link on a connection of its own."""
    link = Connection(endpoint, window).open(hold=hold)
    link.negotiate(**more)
    return link
