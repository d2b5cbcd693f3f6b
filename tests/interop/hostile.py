"""What the tests of hostile peers share: frames made by hand, sockets that send them fast, and the watch over the node meanwhile."""
import contextlib
import pathlib
import re
import socket
import struct
import threading
import time

from harness import wait_until
from wire import PATH, Ended, dial, name

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 1, 2, 3, 6, 9, 11
# What the node's caches, log lines and freed memory that it keeps may add; a flood that is stored would be many times that.
FLAT_MIB = 24
# A sanitizer holds freed memory back on purpose.
SANITIZED_MIB = 320


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """length: what is announced instead of the truth."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(key, value):
    """A header field that enters no table, without Huffman coding; both parts may be long."""
    return b"\x00" + text(key) + text(value)


def text(data):
    if len(data) < 127:
        return bytes([len(data)]) + data
    out, rest = bytearray([127]), len(data) - 127
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    return bytes(out) + bytes([rest]) + data


REQUEST = b"\x83\x86" + literal(b":authority", b"a") + literal(b":path", PATH.encode()) + literal(b"te", b"trailers") + literal(
    b"content-type", b"application/grpc")


def request(stream, flags=END_HEADERS, block=REQUEST):
    return frame(HEADERS, flags, stream, block)


def reset(stream):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


class Raw:
    """A socket that speaks frames made by hand. It reads only when it is asked to."""

    def __init__(self, node, preface=True, settings=b"", receive_bytes=None):
        host, port = node.endpoints[0].rsplit(":", 1)
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(10)
        self.socket.connect((host, int(port)))
        self.peer = "{}:{}".format(*self.socket.getsockname())
        if preface:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data, seconds=10):
        """How much the node took: less than all when it closed, or took nothing for so long."""
        view, sent = memoryview(data), 0
        self.socket.settimeout(seconds)
        with contextlib.suppress(OSError):
            while sent < len(view):
                sent += self.socket.send(view[sent:sent + 262144])
        return sent

    def frames(self, seconds=10, until=lambda kind, flags, stream, payload: False):
        """(kind, flags, stream, payload) of what the node sends until it closes, or until `until` holds."""
        buffer, deadline = b"", time.monotonic() + seconds
        while True:
            while len(buffer) >= 9 and len(buffer) >= 9 + (size := int.from_bytes(buffer[:3], "big")):
                one = buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big") & 2**31 - 1, buffer[9:9 + size]
                buffer = buffer[9 + size:]
                yield one
                if until(*one):
                    return
            left = deadline - time.monotonic()
            assert left > 0, f"the node neither answered nor closed within {seconds} s"
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(262144)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            buffer += data

    def closing(self, seconds=10):
        """Reads to the end: the code of the last GOAWAY, None without one."""
        code = None
        for kind, _, _, payload in self.frames(seconds):
            if kind == GOAWAY:
                code = int.from_bytes(payload[4:8], "big")
        return code

    def answer(self, kind, stream, seconds=10):
        """The payload of the next frame of that kind on that stream."""
        for got in self.frames(seconds, lambda k, _, s, p: (k, s) == (kind, stream)):
            if (got[0], got[2]) == (kind, stream):
                return got[3]
        raise AssertionError("closed without that frame")

    def is_closed(self):
        self.socket.settimeout(0.001)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self):
        self.socket.close()


def sanitized(node):
    maps = pathlib.Path(f"/proc/{node.pid}/maps").read_text()
    return "libasan" in maps or "libtsan" in maps


class Watch:
    """While it is entered two links exchange messages; at its end the node has served them all the time and has not grown."""

    def __init__(self, node, grown_mib=None, **more):
        self.node, self.more = node, more
        self.sanitized = sanitized(node)
        self.limit_mib = FLAT_MIB if grown_mib is None else grown_mib
        if self.sanitized:
            self.limit_mib = self.limit_mib * 4 + SANITIZED_MIB
        self.rounds, self.error, self.stopping = 0, None, False

    def __enter__(self):
        at = self.node.endpoints[0]
        self.left, self.right = dial(at, **self.more), dial(at, **self.more)
        self.right.subscribed(name("org/good/right", 1))
        self.exchange()
        self.logged = len(self.lines())
        self.since = time.monotonic()
        self.before = self.peak = self.node.resident_mib()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def exchange(self):
        self.rounds += 1
        blob = self.rounds.to_bytes(8, "big") * 16
        self.left.publish(name("org/good/right", 1), blob)
        got = self.right.received(15)
        assert got == blob, "another message"

    def serve(self):
        try:
            while not self.stopping:
                self.exchange()
                self.peak = max(self.peak, self.node.resident_mib())
                time.sleep(0.005)
        except (AssertionError, OSError, TimeoutError, Ended) as error:
            self.error = error

    def __exit__(self, kind, value, trace):
        rounds = self.rounds
        if kind is None:
            # Served while it lasted, and still.
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: self.rounds >= rounds + 3 or self.error, 15, "rounds")
        self.stopping = True
        self.thread.join(30)
        if kind is not None:
            return
        assert self.error is None, f"good peers were not served: {self.error!r}"
        assert self.rounds >= rounds + 3, "good peers were not served"
        grown = self.peak - self.before
        assert grown < self.limit_mib, f"{grown:.1f} MiB more resident"
        seconds = time.monotonic() - self.since
        blames = [line for line in self.lines()[self.logged:] if " WARN " in line or " ERROR " in line]
        # Two threads, each with a burst of 20 and 5 a second, and the listener's own line.
        assert len(blames) <= 2 * (20 + 5 * seconds) + seconds + 1, f"{len(blames)} warnings in {seconds:.1f} s"
        self.left.connection.close()
        self.right.connection.close()

    def lines(self):
        return re.sub(r"\x1b\[[0-9;]*m", "", self.node.process.log.read_text(errors="replace")).splitlines()

    def blamed(self, reason, peer=None, seconds=10):
        """Waits for the line that names the peer and the reason."""
        pattern = re.compile(rf"{reason}.*peer={re.escape(peer)}\b|peer={re.escape(peer)}\b.*{reason}" if peer else reason)
        return wait_until(lambda: [line for line in self.lines()[self.logged:] if pattern.search(line)], seconds,
                          f"a line of the log like {pattern.pattern}")
