"""Who takes their time over a recording: follows one that goes on, reads slowly or not at all, or leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from support import rawws
from support.archive import cast_of
from support.caller import Lines, at_rest, memory
from support.recording_routes import LONG, PATH, ask, read, reason_of, request

from k8s_ws_proxy.observe import tasks

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_comes_is_sent_until_the_session_ends(daemon, made):
    session = made.running(LONG[:1000])
    data = request(daemon, f"{PATH}/{session}?follow=true")
    async with rawws.connected(daemon.port, data) as ws:
        assert ws.answer.status == 200
        assert ws.answer.headers["transfer-encoding"] == "chunked"
        reading = tasks.start(rawws.read_chunks(ws.reader), name="read")
        offset = 1000
        with made.cast(session).open("ab") as file:
            while offset < len(LONG):
                file.write(LONG[offset : offset + 60_000])
                file.flush()
                offset += 60_000
                await asyncio.sleep(0.1)
            file.write(b"# the last line\n")
        made.finish(session)
        assert await reading == LONG + b"# the last line\n"
        assert await ws.reader.read() == b"\r\n"  # of the last chunk


async def test_what_of_a_line_may_still_be_taken_back_isn_t_sent(daemon, made):
    """Who finishes what a daemon that was killed has left cuts a line that isn't whole."""
    session = made.running(LONG + b'[9, "o", "half')
    async with rawws.connected(daemon.port, request(daemon, f"{PATH}/{session}?follow=true")) as ws:
        sent = b""
        while len(sent) < len(LONG):
            sent += await rawws.read_chunk(ws.reader)
        os.truncate(made.cast(session), len(LONG))
        with made.cast(session).open("ab") as file:
            file.write(b"# interrupted\n")
        made.finish(session)
        assert sent + await rawws.read_chunks(ws.reader) == LONG + b"# interrupted\n"


async def test_where_lines_that_were_sent_are_taken_back_it_is_broken_off(daemon, made):
    """As after a write that failed in its middle: what was sent can't be."""
    session = made.running(LONG)
    async with rawws.connected(daemon.port, request(daemon, f"{PATH}/{session}?follow=true")) as ws:
        sent = b""
        while len(sent) < len(LONG):
            sent += await rawws.read_chunk(ws.reader)
        os.truncate(made.cast(session), 0)
        with contextlib.suppress(ConnectionError):
            assert await ws.reader.read() == b"", "no last chunk: it isn't whole"


async def test_what_is_finished_is_followed_to_its_end(daemon, made):
    session = made.finished(LONG)
    answer = await ask(daemon, request(daemon, f"{PATH}/{session}?follow=true"))
    assert answer.body == LONG


async def test_what_the_reader_says_meanwhile_is_dropped(start, made):
    """It might be taken for the beginning of another request, and that be refused in the middle of the answer."""
    daemon = await start(WS_HANDSHAKE_TIMEOUT="1s")
    session = made.running(LONG[:1000])
    async with rawws.connected(daemon.port, request(daemon, f"{PATH}/{session}?follow=true")) as ws:
        ws.writer.write(b"GET /proxy/rec")
        await ws.writer.drain()
        reading = tasks.start(rawws.read_chunks(ws.reader), name="read")
        await asyncio.sleep(1.5)  # a request would be overdue
        ws.writer.write(b"ordings HTTP/1.1\r\n\r\n" * 1000)
        made.finish(session)
        assert await reading == LONG[:1000]


async def test_a_reader_that_leaves_is_noticed(start, made):
    daemon = await start()
    begun = LONG[: LONG.index(b"\n", 1000) + 1]
    session = made.running(begun)
    before = daemon.descriptors()
    for _ in range(20):
        async with rawws.connected(daemon.port, request(daemon, f"{PATH}/{session}?follow=true")) as ws:
            await ws.reader.readline()
    await at_rest(daemon)
    while daemon.descriptors() > before + 2:  # noqa: ASYNC110 - another process's can only be looked at
        await asyncio.sleep(0.02)
    assert (await read(daemon, session)).body == begun


async def test_a_reader_that_takes_nothing_is_let_go_and_costs_nothing(start, made):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="1s")
    session = made.finished(b"".join([cast_of(b"x"), b"# " + b"y" * 1_000_000 + b"\n"] * 64))
    before = memory(daemon, "VmRSS")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(idle(daemon, request(daemon, f"{PATH}/{session}")))
        lines = Lines(daemon)
        answer = await read(daemon, session)
        assert (answer.status, reason_of(answer)) == (429, "too_many_readers")
        assert answer.headers["retry-after"] == "5"
        while await ask_head(daemon, session) != 200:  # noqa: ASYNC110 - another process's can only be looked at
            await asyncio.sleep(0.1)
        assert memory(daemon, "VmRSS") - before < 24 * 1024 * 1024
        assert [line for line in lines.new if line.get("level") == "error"] == []


@contextlib.asynccontextmanager
async def idle(daemon, data):
    """A connection that asks, and reads nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=1024)
    writer.write(data)
    await reader.readline()
    writer.transport.pause_reading()
    try:
        yield
    finally:
        writer.transport.abort()


async def ask_head(daemon, session):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(request(daemon, f"{PATH}/{session}", "HEAD"))
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def test_places_for_readers(daemon, made):
    session = made.running(LONG[:1000])
    target = f"{PATH}/{session}?follow=true"
    async with contextlib.AsyncExitStack() as stack:

        async def follow(user):
            answer = (
                await stack.enter_async_context(rawws.connected(daemon.port, request(daemon, target, User=user)))
            ).answer
            return answer.status if answer.status == 200 else reason_of(answer)

        for user in ("a", "b", "c", "d"):
            assert [await follow(user) for _ in range(16)] == [200] * 16
            assert await follow(user) == "too_many_readers"
        assert await follow("e") == "too_many_readers"
        made.finish(session)
    while (await read(daemon, session)).status != 200:  # noqa: ASYNC110 - another process's can only be looked at
        await asyncio.sleep(0.05)


async def test_what_is_removed_while_it_is_read_is_read_to_its_end(daemon, made):
    data = LONG * 100
    session = made.finished(data)
    async with idle_then_read(daemon, request(daemon, f"{PATH}/{session}")) as rest:
        made.cast(session).unlink()
        made.receipt(session).unlink()
        assert (await rest()).endswith(data)
    assert reason_of(await read(daemon, session)) == "no_such_recording"


async def test_what_is_cut_while_it_is_read_doesn_t_look_whole(daemon, made):
    data = LONG * 300
    session = made.finished(data)
    async with idle_then_read(daemon, request(daemon, f"{PATH}/{session}")) as rest:
        os.truncate(made.cast(session), 10)
        with contextlib.suppress(ConnectionResetError):
            assert len(await rest()) < len(data)
    await daemon.event("a recording can't be read to its end", session=session)


@contextlib.asynccontextmanager
async def idle_then_read(daemon, data):
    """A connection that asks, and waits before it reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=65536)
    writer.write(data)
    await reader.readline()
    yield reader.read
    writer.transport.abort()
