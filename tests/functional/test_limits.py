"""How long a session may go on, and how many callers may keep others waiting: limits with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from support import rawws
from support.caller import PIPES, at_rest, on_terminal, opened, proxy_exec, run, script, signed_path

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDERR, STDIN, STDOUT

pytestmark = pytest.mark.none_ready


@pytest.mark.parametrize(("target", "channel"), [(on_terminal("cat"), STDOUT), (script("cat"), STDERR)])
@pytest.mark.parametrize(
    ("limit", "reason"), [("SESSION_IDLE_TIMEOUT", "idle_timeout"), ("SESSION_MAX_DURATION", "max_duration")]
)
async def test_a_session_is_told_then_ended(start, cluster, target, channel, limit, reason):
    daemon = await start(**{limit: "1s"})
    before = await at_rest(daemon)
    async with opened(daemon, target) as ws:
        notice = await ws.until(channel, b" s.\r\n")
        assert b"ends in 0.5 s" in notice
        ended = await ws.finish()
    assert ended.code == frames.POLICY_VIOLATION
    assert ended.reason in ended.text(channel)
    assert (ended.status["reason"], ended.status["message"]) == ("Timeout", ended.reason)
    assert ended.exit_code is None
    line = await daemon.event("session ended")
    assert (line["reason"], line["close_code"], line["level"]) == (reason, frames.POLICY_VIOLATION, "info")
    assert line["duration_seconds"] >= 1
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    assert await at_rest(daemon) == before


async def test_whoever_types_stays(start):
    """For three times as long as an idle one would; the pings alone wouldn't do it."""
    daemon = await start(WS_PING_PERIOD="500ms", SESSION_IDLE_TIMEOUT="2s")
    async with opened(daemon, script("cat; echo end")) as ws:
        for _ in range(3):
            await ws.until(STDERR, b"ends in 1 s")
            await ws.send(STDIN, b"here\n")
            await ws.until(STDOUT, b"here\n")
        await ws.send(0xFF, bytes((STDIN,)))
        assert (await ws.finish()).exit_code == 0
    assert (await daemon.event("session ended"))["duration_seconds"] > 3


@pytest.mark.parametrize("limit", ["SESSION_IDLE_TIMEOUT", "SESSION_MAX_DURATION"])
async def test_a_client_that_takes_nothing_is_ended_all_the_same(start, cluster, limit):
    daemon = await start(**{limit: "1s"})
    before = await at_rest(daemon)
    async with opened(daemon, script("exec yes"), limit=1024) as ws:
        await ws.until(STDOUT, b"y\n")
        line = await daemon.event("session ended")
        await at_rest(daemon)
    assert line["reason"] in ("idle_timeout", "max_duration")
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    assert await at_rest(daemon) == before


async def test_a_thousand_that_trickle_do_not_keep_a_signed_caller_waiting(start):
    """Each sends a byte of its request's head now and then; all are cut when the handshake's time is over."""
    daemon = await start(WS_HANDSHAKE_TIMEOUT="4s")
    before = await at_rest(daemon)
    target = proxy_exec("true", **PIPES)
    head = f"GET {signed_path(target)} HTTP/1.1\r\nHost: proxy\r\nX-Slow: ".encode()
    async with contextlib.AsyncExitStack() as stack:
        connections = [await asyncio.open_connection("127.0.0.1", daemon.port) for _ in range(1000)]
        for _, writer in connections:
            stack.callback(writer.transport.abort)
            writer.write(head)
        answers = [asyncio.get_running_loop().create_task(rawws.read_answer(reader)) for reader, _ in connections]
        served = 0
        while not all(answer.done() for answer in answers):
            for _, writer in connections:
                writer.write(b"x")
            assert (await run(daemon, target)).exit_code == 0
            served += not any(answer.done() for answer in answers)
        told = [(answer.result().status, json.loads(answer.result().body)["reason"]) for answer in answers]
    assert served, "a caller was served while all of them trickled"
    assert told == [(408, "request_timeout")] * 1000
    await daemon.event("request refused", reason="request_timeout")
    assert await at_rest(daemon) == before
