"""Callers of the log routes: messages as they come, and plain answers decoded by somebody else (h11)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h11

from k8s_ws_proxy.wire.framing import frames
from support.caller import V5, request, signed_path, with_query
from support.rawws import Answer, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from support.daemon import Daemon
    from support.rawws import RawWebSocket


def proxy_log(pod: str, container: str | None = None, **parameters: str) -> str:
    """A target on ``/proxy/logs``. The container is called as its pod is, unless it is named."""
    return with_query(f"/proxy/logs/default/{pod}/{pod if container is None else container}", **parameters)


def api_log(pod: str, **parameters: str) -> str:
    """A target on the apiserver's own path."""
    return with_query(f"/api/v1/namespaces/default/pods/{pod}/log", **parameters)


@dataclass
class Log:
    """All that came on a WebSocket: messages, the close."""

    lines: list[bytes] = field(default_factory=list)
    code: int | None = None
    reason: str = ""

    @property
    def content(self) -> bytes:
        """The lines put together."""
        return b"".join(self.lines)

    @property
    def status(self) -> dict[str, object]:
        """The ``metav1.Status`` that came in the place of a log."""
        (message,) = self.lines
        assert message[:1] == b"\x03"
        return json.loads(message[1:])


async def next_line(ws: RawWebSocket) -> bytes:
    """The next binary message; pings are answered."""
    while True:
        frame = await ws.frame()
        assert frame is not None
        assert frame.fin
        if frame.opcode == frames.PING:
            await ws.send_frame(frames.PONG, frame.payload)
        else:
            assert frame.opcode == frames.BINARY, frame
            return frame.payload


async def to_its_end(ws: RawWebSocket) -> Log:
    """The rest of a log, to the end of the connection."""
    log = Log()
    begun = b""
    while (frame := await ws.frame()) is not None:
        match frame.opcode:
            case frames.BINARY | frames.CONTINUATION:
                assert log.code is None
                assert (frame.opcode == frames.CONTINUATION) == bool(begun)
                begun += frame.payload
                if frame.fin:
                    log.lines.append(begun)
                    begun = b""
            case frames.PING:
                await ws.send_frame(frames.PONG, frame.payload)
            case frames.CLOSE:
                log.code, log.reason = frames.parse_close(frame.payload)
                with contextlib.suppress(ConnectionError):
                    await ws.send_frame(frames.CLOSE, frame.payload[:2])
            case other:
                raise AssertionError(other)
    return log


async def to_its_end_at_once(ws: RawWebSocket) -> Log:
    """As ``to_its_end``, for a million lines within a ping period: all bytes first, then the frames in them."""
    parts = []
    while data := await ws.reader.read(1 << 20):
        parts.append(data)
    raw, pos = b"".join(parts), 0
    log = Log()
    while pos < len(raw):
        opcode, size, pos = raw[pos], raw[pos + 1], pos + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, pos = int.from_bytes(raw[pos : pos + width], "big"), pos + width
        payload, pos = raw[pos : pos + size], pos + size
        assert log.code is None
        if opcode == 0x82:
            log.lines.append(payload)
        elif opcode == 0x88:
            log.code, log.reason = frames.parse_close(payload)
        else:
            assert opcode == 0x89, opcode
    return log


@contextlib.asynccontextmanager
async def followed(
    daemon: Daemon, target: str, *, subprotocols: Sequence[str] = (V5,), limit: int = 1 << 20
) -> AsyncIterator[RawWebSocket]:
    """A log by WebSocket; the 101 is asserted."""
    async with connected(daemon.port, request(daemon, target, subprotocols=subprotocols), limit=limit) as ws:
        assert ws.answer.status == 101, ws.answer
        yield ws


async def read_log(daemon: Daemon, target: str, *, subprotocols: Sequence[str] = (V5,)) -> Log:
    """A log by WebSocket from its request to its end."""
    async with followed(daemon, target, subprotocols=subprotocols) as ws:
        return await to_its_end(ws)


@dataclass
class Plain:
    """A plain answer. ``whole`` is false where the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


class PlainLog:
    """A plain GET under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.whole = False

    async def ask(self, target: str, headers: dict[str, str], method: str = "GET") -> None:
        """Send the request."""
        event = h11.Request(method=method, target=target, headers=[("Host", "proxy"), *headers.items()])
        self.writer.write((self._http.send(event) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        await self.writer.drain()

    async def next(self) -> bytes:
        """The next bytes of the body, empty at its end or the connection's."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                return b""  # an end before the end
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.reader.read(1 << 16))
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                return bytes(event.data)
            else:
                self.whole = isinstance(event, h11.EndOfMessage)
                return b""

    async def rest(self) -> Plain:
        """All that is still to come."""
        parts = []
        while data := await self.next():
            parts.append(data)
        return Plain(self.status, self.headers, b"".join(parts), self.whole)


@contextlib.asynccontextmanager
async def plain(
    daemon: Daemon, target: str, *, headers: dict[str, str] | None = None, method: str = "GET", limit: int = 1 << 20
) -> AsyncIterator[PlainLog]:
    """A plain GET with a signature, or with ``headers`` in its place."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=limit)
    try:
        asked = PlainLog(reader, writer)
        signed = daemon.headers(signed_path(target)) if headers is None else headers
        await asked.ask(target, signed, method)
        yield asked
    finally:
        writer.transport.abort()


async def get_log(daemon: Daemon, target: str, **options: object) -> Plain:
    """A plain answer to its end."""
    async with plain(daemon, target, **options) as asked:
        return await asked.rest()


async def refused_plain(daemon: Daemon, target: str, **options: object) -> Answer:
    """A plain refusal, in the form that ``refusal_of`` takes."""
    answer = await get_log(daemon, target, **options)
    return Answer(answer.status, answer.headers, answer.body)
