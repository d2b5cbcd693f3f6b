"""A NATS server in a few lines that does wrong what it is told to: for tests of what should notice."""
import socket
import threading


class FaultyNats:
    """`fault(number, payload)` gives what becomes of the number-th message: a list of payloads that the subscriber gets."""

    def __init__(self, fault):
        self.fault, self.published, self.subscriber = fault, 0, None
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pinged = False
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        peer.sendall(b'INFO {"server_id":"faulty","max_payload":1048576}\r\n')
        with peer, peer.makefile("rb") as lines:
            while line := lines.readline():
                word, *more = line.split()
                if word == b"PING":
                    self._send(peer, b"PONG\r\n")
                elif word == b"PONG":
                    self.pinged = True
                elif word == b"SUB":
                    self.subscriber = peer, more[1]
                elif word == b"PUB":
                    self._publish(more[0], lines.read(int(more[1]) + 2)[:-2])

    def _publish(self, subject, payload):
        peer, sid = self.subscriber
        if self.published == 5:
            self._send(peer, b"PING\r\n")
        for out in self.fault(self.published, payload):
            self._send(peer, b"MSG %s %s %d\r\n%s\r\n" % (subject, sid, len(out), out))
        self.published += 1

    def _send(self, peer, data):
        with self.lock:
            peer.sendall(data)
