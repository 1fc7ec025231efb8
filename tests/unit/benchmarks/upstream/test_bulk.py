from __future__ import annotations

import contextlib
import socket
import ssl

import pytest

from benchmarks import certs, frames
from benchmarks.upstream.bulk import paced, say_hi, start

MESSAGES = [kib * 1024 for kib in frames.MIXED_KIB]


class Client:
    """TLS in memory, so that the records on the wire can be seen."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.wire = bytearray()
        self.plain = bytearray()

    def shake_hands(self):
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))
            else:
                self.sock.sendall(self.outgoing.read())
                return

    def read(self):
        """What comes next; False at the end."""
        data = self.sock.recv(65536)
        self.wire += data
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            while more := self.tls.read(65536):
                self.plain += more
        return bool(data)

    def records(self):
        """The payloads' sizes of the whole application-data records that came (RFC 8446 §5.2: 17 bytes more)."""
        sizes, at = [], 0
        while at + 5 <= len(self.wire):
            size = int.from_bytes(self.wire[at + 3 : at + 5], "big")
            at += 5 + size
            if at <= len(self.wire):
                sizes.append(size - 17)
        return sizes


@pytest.fixture
def client(tmp_path):
    """The source's peer, and what the source's thread is started with."""
    made = certs.make(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.num_tickets = 0  # a ticket would be a record, too
    server.load_cert_chain(made.cert, made.key)
    listener = socket.create_server((certs.HOST, 0))
    near = socket.create_connection(listener.getsockname(), timeout=30)
    far, _ = listener.accept()
    listener.close()
    wrapped = server.wrap_socket(far, server_side=True, do_handshake_on_connect=False)
    with near:

        def served(work, *arguments):
            def run(sock, *rest):
                sock.do_handshake()
                work(sock, *rest)

            start(wrapped, run, *arguments)
            peer = Client(near, made.client_context())
            peer.shake_hands()
            return peer

        yield served


def test_each_message_has_records_of_its_own_and_comes_whole(client):
    peer = client(paced, 1000)
    while len(peer.plain) < 3 * sum(MESSAGES) + 1000:
        assert peer.read()
    expected = []
    for message in map(len, frames.burst(frames.stdout_frame)):
        full, rest = divmod(message, 16 * 1024)
        expected += [16 * 1024] * full + [rest]
    assert peer.records()[: 3 * len(expected)] == 3 * expected
    taken = list(frames.take(peer.plain))
    assert [len(payload) for _, payload in taken[:15]] == 3 * MESSAGES
    assert {payload[:2] for _, payload in taken} == {frames.STDOUT + b"."}


def test_echo_hi_says_so_then_how_it_ended_and_waits_for_the_answer_to_its_close(client):
    peer = client(say_hi)
    close = frames.server_frame(frames.NORMAL_CLOSURE, frames.CLOSE)
    while not peer.plain.endswith(close):
        assert peer.read()
    assert list(frames.take(peer.plain)) == [
        (frames.BINARY, frames.STDOUT + b"hi\n"),
        (frames.BINARY, frames.STATUS + frames.SUCCESS),
        (frames.CLOSE, frames.NORMAL_CLOSURE),
    ]
    assert len(peer.records()) == 3
    peer.tls.write(frames.client_frame(frames.NORMAL_CLOSURE, frames.CLOSE))
    peer.sock.sendall(peer.outgoing.read())
    while peer.read():
        pass
