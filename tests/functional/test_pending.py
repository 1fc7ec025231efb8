"""Callers who aren't known: what all of them together may hold, and that somebody who is known comes in meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl

import pytest
from support import rawws
from support.caller import (
    PIPES,
    at_rest,
    memory,
    opened,
    proxy_exec,
    request,
    reset_peak,
    run,
    script,
    signed_path,
)
from support.pki import Pki

from k8s_ws_proxy.web.pending import MIN_PLACES
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

pytestmark = pytest.mark.none_ready

TRUE = proxy_exec("true", **PIPES)
LINE = f"GET {signed_path(TRUE)} HTTP/1.1\r\nHost: proxy\r\n".encode()
MIB = 1 << 20
FEW = {"MAX_SESSIONS": "3"}
PLACES = MIN_PLACES + 3
PLAIN = b"GET /api HTTP/1.1\r\nHost: proxy\r\n\r\n"


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@contextlib.asynccontextmanager
async def crowd(port, count, data=b""):
    """So many who connect one after the other, and say ``data``."""
    async with contextlib.AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(await asyncio.open_connection("127.0.0.1", port))
            _, writer = connections[-1]
            stack.callback(writer.transport.abort)
            writer.write(data)
        yield [reader for reader, _ in connections]


async def to_the_end(reader):
    with contextlib.suppress(ConnectionError):
        await reader.read()


async def warmed_up(daemon):
    """What its descriptors lead to at rest, and the memory that it has once it has served somebody."""
    before = await at_rest(daemon)
    assert (await run(daemon, TRUE)).exit_code == 0
    await at_rest(daemon)
    reset_peak(daemon)
    return before, memory(daemon)


def client_hello():
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="proxy")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


async def test_a_head_that_has_no_end_is_400(start):
    """Each header is as long as it may be; it is their sum. As many come as there is room for while they are read."""
    daemon = await start()
    before, held = await warmed_up(daemon)
    head = LINE + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 15_000) for number in range(100))
    async with crowd(daemon.port, 20, head) as connections:
        for reader in connections:
            answer = await rawws.read_answer(reader)
            assert (answer.status, json.loads(answer.body)["reason"]) == (400, "malformed_request")
    line = await daemon.event("request refused", reason="malformed_request", count=20)
    assert line["detail"] == "a head over 163840 bytes"
    assert await at_rest(daemon) == before
    assert memory(daemon) - held < 16 * MIB, "without a bound it is 60 MB"


async def test_heads_without_an_end_do_not_pile_up(start):
    daemon = await start()
    before, held = await warmed_up(daemon)
    head = LINE + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 15_000) for number in range(10))
    async with crowd(daemon.port, 400, head) as connections:
        for reader in connections[:300]:
            await to_the_end(reader)
        assert (await run(daemon, TRUE)).exit_code == 0
    await daemon.event("connections refused", reason="too_many_connections")
    assert await at_rest(daemon) == before
    assert memory(daemon) - held < 32 * MIB, "without a bound it is 60 MB and twice that"


async def test_heads_that_were_answered_do_not_pile_up(start):
    """Whoever is refused and doesn't close is still there for a second, and its head with it."""
    daemon = await start()
    before, held = await warmed_up(daemon)
    head = LINE + b"".join(b"X-%d%s: v\r\n" % (number, b"x" * 8_000) for number in range(18)) + b"\r\n"
    async with crowd(daemon.port, 600, head) as connections:
        for reader in connections:
            await to_the_end(reader)
        assert (await run(daemon, TRUE)).exit_code == 0
    assert await at_rest(daemon) == before
    assert memory(daemon) - held < 64 * MIB, "without a bound it is 200 MB"


@pytest.mark.parametrize("again", [True, False], ids=["again", "for the first time"])
async def test_bodies_without_an_end_do_not_pile_up(start, again):
    """Whoever has seen one signature with a body may send it on any number of connections, and all are waited for."""
    daemon = await start()
    before, held = await warmed_up(daemon)
    signed = daemon.headers_v2(TRUE, body=b"{}")
    if again:
        sent = rawws.request(TRUE, {**signed, "Content-Length": "2"}) + b"{}"
        async with rawws.connected(daemon.port, sent) as ws:
            assert json.loads(ws.answer.body)["reason"] == "bad_handshake"
    head = rawws.request(TRUE, {**signed, "Transfer-Encoding": "chunked"})
    trailers = b"0\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 15_000) for number in range(100))
    async with crowd(daemon.port, 100, head + trailers) as connections:
        for reader in connections[:90]:
            await to_the_end(reader)
        assert (await run(daemon, TRUE)).exit_code == 0
    assert await at_rest(daemon) == before
    assert memory(daemon) - held < 48 * MIB, "without a bound it is 400 MB"


async def test_many_who_say_nothing_have_to_go_and_a_signed_caller_comes_in(start):
    daemon = await start(**FEW)
    before = await at_rest(daemon)
    async with opened(daemon, script("cat")) as ws:
        gone = 100
        async with crowd(daemon.port, PLACES - 1 + gone) as connections:  # the session takes one
            for reader in connections[:gone]:
                answer = await rawws.read_answer(reader)
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert json.loads(answer.body)["reason"] == "too_many_connections"
            assert (await run(daemon, TRUE)).exit_code == 0
            assert not any(reader.at_eof() for reader in connections[gone + 1 :])
        await ws.send(STDIN, b"still here\n")
        await ws.until(STDOUT, b"still here\n")
    await at_rest(daemon)
    await daemon.logged(lambda _: told(daemon) > gone)
    assert told(daemon) == gone + 1, "the signed caller took a place, too"
    assert await at_rest(daemon) == before


def told(daemon):
    return sum(line["connections"] for line in daemon.log if line["event"] == "connections refused")


async def test_many_tls_handshakes_that_stop_have_to_go_and_a_signed_caller_comes_in(start, pki):
    daemon = await start(**pki.environ(), **FEW)
    before = await at_rest(daemon)
    gone = 100
    async with crowd(daemon.ports["https"], PLACES + gone, client_hello()) as connections:
        for reader in connections[:gone]:
            await to_the_end(reader)
        async with rawws.connected(daemon.ports["https"], request(daemon, TRUE), tls=pki.servers.client()) as ws:
            assert (await ws.finish()).exit_code == 0
    assert await at_rest(daemon) == before
    await daemon.logged(lambda _: told(daemon) > gone)
    assert not [line for line in daemon.log if line["event"] == "background task failed"]


async def test_who_is_known_does_not_have_to_go(start, pki, cluster):
    """However long the apiserver takes over a dial, and kubectl over its next question."""
    daemon = await start(**pki.environ(), **FEW)
    operator = pki.servers.client(pki.callers.leaf("guacd"))
    async with rawws.connected(daemon.ports["https"], PLAIN, tls=operator) as kubectl:
        cluster.faults.hang()
        before = len(cluster.observed.seen)
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(request(daemon, TRUE))
        answer = asyncio.get_running_loop().create_task(rawws.read_answer(reader))
        await cluster.observed.wait_for(lambda: any("/exec" in seen.target for seen in cluster.observed.seen[before:]))
        async with crowd(daemon.port, PLACES + 100) as connections:
            for evicted in connections[:100]:
                await to_the_end(evicted)
            await kubectl.send_raw(PLAIN)
            assert (await rawws.read_answer(kubectl.reader)).status == 200
            assert not answer.done()
        writer.transport.abort()
        await asyncio.wait([answer])
        assert answer.exception() is not None
