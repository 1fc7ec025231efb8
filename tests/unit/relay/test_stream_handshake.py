"""The client's side of a TLS handshake: what the server sends with it, before it, and in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest
from support.pki import Pki

from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.relay.tls import Tls

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Server:
    """The other end, on a socket that a test writes to when and as it likes."""

    def __init__(self, sock, context):
        self.socket = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def answer(self):
        """Wait for bytes of the client; what is to be sent for them, and whether that is the last of it."""
        self.incoming.write(await asyncio.get_running_loop().sock_recv(self.socket, 65536))
        done = False
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            done = True
        return self.outgoing.read(), done


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def ends(pki):
    """The client's stream and the server, both before the handshake."""

    def made(version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.server.cert, pki.server.key)
        context.maximum_version = version
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
        other.setblocking(False)
        opened.append(other)
        tls = Tls(pki.servers.client(), server_side=False, server_hostname="proxy")
        stream = Stream(one, asyncio.get_running_loop(), tls)
        opened.append(stream)
        return stream, Server(other, context)

    opened = []
    yield made
    for each in opened:
        each.close()


async def content(stream, count):
    got, view = b"", memoryview(bytearray(64 * 1024))
    while len(got) < count:
        if (read := stream.read_into(view)) is None:
            await stream.readable()
        else:
            assert read, "it ended"
            got += bytes(view[:read])
    return got


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 5, 7, 100, 65536])
async def test_it_is_over_however_its_bytes_come_and_what_came_with_the_last_of_them_is_the_session_s(
    ends, version, size
):
    stream, server = ends(version)

    async def serve():
        done = False
        while not done:
            wire, done = await server.answer()
            if done:  # in TLS 1.2 the server's Finished is the last one
                server.tls.write(b"hello")
                server.tls.write(b" there")
                wire += server.outgoing.read()
            for at in range(0, len(wire), size):
                await asyncio.get_running_loop().sock_sendall(server.socket, wire[at : at + size])
                await asyncio.sleep(0)

    await asyncio.gather(stream.handshake(), serve())
    assert await content(stream, 11) == b"hello there"


async def test_a_server_that_never_comes_to_an_end_is_refused(ends):
    stream, server = ends(ssl.TLSVersion.TLSv1_3)

    async def serve():
        wire, _ = await server.answer()
        hello = 5 + int.from_bytes(wire[3:5])
        server.socket.send(wire[:hello] + b"\x14\x03\x03\x00\x01\x01" * 40)

    with pytest.raises(ConnectionAbortedError, match="cipher"):
        await asyncio.gather(stream.handshake(), serve())


async def test_a_server_that_ends_in_the_middle_of_a_record_is_told_so(ends):
    stream, server = ends(ssl.TLSVersion.TLSv1_3)

    async def serve():
        wire, _ = await server.answer()
        server.socket.send(wire[:50])
        server.socket.shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionResetError):
        await asyncio.gather(stream.handshake(), serve())
