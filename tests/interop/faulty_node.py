"""A node in a few lines that answers, acks and forwards, and does wrong what it is told to: for tests of what should notice."""
import selectors
import socket
import threading

import h2.config
import h2.connection
import h2.events

from wire import decode, encode, grpc


class FaultyNode:
    """`fault(number, message)` gives what becomes of the number-th publish: a list of protobuf messages that are forwarded."""

    def __init__(self, fault):
        self.fault = fault
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.owners = {}
        self.published = 0
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        self.running = False
        self.thread.join(10)

    def _run(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self.listener, selectors.EVENT_READ)
            peers = {}
            while self.running:
                for key, _ in ready.select(0.1):
                    if key.fileobj is self.listener:
                        sock, _ = self.listener.accept()
                        peers[sock] = _Peer(self, sock)
                        ready.register(sock, selectors.EVENT_READ)
                    elif not peers[key.fileobj].read():
                        ready.unregister(key.fileobj)
                        peers.pop(key.fileobj).sock.close()
            for sock in peers:
                sock.close()
        self.listener.close()

    def take(self, peer, data):
        message = decode(data)
        if "link" in message:
            asked = message["link"]["negotiation"]
            peer.send(encode({"link": {"negotiation": {"link_id": asked["link_id"], "version": "3.4.6", "is_reply": True, "node_id": "faulty"}}}))
        elif "subscribe" in message:
            self.owners[self._key(message["subscribe"]["header"])] = peer
            peer.send(encode({"ack": {"subscription_id": message["subscribe"]["subscription_id"], "success": True}}))
        elif "publish" in message:
            owner = self.owners[self._key(message["publish"]["header"])]
            for out in self.fault(self.published, data):
                owner.send(out)
            self.published += 1

    @staticmethod
    def _key(header):
        return header["destination"]["name"]["c2"]


class _Peer:
    def __init__(self, node, sock):
        self.node, self.sock, self.stream, self.buffer = node, sock, None, bytearray()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self._flush()

    def _flush(self):
        if data := self.h2.data_to_send():
            self.sock.sendall(data)

    def send(self, message):
        self.h2.send_data(self.stream, grpc(message))
        self._flush()

    def read(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            return False
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.stream = event.stream_id
                self.h2.send_headers(self.stream, [(":status", "200"), ("content-type", "application/grpc")])
            elif isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.buffer += event.data
                while len(self.buffer) >= 5 and len(self.buffer) >= 5 + (size := int.from_bytes(self.buffer[1:5], "big")):
                    message = bytes(self.buffer[5:5 + size])
                    del self.buffer[:5 + size]
                    self.node.take(self, message)
            elif isinstance(event, h2.events.StreamEnded):
                self.h2.send_headers(self.stream, [("grpc-status", "0")], end_stream=True)
            elif isinstance(event, h2.events.ConnectionTerminated):
                return False
        self._flush()
        return True
