"""Nobody holds up the loop, and nobody holds more than their share: who tries it, and what others get meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl

import pytest
from support import rawws
from support.caller import (
    PIPES,
    V5,
    ask,
    at_rest,
    get,
    memory,
    opened,
    proxy_exec,
    refusal_of,
    request,
    reset_peak,
    run,
    script,
    with_query,
)
from support.daemon import SERVE
from support.pki import Pki
from support.sessions import SHELL, issue, presented
from support.tls13 import RawTls13

from k8s_ws_proxy.sessions.quotas import HELD_BY_DIALS, held_by
from k8s_ws_proxy.web.handshakes import AT_ONCE
from k8s_ws_proxy.web.pending import IDLE_PLACES
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDIN
from k8s_ws_proxy.wire.requests.issue import parse_order

TRUE = proxy_exec("true", **PIPES)
KEY = b"\1\2\3\4"
MIB = 1 << 20
SOON = 10.0  # seconds, many times what it takes: without a bound it is never


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


async def by_hand(daemon, pki):
    """A TLS connection whose records the test makes."""
    context = pki.servers.client()
    raw = await asyncio.to_thread(RawTls13, ("127.0.0.1", daemon.ports["https"]), context)
    raw.socket.setblocking(False)
    return raw


@contextlib.asynccontextmanager
async def goes_on(daemon):
    """The daemon answers probes all the while: at least one after the other, each in time."""
    count = 0

    async def ask():
        nonlocal count
        while True:
            async with asyncio.timeout(SOON):
                assert (await get(daemon, "/healthz")).status == 200
            count += 1
            await asyncio.sleep(0.01)

    asking = asyncio.get_running_loop().create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    assert count


async def flooded(raw, wire):
    """Send until the other side has had enough: what it said last."""
    loop = asyncio.get_running_loop()
    sending = loop.create_task(loop.sock_sendall(raw.socket, wire))
    try:
        async with asyncio.timeout(SOON):
            with contextlib.suppress(ConnectionError):
                while await loop.sock_recv(raw.socket, 65536):
                    pass
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending


async def test_key_updates_in_a_request_s_place_get_no_longer_than_its_head(start, pki):
    daemon = await start(**pki.environ(), WS_HANDSHAKE_TIMEOUT="1s")
    raw = await by_hand(daemon, pki)
    wire = b"".join(raw.key_update() for _ in range(20_000))
    async with goes_on(daemon):
        await flooded(raw, wire)
    raw.socket.close()
    assert (await daemon.event("request refused", reason="request_timeout"))["status"] == 408


async def test_key_updates_and_single_bytes_on_a_session_hold_nobody_up(start, pki):
    daemon = await start(**pki.environ())
    raw = await by_hand(daemon, pki)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(raw.socket, raw.record(request(daemon, script("wc -c; sleep 1000"))))
    await daemon.event("session opened")
    update = b"".join(raw.key_update() for _ in range(5_000))
    message = frames.frame(frames.BINARY, bytes((STDIN,)) + b"x" * 500, KEY)
    single = b"".join(raw.record(message[at : at + 1]) for at in range(len(message)))
    async with goes_on(daemon):
        async with asyncio.timeout(SOON):
            await loop.sock_sendall(raw.socket, update + single)
        assert (await run(daemon, TRUE)).exit_code == 0
    raw.socket.close()
    await daemon.event("session ended")


async def test_a_hello_that_announces_much_is_refused_at_once(start, pki):
    daemon = await start(**pki.environ())
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.ports["https"])
    writer.write(b"\x16\x03\x01\x40\x00\x01" + (131_000).to_bytes(3, "big"))
    async with asyncio.timeout(SOON):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    line = await daemon.event("TLS handshake failed")
    assert "131000 bytes" in line["error"]


@contextlib.asynccontextmanager
async def crowd(port, count, data):
    """So many who connect, say ``data``, and wait."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port)))
            await asyncio.to_thread(sock.sendall, data)
        yield


async def test_records_that_say_nothing_in_a_handshake_end_it(start, pki):
    """OpenSSL drops a change_cipher_spec without a word (RFC 8446 §5), however many come."""
    daemon = await start(**pki.environ())
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.ports["https"])
    writer.write(client_hello() + b"\x14\x03\x03\x00\x01\x01" * 1000)
    async with asyncio.timeout(SOON):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
    await daemon.event("TLS handshake failed")


async def test_handshakes_that_stand_still_give_their_places_to_others(start, pki):
    daemon = await start(**pki.environ())
    port, caller = daemon.ports["https"], pki.servers.client()
    async with (
        crowd(port, 2 * AT_ONCE, client_hello()),
        asyncio.timeout(SOON),
        rawws.connected(port, request(daemon, TRUE), tls=caller) as ws,
    ):
        assert (await ws.finish()).exit_code == 0
    await daemon.event("connections refused", reason="too_many_connections")


def client_hello():
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="proxy")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


FRAGMENTS = (
    frames.header(frames.BINARY, 2, KEY, fin=False)
    + frames.mask(b"\0x", KEY)
    + (frames.header(frames.CONTINUATION, 1, KEY, fin=False) + frames.mask(b"x", KEY)) * 100_000
)
TINY = {
    "fragments": FRAGMENTS,
    "pings": frames.header(frames.PING, 0, KEY) * 100_000,
    "empty messages": frames.header(frames.BINARY, 0, KEY) * 100_000,
}


@pytest.mark.parametrize("wire", TINY.values(), ids=TINY)
async def test_a_session_of_tiny_frames_holds_nobody_up(start, wire):
    daemon = await start()
    async with goes_on(daemon), opened(daemon, script("cat >/dev/null")) as ws:
        ws.writer.write(wire + frames.frame(frames.PING, b"the last", KEY))
        async with asyncio.timeout(6 * SOON):
            await asyncio.gather(ws.writer.drain(), answered(ws))


async def answered(ws):
    """A ping that was sent last has its pong."""
    while (frame := await ws.frame()) is not None:
        if (frame.opcode, frame.payload) == (frames.PONG, b"the last"):
            return
    raise AssertionError("the session ended")


@pytest.mark.slow
async def test_what_a_session_holds_of_single_bytes_is_what_they_take(start):
    """Each is a message of its own on its way up, and the program reads nothing."""
    daemon = await start()
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(opened(daemon, script("sleep 1000")))
        assert first.answer.status == 101
        reset_peak(daemon)
        held = memory(daemon)
        for _ in range(8):
            ws = await stack.enter_async_context(opened(daemon, script("sleep 1000")))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):  # until nothing more is taken
                    for _ in range(20):
                        await ws.send_raw(FRAGMENTS)
        assert memory(daemon) - held < 8 * MIB, "it is 17 MiB a session where each piece is kept by itself"


async def test_connections_that_were_known_once_do_not_pile_up(start, pki):
    daemon = await start(**pki.environ())
    operator = pki.servers.client(pki.callers.leaf("guacd"))
    plain = b"GET /api HTTP/1.1\r\nHost: proxy\r\n\r\n"
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(IDLE_PLACES + 10):
            ws = await stack.enter_async_context(rawws.connected(daemon.ports["https"], plain, tls=operator))
            assert ws.answer.status == 200
            made.append(ws)
        async with asyncio.timeout(SOON):
            for ws in made[:10]:
                assert await ws.reader.read() == b""
        await made[-1].send_raw(plain)
        assert (await rawws.read_answer(made[-1].reader)).status == 200


async def test_who_reads_no_answer_is_let_go(start, pki):
    daemon = await start(**pki.environ(), WS_HANDSHAKE_TIMEOUT="500ms")
    before = await at_rest(daemon)
    operator = pki.servers.client(pki.callers.leaf("guacd"))
    plain = b"GET /api/v1 HTTP/1.1\r\nHost: proxy\r\n\r\n"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", daemon.ports["https"]))
        tls = await asyncio.to_thread(operator.wrap_socket, sock, server_hostname="proxy")
        await asyncio.to_thread(ask_and_never_read, tls, plain)
        assert await at_rest(daemon) == before
        tls.close()


def ask_and_never_read(tls, request):
    tls.settimeout(SOON)
    with contextlib.suppress(OSError):
        while True:
            tls.sendall(request * 100)


async def test_long_commands_that_are_dialled_are_bounded_together(start, cluster):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="60s")
    long = with_query("/proxy/exec/default/shell/shell", *["ab"] * 11_800, **PIPES)
    fit = HELD_BY_DIALS // held_by(len(long))
    cluster.faults.hang(times=fit + 1)
    async with crowd(daemon.port, 20, request(daemon, long)):
        await daemon.event("request refused", reason="too_many_handshakes", count=20 - fit)
        answer = await ask(daemon, long)
        assert refusal_of(answer, long)[1] == "too_many_handshakes"
        short = asyncio.get_running_loop().create_task(run(daemon, TRUE))
        await cluster.observed.wait_for(lambda: any("command=true" in seen.target for seen in cluster.observed.seen))
        short.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await short


async def test_so_are_those_of_sessions_that_were_issued(start, cluster):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="60s")
    command = ["ab"] * 10_500
    target = parse_order(json.dumps({**SHELL, "command": command}).encode()).target
    fit = HELD_BY_DIALS // held_by(len(target))
    cluster.faults.hang(times=fit)
    last = await issue(daemon, command=command)
    async with contextlib.AsyncExitStack() as stack:
        for dialled in range(1, fit + 1):
            told = await issue(daemon, command=command)
            data = rawws.request(told["path"], {"Authorization": f"Bearer {told['ticket']}"}, subprotocols=[V5])
            await stack.enter_async_context(crowd(daemon.port, 1, data))
            await cluster.observed.wait_for(lambda dialled=dialled: len(cluster.observed.seen) >= dialled)
        async with presented(daemon, last["path"], last["ticket"]) as ws:
            assert refusal_of(ws.answer, last["path"])[1] == "too_many_handshakes"


@pytest.mark.slow
async def test_a_log_that_nobody_reads_holds_up_nothing(start):
    """A pipe takes 64 KiB, some 300 refusals."""
    daemon = await start(program=SERVE, LOG_LEVEL="debug")
    daemon.process._transport.get_pipe_transport(2).pause_reading()
    for _ in range(400):
        async with asyncio.timeout(SOON):
            assert (await get(daemon, "/nothing/" + "x" * 200)).status == 404
            assert (await run(daemon, TRUE)).exit_code == 0
    daemon.process._transport.get_pipe_transport(2).resume_reading()
    assert await daemon.terminate() == 0
    assert daemon.log[-1]["event"] == "shut down"
