"""Nothing is left of a client that is gone, wherever it was cut off; and what happens when descriptors run out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
import os
import resource
import signal
import socket
import struct
import sys

import pytest
from support import rawws
from support.caller import (
    PIPES,
    ask,
    at_rest,
    close,
    connections,
    memory,
    on_terminal,
    opened,
    proxy_exec,
    refusal_of,
    request,
    run,
    script,
)
from support.daemon import SERVE

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

pytestmark = pytest.mark.none_ready

TRUE = proxy_exec("true", **PIPES)
FLOOD = frames.frame(frames.BINARY, b"\0" + b"x" * 65_536, b"\1\2\3\4")


@pytest.fixture
def start(start):
    """As an operator starts it: a fork has its memory from elsewhere."""
    return functools.partial(start, program=SERVE)


async def connect(daemon):
    return await asyncio.open_connection("127.0.0.1", daemon.port)


def kill(writer):
    """A RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def before_its_head(daemon):
    _, writer = await connect(daemon)
    kill(writer)


async def within_its_head(daemon):
    _, writer = await connect(daemon)
    writer.write(request(daemon, script("sleep 1000"))[:200])
    await writer.drain()
    kill(writer)


async def refused(daemon):
    await ask(daemon, TRUE, headers={})


async def while_it_is_dialled(daemon):
    _, writer = await connect(daemon)
    writer.write(request(daemon, script("sleep 30; exit")))
    await writer.drain()
    kill(writer)


async def right_after_its_101(daemon):
    reader, writer = await connect(daemon)
    writer.write(request(daemon, script("cat")))
    assert (await rawws.read_answer(reader)).status == 101
    kill(writer)


async def under_a_flood(daemon):
    # What isn't interactive is left alive by the runtime, and hung up by nobody: here it ends by itself.
    async with opened(daemon, script("exec timeout 60 yes"), limit=1024) as ws:
        await ws.until(STDOUT, b"y\n")
        kill(ws.writer)


async def while_it_floods(daemon):
    async with opened(daemon, script("exec sleep 1")) as ws:
        for _ in range(20):
            ws.writer.write(FLOOD)
        kill(ws.writer)


async def while_it_closes(daemon):
    async with opened(daemon, script("cat")) as ws:
        await close(ws)
        kill(ws.writer)


async def at_a_terminal(daemon):
    async with opened(daemon, on_terminal("cat")) as ws:
        kill(ws.writer)


async def in_order(daemon):
    assert (await run(daemon, TRUE)).exit_code == 0


STAGES = [
    before_its_head,
    within_its_head,
    refused,
    while_it_is_dialled,
    right_after_its_101,
    under_a_flood,
    while_it_floods,
    while_it_closes,
    at_a_terminal,
    in_order,
]


async def cycles(daemon, count, stages=STAGES, at_once=8):
    """So many connections, each killed at the next of the stages."""
    turn = itertools.cycle(stages)
    left = iter(range(count))

    async def worker():
        for _ in left:
            await next(turn)(daemon)

    await asyncio.gather(*(worker() for _ in range(at_once)))


async def tasks(daemon):
    """How many tasks it says that it has; the one that says so is among them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.ports["admin"])
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        body = (await rawws.read_answer(reader)).body.decode()
    finally:
        writer.transport.abort()
    (line,) = [line for line in body.splitlines() if line.startswith("k8s_ws_proxy_tasks ")]
    return float(line.split()[1])


async def left_over(daemon, cluster, most=math.inf):
    """What there is when nobody is connected any more: descriptors, tasks, bytes of memory.

    A task that looks at something from time to time may be under way. It ends, so more than ``most`` are waited out;
    what leaks is waited for in vain.
    """
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    opened_ = sum(line["event"] == "session opened" for line in daemon.log)
    if opened_:
        await daemon.event("session ended", count=opened_)
    descriptors = await at_rest(daemon)
    while (count := await tasks(daemon)) > most:  # noqa: ASYNC110 - another process's, and only seen by looking
        await asyncio.sleep(0.05)
    await at_rest(daemon)
    return descriptors, count, memory(daemon, "VmRSS")


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
async def test_cut_off_again_and_again(start, cluster, stage):
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", LOG_LEVEL="debug")
    await cycles(daemon, 10, [stage])
    before = await left_over(daemon, cluster)
    await cycles(daemon, 40, [stage])
    after = await left_over(daemon, cluster, before[1])
    assert after[0] == before[0]


@pytest.mark.slow
async def test_cut_off_at_every_stage_in_turn(start, cluster):
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", READY_CONNECTIONS="4")
    await cycles(daemon, 300)
    before = await left_over(daemon, cluster)
    await cycles(daemon, 300)
    after = await left_over(daemon, cluster, before[1])
    assert after[0] == before[0]
    assert after[2] < before[2] * 1.05


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_10_000_cut_off(start, cluster):
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0", READY_CONNECTIONS="4")
    await cycles(daemon, 1000)
    before = await left_over(daemon, cluster)
    await cycles(daemon, int(os.environ.get("SOAK_CYCLES", "10000")))
    after = await left_over(daemon, cluster, before[1])
    sys.stdout.write(f"tasks {before[1]:g} -> {after[1]:g}, memory {before[2]} -> {after[2]}\n")
    assert after[0] == before[0]
    assert after[2] < before[2] * 1.05


async def test_when_descriptors_run_out_sessions_go_on_and_new_ones_are_told(start, cluster):
    daemon = await start()
    await at_rest(daemon)
    soft = max(map(int, os.listdir(f"/proc/{daemon.process.pid}/fd"))) + 50  # noqa: PTH208 - names, as numbers
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (soft, soft))
    async with contextlib.AsyncExitStack() as stack:
        sessions = []
        while True:
            ws = await stack.enter_async_context(rawws.connected(daemon.port, request(daemon, script("cat"))))
            if ws.answer.status != 101:
                break
            sessions.append(ws)
        assert (ws.answer.status, ws.answer.headers["retry-after"]) == (503, "5")
        assert refusal_of(ws.answer, TRUE)[1] == "no_descriptors"
        line = await daemon.event("request refused", reason="no_descriptors")
        assert line["level"] == "error"
        assert len(sessions) > 2
        # Connections that ask for nothing take what is kept back, too: who comes then is told by a spare one.
        idle = [await connect(daemon) for _ in range(80)]
        for _, writer in idle:
            stack.callback(writer.transport.abort)
        await daemon.event("connections refused", reason="no_descriptors")
        told = [(await rawws.read_answer(reader)).status for reader, _ in idle[-5:]]
        assert told == [503] * 5
        for ws in sessions:
            await ws.send(STDIN, b"still here\n")
            await ws.until(STDOUT, b"still here\n")
    await at_rest(daemon)
    assert (await run(daemon, TRUE)).exit_code == 0


async def test_terminals_that_find_no_descriptor_for_their_dial_give_their_slots_back(start):
    """All come in at once, while there seems to be room, and then there is room for half of them."""
    daemon = await start(DRAIN_TIMEOUT="1h")
    async with contextlib.AsyncExitStack() as stack:
        callers = [await connect(daemon) for _ in range(70)]
        for _, writer in callers:
            stack.callback(kill, writer)
        while len(connections(daemon)) < len(callers):  # noqa: ASYNC110 - another process's can only be looked at
            await asyncio.sleep(0.01)
        soft = max(map(int, os.listdir(f"/proc/{daemon.process.pid}/fd"))) + 36  # noqa: PTH208 - names, as numbers
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (soft, soft))
        daemon.process.send_signal(signal.SIGSTOP)
        for _, writer in callers:
            writer.write(request(daemon, on_terminal("sleep 1000")))
        daemon.process.send_signal(signal.SIGCONT)
        told = [(await rawws.read_answer(reader)).status for reader, _ in callers]
        assert set(told) == {101, 503}
    await at_rest(daemon)
    assert not [line for line in daemon.log if line["event"] == "background task failed"]
    assert await daemon.terminate() == 0
    await daemon.event("shutting down", sessions=0)


async def test_it_takes_as_many_descriptors_as_it_may_have(daemon):
    soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
