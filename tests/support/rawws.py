"""A WebSocket client that hides nothing: every frame, the close, the end, and any bytes one cares to send."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8s_ws_proxy.wire.framing import channels, frames

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Mapping, Sequence


@dataclass
class Answer:
    """The head of an HTTP answer, and its body unless it was 101. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Frame:
    """One frame as it came, unmasked."""

    opcode: int
    fin: bool
    payload: bytes


@dataclass
class Ended:
    """All a session sent: bytes by channel, close code (None without a close frame), and the reason."""

    output: dict[int, bytes] = field(default_factory=dict)
    code: int | None = None
    reason: str = ""
    eof: bool = False

    def text(self, channel: int) -> str:
        """A channel's bytes as text."""
        return self.output.get(channel, b"").decode()

    @property
    def status(self) -> dict[str, object]:
        """The metav1.Status of channel 3."""
        status = channels.parse_status(self.output.get(channels.STATUS, b""))
        assert status is not None, self
        return status

    @property
    def exit_code(self) -> int | None:
        """The exit code of channel 3."""
        return channels.exit_code(self.status)


class RawWebSocket:
    """A connection after its answer. Nothing is sent unless asked for: no pong, no close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self.reader = reader
        self.writer = writer
        self.answer = answer

    async def frame(self) -> Frame | None:
        """The next frame, None at the end. Raises if the end comes within a frame."""
        head = await self.reader.read(1)
        if not head:
            return None
        head += await self.reader.readexactly(1)
        length = head[1] & 0x7F
        assert not head[1] & 0x80, "a server's frame is masked"
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8), "big")
        payload = await self.reader.readexactly(length)
        return Frame(head[0] & 0x0F, bool(head[0] & 0x80), payload)

    async def send(self, channel: int, data: bytes = b"") -> None:
        """One channel message in one frame."""
        await self.send_frame(frames.BINARY, bytes((channel,)) + data)

    async def send_frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """One frame, masked."""
        raw = bytearray(frames.frame(opcode, payload, os.urandom(4)))
        if not fin:
            raw[0] &= 0x7F
        await self.send_raw(bytes(raw))

    async def send_raw(self, data: bytes) -> None:
        """Any bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, channel: int, wanted: bytes) -> bytes:
        """The channel's bytes up to where they hold ``wanted``; pings are answered."""
        seen = b""
        while wanted not in seen:
            frame = await self.frame()
            assert frame is not None, seen
            assert frame.opcode != frames.CLOSE, (seen, frame)
            await self._pong(frame)
            if frame.opcode == frames.BINARY and frame.payload[:1] == bytes((channel,)):
                seen += frame.payload[1:]
        return seen

    async def finish(self, *, reply: bool = True) -> Ended:
        """Read to the end of the connection, answering pings and, if ``reply``, the close."""
        ended = Ended()
        parts: dict[int, list[bytes]] = {}
        while (frame := await self.frame()) is not None:
            await self._pong(frame)
            if frame.opcode == frames.CLOSE:
                code, ended.reason = frames.parse_close(frame.payload)
                ended.code = 1005 if code is None else code
                if reply:
                    with contextlib.suppress(ConnectionError):
                        await self.send_frame(frames.CLOSE, frame.payload[:2])
            elif frame.opcode in (frames.BINARY, frames.TEXT) and frame.payload:
                assert ended.code is None, "data after the close"
                parts.setdefault(frame.payload[0], []).append(frame.payload[1:])
        ended.eof = True
        ended.output = {channel: b"".join(chunks) for channel, chunks in parts.items()}
        return ended

    async def _pong(self, frame: Frame) -> None:
        if frame.opcode == frames.PING:
            await self.send_frame(frames.PONG, frame.payload)


def request(
    target: str,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    subprotocols: Sequence[str] = (channels.V5,),
    method: str = "GET",
) -> bytes:
    """An upgrade request's bytes."""
    pairs = list(headers.items()) if hasattr(headers, "items") else list(headers)
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: proxy",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *([f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}"] if subprotocols else []),
        *(f"{name}: {value}" for name, value in pairs),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer's head, and its body by Content-Length: one in chunks may have no end."""
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in raw[1:]:
        if line:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
    answer = Answer(int(raw[0].split()[1]), headers)
    if answer.status != 101:
        answer.body = await reader.readexactly(int(headers.get("content-length", "0")))
    return answer


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of a body; nothing at its end."""
    if size := int(await reader.readline(), 16):
        data = await reader.readexactly(size)
        await reader.readline()
        return data
    return b""


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A body in chunks, to its end."""
    body = b""
    while data := await read_chunk(reader):
        body += data
    return body


@contextlib.asynccontextmanager
async def connected(
    port: int,
    data: bytes,
    *,
    tls: ssl.SSLContext | None = None,
    limit: int = 1 << 20,
    sock: socket.socket | None = None,
) -> AsyncIterator[RawWebSocket]:
    """Connect to loopback, or take ``sock``, which is connected; send ``data`` (a request), read the answer."""
    where = {"host": "127.0.0.1", "port": port} if sock is None else {"sock": sock}
    reader, writer = await asyncio.open_connection(**where, ssl=tls, limit=limit)
    try:
        writer.write(data)
        yield RawWebSocket(reader, writer, await read_answer(reader))
    finally:
        writer.transport.abort()
