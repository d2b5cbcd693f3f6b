"""A TCP proxy whose links can be cut, throttled, held and torn apart while they are used."""
import contextlib
import select
import socket
import struct
import threading
import time

HOW = ["reset", "half_close", "hold", "delay", "trickle", "bytes"]


class Pipe:
    """One connection through the proxy: two sockets and a thread that copies between them as `proxy.how` says."""

    def __init__(self, proxy, near, far):
        self.proxy, self.near, self.far = proxy, near, far
        threading.Thread(target=self.copy, daemon=True).start()

    def copy(self):
        ends = {self.near: self.far, self.far: self.near}
        open_ends = set(ends)
        try:
            while open_ends and not self.proxy.ended:
                how = self.proxy.how
                if how == "hold":
                    time.sleep(0.05)
                    continue
                for one in select.select(list(open_ends), [], [], 0.1)[0]:
                    data = one.recv(7 if how == "trickle" else 65536)
                    if not data:
                        open_ends.discard(one)
                        with contextlib.suppress(OSError):
                            ends[one].shutdown(socket.SHUT_WR)
                        continue
                    if how == "delay":
                        time.sleep(0.2)
                    if how == "trickle":
                        time.sleep(0.002)
                    if how == "bytes":
                        for at in range(min(len(data), 400)):
                            ends[one].sendall(data[at:at + 1])
                        data = data[400:]
                    ends[one].sendall(data)
        except (OSError, ValueError):
            pass
        self.close()

    def reset(self):
        for one in (self.near, self.far):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def half_close(self):
        with contextlib.suppress(OSError):
            self.near.shutdown(socket.SHUT_WR)

    def close(self):
        for one in (self.near, self.far):
            with contextlib.suppress(OSError):
                one.close()
        self.proxy.pipes.discard(self)


class Proxy:
    """Listens on a port of its own and leads to `target` ("host:port"). Each side has Nagle off, so that pieces stay pieces."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target, self.how, self.ended = (host, int(port)), "pass", False
        self.pipes = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.ended:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            for one in (near, far):
                one.settimeout(30)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pipes.add(Pipe(self, near, far))

    def disturb(self, how, seconds):
        """reset and half_close strike once; the others last, then all is as before."""
        if how in ("reset", "half_close"):
            for pipe in list(self.pipes):
                getattr(pipe, how)()
            return
        self.how = how
        time.sleep(seconds)
        self.how = "pass"

    def close(self):
        self.ended = True
        self.listener.close()
        for pipe in list(self.pipes):
            pipe.close()
