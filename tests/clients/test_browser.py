"""What a browser sends: an offer to compress, an origin, and a large message in fragments."""

from __future__ import annotations

import hashlib
import os

import pytest
from support import rawws
from support.caller import end_stdin, proxy_exec, signed_path

from k8s_ws_proxy.wire.framing import channels, frames

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAGMENT = 32 * 1024  # bytes, as Chromium cuts


def fragments(message):
    """``message`` in frames, cut as Chromium cuts it, each with a key of its own."""
    cuts = range(0, len(message), FRAGMENT)
    for number, offset in enumerate(cuts):
        raw = bytearray(
            frames.frame(
                frames.CONTINUATION if number else frames.BINARY, message[offset : offset + FRAGMENT], os.urandom(4)
            )
        )
        if number < len(cuts) - 1:
            raw[0] &= 0x7F
        yield bytes(raw)


@pytest.mark.parametrize("pong_between", [False, True], ids=["in a row", "a pong between"])
@pytest.mark.parametrize(("size", "count"), [(70_000, 3), (1024 * 1024, 33)])
async def test_a_large_message_in_fragments_arrives_by_hash(shared_daemon, size, count, pong_between):
    target = proxy_exec("sha256sum", tty="false")
    browser = {
        "Origin": "https://console.example",
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    }
    request = rawws.request(target, shared_daemon.headers(signed_path(target)) | browser)
    data = os.urandom(size)
    async with rawws.connected(shared_daemon.port, request) as ws:
        assert ws.answer.status == 101
        assert "sec-websocket-extensions" not in ws.answer.headers
        sent = 0
        for frame in fragments(bytes((channels.STDIN,)) + data):
            await ws.send_raw(frame)
            sent += 1
            if pong_between and sent == count // 2:
                await ws.send_frame(frames.PONG, b"a control frame may come in the middle")
        assert sent == count
        await end_stdin(ws)
        ended = await ws.finish()
    assert ended.text(channels.STDOUT) == f"{hashlib.sha256(data).hexdigest()}  -\n"
    assert (ended.exit_code, ended.code) == (0, frames.NORMAL)
