"""The way down with many sessions under way: idle, at a terminal, flooding, and with clients that take nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

import pytest
from support.caller import ask, close, get, on_terminal, opened, proxy_exec, script

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STATUS, STDERR, STDIN, STDOUT

LINE = "\r\nk8s-ws-proxy: the proxy on this node is shutting down.\r\n"
GRACE = 10.0  # seconds from DRAIN_TIMEOUT to the SIGKILL, as the chart has it


async def told(ws, channel):
    """Read to the end, and assert that it is the one that a drain has; whatever the command said may come before."""
    ended = await ws.finish()
    assert ended.code == frames.GOING_AWAY
    assert ended.status["code"] == 503
    assert ended.text(channel).endswith(LINE)
    assert ended.output.keys() <= {STDOUT, channel, STATUS}


async def go_down(start, cluster, *, idle, terminals, flooding, stalled, deadline):
    """A daemon with so many sessions, from SIGTERM to its end."""
    daemon = await start(DRAIN_TIMEOUT=f"{deadline}s", WS_HANDSHAKE_TIMEOUT="60s", MAX_SESSIONS="1000")
    async with contextlib.AsyncExitStack() as stack:

        async def open_(target, **options):
            return await stack.enter_async_context(opened(daemon, target, **options))

        async def listen(target, channel):
            """From the start: else, with so many to open, the first have been silent for too long."""
            ends.append(asyncio.get_running_loop().create_task(told(await open_(target), channel)))

        ends = []
        for _ in range(idle):
            await listen(script("sleep 10000"), STDERR)
        for _ in range(terminals):
            await listen(on_terminal("cat"), STDOUT)
        deaf = [await open_(script("exec yes"), limit=1024) for _ in range(stalled)]
        for ws in deaf:
            await ws.until(STDOUT, b"y\n")
        for _ in range(flooding):
            await listen(script("exec yes"), STDERR)
        goes = await open_(script("read x; exit 3"))

        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down", sessions=idle + terminals + flooding + stalled + 1)
        ready = await get(daemon, "/readyz")
        assert (ready.status, json.loads(ready.body)["checks"]["shutdown"]) == (503, "the daemon is going down")
        answer = await ask(daemon, proxy_exec("true"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        await goes.send(STDIN, b"x\n")
        assert (await goes.finish()).exit_code == 3, "what runs goes on"
        async with asyncio.timeout(deadline + GRACE):
            assert await daemon.wait() == 0
        await asyncio.gather(*ends)
    reasons = [line["reason"] for line in daemon.log if line["event"] == "session ended"]
    assert sorted(set(reasons)) == ["command_ended", "drained"]
    assert len(reasons) == len(ends) + stalled + 1, "each end is in the log"
    assert not [line for line in daemon.log if line["level"] == "error"]
    assert daemon.log[-1]["event"] == "shut down"
    hung_up = sum(line["event"] == "process hung up" for line in daemon.log)
    without_time = sum(line["count"] for line in daemon.log if line["event"] == "processes may be left behind")
    assert hung_up + without_time == terminals, "each shell is hung up, or it is said that the time didn't suffice"
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


@pytest.mark.parametrize("_round", range(3))
async def test_with_60_sessions(start, cluster, _round):
    await go_down(start, cluster, idle=40, terminals=10, flooding=2, stalled=8, deadline=1)


async def test_a_second_signal_does_not_wait_for_the_deadline(start, cluster):
    daemon = await start(DRAIN_TIMEOUT="1h")
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(opened(daemon, script("sleep 10000"))) for _ in range(20)]
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down", sessions=20)
        daemon.process.send_signal(signal.SIGTERM)
        for ws in sessions:
            await told(ws, STDERR)
        assert await daemon.wait() == 0


async def test_clients_that_close_at_that_very_moment(start, cluster):
    """Each ends once, whoever was first."""
    daemon = await start(DRAIN_TIMEOUT="0s")
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(opened(daemon, script("cat"))) for _ in range(30)]
        daemon.process.send_signal(signal.SIGTERM)
        for ws in sessions:
            with contextlib.suppress(ConnectionError):
                await close(ws)
        for ws in sessions:
            assert (await ws.finish()).code in (frames.NORMAL, frames.GOING_AWAY)
        assert await daemon.wait() == 0
    assert [line["event"] for line in daemon.log].count("session ended") == 30


@pytest.mark.soak
@pytest.mark.parametrize("_round", range(int(os.environ.get("SOAK_ROUNDS", "100"))))
async def test_with_500_sessions(start, cluster, _round):
    """``SOAK_ROUNDS`` is for trying it out. Each has a cluster of its own: what ran in the last one is gone with it."""
    await go_down(start, cluster, idle=350, terminals=80, flooding=20, stalled=50, deadline=2)
