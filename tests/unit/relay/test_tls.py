"""TLS on a stream: what a peer can make us do in one turn, and keep of its own."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import ssl
import termios

import pytest
from support.pki import Pki
from support.tls13 import ALERT, RawTls13

from k8s_ws_proxy.relay import tls as shared
from k8s_ws_proxy.relay.stream import Stream, StreamLost
from k8s_ws_proxy.relay.tls import Tls
from k8s_ws_proxy.wire.framing.tls_records import RECORD

VIEW = memoryview(bytearray(256 * 1024 + RECORD))
MOST = 256 * 1024


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def connect(pki):
    """Connects to a stream that is a TLS server; ``peer`` makes the client in a thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert, pki.server.key)
    closed = []

    async def connect_(peer):
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = loop.run_in_executor(None, peer, listener.getsockname())
            listener.setblocking(False)
            sock, _ = await loop.sock_accept(listener)
        stream = Stream(sock, loop, Tls(context, server_side=True))
        closed.append(stream.close)
        await stream.handshake()
        made = await client
        closed.append(made.close)
        return stream, made

    yield connect_
    for close in closed:
        close()


@pytest.fixture
async def raw(connect, pki):
    """A server's stream, and a client that makes its own records."""

    def peer(address):
        made = RawTls13(address, pki.servers.client())
        made.close = made.socket.close
        return made

    return await connect(peer)


@pytest.fixture
async def plain(connect, pki):
    """A server's stream, and an ordinary client."""

    def peer(address):
        return pki.servers.client().wrap_socket(socket.create_connection(address), server_hostname="proxy")

    return await connect(peer)


def unread(stream):
    """Bytes that the kernel holds for it."""
    count = array.array("i", [0])
    fcntl.ioctl(stream.socket.fileno(), termios.FIONREAD, count)
    return count[0]


async def arrived(stream, count):
    while unread(stream) < count:
        await stream.readable()


def turns(stream):
    """Bytes of the wire that each read takes until nothing is left, and what each says."""
    while left := unread(stream):
        try:
            said = stream.read_into(VIEW, MOST)
        except StreamLost as error:
            said = error
        yield left - unread(stream), said


async def test_records_without_content_are_taken_a_few_in_a_turn_and_then_rest(raw):
    stream, peer = raw
    wire = b"".join(peer.key_update() for _ in range(1500))
    peer.socket.sendall(wire)
    await arrived(stream, len(wire))
    woken = asyncio.Event()
    stream.on_readable(woken.set)
    taken, said = zip(*turns(stream), strict=True)
    assert set(said) == {None}
    assert max(taken) <= 4096
    assert stream._pause is not None, "it isn't looked at for a while"
    assert not stream._reading
    peer.socket.sendall(peer.record(b"still there"))
    await asyncio.wait_for(woken.wait(), 10)
    assert stream.read_into(VIEW, MOST) == len(b"still there")


async def test_tiny_records_are_taken_a_few_in_a_turn(raw):
    stream, peer = raw
    wire = b"".join(peer.record(b"x") for _ in range(4000))
    peer.socket.sendall(wire)
    await arrived(stream, len(wire))
    taken, said = zip(*turns(stream), strict=True)
    assert sum(said) == 4000
    assert max(taken) <= 4096


async def test_large_records_fill_a_turn(raw):
    stream, peer = raw
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for turn in range(3):
        wire = b"".join(peer.record(b"x" * 10_000) for _ in range(20))
        peer.socket.sendall(wire)
        await arrived(stream, len(wire))
        taken, said = zip(*turns(stream), strict=True)
        assert sum(said) == 200_000
        if turn:
            assert len(taken) == 1


async def test_who_makes_tls_answer_and_reads_no_answer_is_lost(raw):
    stream, peer = raw
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours = b"x" * 65536
    while stream.flush():
        stream.write(ours)
    lost = None
    while lost is None:
        peer.socket.sendall(wire := b"".join(peer.key_update(requested=True) for _ in range(50)))
        await arrived(stream, len(wire))
        lost = next((said for _, said in turns(stream) if said is not None), None)
    assert "doesn't read the answers" in str(lost)
    assert stream.backlog < 128 * 1024


async def test_nothing_stays_in_what_all_connections_share(plain):
    stream, peer = plain
    peer.sendall(b"question")
    await stream.readable()
    assert stream.read_into(VIEW, MOST) == 8
    assert stream.write(b"answer") == 6
    stream.end_output()
    assert peer.recv(100) == b"answer"
    assert (shared._INCOMING.pending, shared._OUTGOING.pending) == (0, 0)


async def test_a_broken_record_ends_its_own_connection_only(connect, raw, pki):
    stream, peer = raw
    peer.socket.sendall(peer.record(b"before") + b"\x17\x03\x03\x00\x20" + bytes(32) + peer.record(b"after"))
    await arrived(stream, 50)
    assert stream.read_into(VIEW, MOST) == len(b"before")
    with pytest.raises(StreamLost):
        stream.read_into(VIEW, MOST)
    assert (shared._INCOMING.pending, shared._OUTGOING.pending) == (0, 0)


async def test_an_end_right_after_the_last_bytes_is_told_though_the_socket_says_no_more(raw):
    """close_notify, and no FIN."""
    stream, peer = raw
    said, told = [], asyncio.Event()

    def readable():
        said.append(stream.read_into(VIEW, MOST))
        if said[-1] == 0:
            stream.on_readable(None)
            told.set()

    wire = peer.record(b"last") + peer.record(b"\x01\x00", ALERT)
    peer.socket.sendall(wire)
    await arrived(stream, len(wire))
    stream.on_readable(readable)
    await asyncio.wait_for(told.wait(), 10)
    assert said == [4, 0]


async def test_bulk_both_ways_is_whole(plain):
    stream, peer = plain
    sent = bytes(range(256)) * 4096
    received = asyncio.get_running_loop().run_in_executor(None, read_exactly, peer, len(sent))
    left = memoryview(sent)
    while left or not stream.flush():
        done = stream.write(left) if left else None
        left = left[done or 0 :]
        if not done:
            await stream.writable()
    assert await received == sent
    sending = asyncio.get_running_loop().run_in_executor(None, peer.sendall, sent)
    got = bytearray()
    while len(got) < len(sent):
        if (count := stream.read_into(VIEW, MOST)) is None:
            await stream.readable()
        else:
            got += VIEW[:count]
    await sending
    assert bytes(got) == sent


def read_exactly(peer, count):
    got = b""
    while len(got) < count:
        got += peer.recv(count - len(got))
    return got
