"""A client's end, however it comes, closes upstream and gives the slot back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import SimpleNamespace

import pytest
from support.caller import at_rest, close, on_terminal, opened, request, script
from support.procfs import unread, unsent
from support.rawws import connected

from k8s_ws_proxy.wire.framing import frames

pytestmark = pytest.mark.none_ready

FLOOD = frames.frame(frames.BINARY, b"\0" + b"x" * 65_536, b"\1\2\3\4")


def reset(ws):
    """The next close of the socket is a RST: what it has sent and nobody has read stays in the proxy's kernel."""
    sock = ws.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.writer.transport.abort()


def half_close(ws):
    ws.writer.write_eof()


async def close_frame(ws):
    await close(ws)


@pytest.mark.parametrize("leave", [reset, half_close, close_frame])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param(script("sleep 1000"), id="silent"),
        pytest.param(on_terminal("sleep 1000"), id="on a terminal"),
        pytest.param(script("yes"), id="flooding"),
        pytest.param(script("cat"), id="echoing"),
    ],
)
async def test_upstream_is_closed_and_the_slot_freed(cluster, start, target, leave):
    daemon = await start(MAX_SESSIONS="1")
    before = await at_rest(daemon)
    async with opened(daemon, target) as ws:
        left = leave(ws)
        if left is not None:
            await left
        line = await daemon.event("session ended")
        await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    assert line["reason"] == "client_left"
    assert await at_rest(daemon) == before
    async with opened(daemon, script("echo next")) as ws:
        assert (await ws.finish()).text(1) == "next\n"


async def read_within(seconds, ws, daemon):
    """Whether the daemon reads all that ``ws`` has sent: its socket may be empty while ours holds the rest."""
    ours = ws.writer.get_extra_info("sockname")[1]
    sock = ws.writer.get_extra_info("socket")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while unsent(sock) or unread(daemon.port, ours):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.001)
            return True
    return False


@pytest.mark.parametrize("leave", [reset, half_close], ids=["reset", "half-closed"])
@pytest.mark.parametrize("command", ["sleep 1000", "cat >/dev/null"], ids=["which nobody reads", "which is read"])
async def test_with_bytes_of_its_own_still_unread(daemon, command, leave):
    """As much as the proxy reads, one message that lies unread in its kernel, and then nothing more.

    Not more than one: behind a closed window nobody can see a FIN.
    """
    before = await at_rest(daemon)
    async with opened(daemon, script(command)) as ws:
        ws.writer.transport.set_write_buffer_limits(high=0)
        for _ in range(400):
            await ws.send_raw(FLOOD)
            # A message that isn't read for a second is taken for the one that stays unread. Where that is wrong, since
            # the machine is busy, the client leaves earlier, and must be noticed as well.
            if not await read_within(1.0, ws, daemon):
                break
        leave(ws)
        await daemon.event("session ended", reason="client_left")
    assert await at_rest(daemon) == before


async def test_before_its_first_frame_is_read(daemon):
    """Gone as soon as the request is sent: the dial is given up, or the session ends at once."""
    before = await at_rest(daemon)
    for _ in range(20):
        _reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(request(daemon, script("sleep 1000")) + FLOOD)
        await writer.drain()
        writer.transport.abort()
    for count in range(1, 21):
        await daemon.logged(
            lambda line: line["event"] in ("session ended", "client left before the session opened"), count=count
        )
    assert await at_rest(daemon) == before


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_after_more_than_is_read_before_the_101(start, cluster, how):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="1h")
    before = await at_rest(daemon)
    cluster.faults.hang()
    _reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(request(daemon, script("cat")) + 4 * FLOOD)
    await writer.drain()
    await cluster.observed.wait_for(lambda: any("/exec" in seen.target for seen in cluster.observed.seen))
    if how == "reset":
        reset(SimpleNamespace(writer=writer))
    else:
        writer.close()
    await daemon.event("client left before the session opened")
    assert await at_rest(daemon) == before


async def test_frames_sent_before_the_101_are_kept(daemon):
    data = request(daemon, script("head -c 65536 | wc -c")) + FLOOD
    async with connected(daemon.port, data) as ws:
        assert ws.answer.status == 101
        assert (await ws.finish()).text(1).strip() == "65536"
