"""guacd, byte for byte as it was seen (docs/observed.md, "guacd"): what it sends, and what reaches the eye."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from k8s_ws_proxy.wire.framing import channels, frames
from support import rawws

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

FIRST_FRAME = 0.1  # seconds from the 101: it draws nothing before, and stops at the close
PIECE = 4096  # bytes that its library hands on at once
RESIZE = b'{"Width":100,"Height":40}'


def request(*command: str, namespace: str = "default", pod: str = "shell", container: str | None = "shell") -> bytes:
    """Its upgrade: exec with a command, attach without one; nine headers, ``Host`` without the port."""
    query = [f"command={quote(argument, safe='')}" for argument in command]
    query += [f"container={container}"] if container else []
    query += ["stdin=true", "stdout=true", "tty=true"]
    subresource = "exec" if command else "attach"
    lines = [
        f"GET /api/v1/namespaces/{namespace}/pods/{pod}/{subresource}?{'&'.join(query)} HTTP/1.1",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        "Host: 127.0.0.1",
        "Origin: http://127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        f"Sec-WebSocket-Protocol: {channels.V4}",
        "Sec-WebSocket-Version: 13",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Guacd:
    """One terminal of it, after the 101.

    ``terminal`` is what came for its user's eyes, ``drawn`` what they saw of it at the end, ``close`` what nobody sees.
    ``asked`` is the loop's time before its request, ``closed`` that of the close.
    """

    def __init__(self, ws: rawws.RawWebSocket, asked: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._opened = self._clock()
        self.asked = asked
        self.closed: float | None = None
        self.ws = ws
        self.terminal = bytearray()
        self.drawn = b""
        self.longest = 0  # bytes of a message, channel byte included
        self.pings = 0
        self.close: tuple[int | None, str] | None = None

    async def resize(self) -> None:
        """It says its size twice at the start."""
        for _ in range(2):
            await self.ws.send(channels.RESIZE, RESIZE)

    async def type(self, text: bytes) -> None:
        """Keystrokes, at most 1,024 bytes a frame."""
        for start in range(0, len(text), 1023):
            await self.ws.send(channels.STDIN, text[start : start + 1023])

    async def step(self) -> bool:
        """Take one frame; False at the end."""
        with contextlib.suppress(ConnectionError):
            frame = await self.ws.frame()
            if frame is None:
                return False
            if frame.opcode == frames.PING:
                self.pings += 1
                await self.ws.send_frame(frames.PONG, frame.payload)
            elif frame.opcode == frames.CLOSE:
                self.close = frames.parse_close(frame.payload)
                self.closed = self._clock()
                self.drawn = bytes(self.terminal) if self.closed - self._opened >= FIRST_FRAME else b""
            elif frame.opcode in (frames.TEXT, frames.BINARY):
                self._show(frame.payload)
            return True
        return False

    async def until(self, wanted: bytes) -> None:
        """Until the terminal holds ``wanted``."""
        while wanted not in self.terminal:
            assert await self.step(), bytes(self.terminal)

    async def finish(self) -> Guacd:
        """To the end of the connection."""
        while await self.step():
            pass
        return self

    async def leave_at_a_ping(self) -> None:
        """Its user has closed the window: it notices when a ping comes, and says no more than FIN."""
        seen = self.pings
        while self.pings == seen:
            assert await self.step()
        self.ws.writer.close()

    def _show(self, payload: bytes) -> None:
        """Its library delivers a message in pieces; the first byte of each is taken for a channel."""
        self.longest = max(self.longest, len(payload))
        for start in range(0, len(payload), PIECE):
            piece = payload[start : start + PIECE]
            if piece[0] in (channels.STDOUT, channels.STDERR):
                self.terminal += piece[1:]


@contextlib.asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext, data: bytes) -> AsyncIterator[Guacd]:
    """guacd on the TLS listener, after the 101 without which it would have said nothing but 519."""
    asked = asyncio.get_running_loop().time()
    async with rawws.connected(port, data, tls=tls) as ws:
        assert ws.answer.status == 101, ws.answer
        assert ws.answer.headers.get("sec-websocket-protocol") == channels.V4
        guacd = Guacd(ws, asked)
        await guacd.resize()
        yield guacd
