"""HTTP/1.1 as far as the apiserver's clients need it: requests in, answers out, one connection at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import h11

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.status import Status
    from k8s_ws_proxy.devcluster.tls import TlsStream

MAX_HEAD = 1 << 20
"""Bytes of request line and headers that are taken, as Go's net/http does by default."""
MAX_BODY = 3 << 20
"""Bytes of body that are taken, as by the apiserver."""
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its path percent-decoded. Of a query's values, those that aren't UTF-8 keep their bytes as
    surrogates.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    path: str
    query: dict[str, list[str]]
    body: bytes = b""

    @property
    def media_type(self) -> str:
        """The body's, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """All values of a header, joined with commas; empty if it isn't there. `name` is in lower case."""
        return ", ".join(value for key, value in self.headers if key == name)

    def listed(self, name: str) -> list[str]:
        """A comma-separated header's members, trimmed, in order."""
        return [part for each in self.header(name).split(",") if (part := each.strip())]

    def first(self, parameter: str) -> str:
        """The first value of a query parameter; empty if it isn't there."""
        return self.query.get(parameter, [""])[0]

    def flag(self, parameter: str) -> bool:
        """A boolean as the apiserver reads it: absent, `0` and `false` are off, all else is on (`maybe` too)."""
        values = self.query.get(parameter)
        return values is not None and values[0] != "0" and values[0].lower() != "false"

    @property
    def wants_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        connection = {token.lower() for token in self.listed("connection")}
        return "upgrade" in connection and self.header("upgrade").lower() == "websocket"


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `bare` ones are written as golang.org/x/net/websocket does: no headers, the end is the
    connection's. What the kubelet or that package says is `handed_through`, without a header of the apiserver's.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())
    bare: bool = False
    handed_through: bool = False


def of_status(status: Status) -> Response:
    """A status as the apiserver answers it: its code (a success has none, and is 200), and itself as the body."""
    return Response(status.code or 200, status.body())


def of_object(value: dict[str, Any], code: int = 200) -> Response:
    """An object as JSON."""
    return Response(code, json.dumps(value).encode())


def of_text(code: int, text: str) -> Response:
    """What the kubelet says by itself, handed through: plain text without a newline."""
    return Response(code, text.encode(), "text/plain; charset=utf-8")


class Malformed(Exception):
    """What came is not a request that can be read; `response` says so."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Connection:
    """The requests of one connection, in turn, until one of them upgrades it."""

    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def receive(self) -> Request | None:
        """The next request with its body, or None at the connection's end.

        Raises Malformed if it can't be read.
        """
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        elif self._h11.our_state is not h11.IDLE:
            return None
        try:
            event = await self._event()
            if not isinstance(event, h11.Request):
                return None
            body = bytearray()
            while isinstance(part := await self._event(), h11.Data):
                body += part.data
                if len(body) > MAX_BODY:
                    raise Malformed(of_text(413, "request body too large"))
        except h11.RemoteProtocolError as exc:
            hint = exc.error_status_hint
            raise Malformed(of_text(hint, f"{hint} {HTTPStatus(hint).phrase}")) from exc
        return _request(event, bytes(body)) if isinstance(part, h11.EndOfMessage) else None

    async def send(self, response: Response, *more: tuple[str, str]) -> None:
        """Answer the request that was read, with these headers more."""
        phrase = HTTPStatus(response.status).phrase
        if response.bare:
            lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{k}: {v}" for k, v in response.headers)]
            self._stream.write("\r\n".join([*lines, "", ""]).encode() + response.body)
            self._h11.send_failed()
        else:
            headers = [
                ("Content-Type", response.content_type),
                ("Content-Length", str(len(response.body))),
                *response.headers,
                *more,
            ]
            if self._h11.our_state is h11.IDLE:  # what came was never a request
                headers.append(("Connection", "close"))
            head = h11.Response(status_code=response.status, headers=_encoded(headers), reason=phrase)
            for event in (head, h11.Data(data=response.body), h11.EndOfMessage()):
                self._stream.write(self._h11.send(event) or b"")
        await self._stream.drain()

    async def begin(self, headers: tuple[tuple[str, str], ...]) -> None:
        """Answer with 200 and a body in chunks; it is the connection's last answer.

        Raises ConnectionResetError, as the next two do, if the client has left.
        """
        fields = [*headers, ("Transfer-Encoding", "chunked"), ("Connection", "close")]
        await self._say(h11.Response(status_code=200, headers=_encoded(fields), reason="OK"))

    async def chunk(self, data: bytes) -> None:
        """More of the body, once the client has taken most of what came before."""
        if data:
            await self._say(h11.Data(data=data))

    async def end(self) -> None:
        """The body is complete."""
        await self._say(h11.EndOfMessage())

    async def upgrade(self, headers: tuple[tuple[str, str], ...]) -> bytes:
        """Answer with 101 and give up HTTP; returns what the client has already sent after its request."""
        answer = h11.InformationalResponse(status_code=101, headers=list(headers), reason="Switching Protocols")
        self._stream.write(self._h11.send(answer) or b"")
        await self._stream.drain()
        return self._h11.trailing_data[0]

    def hand_over(self) -> bytes:
        """Give up HTTP without an answer; returns what the client has already sent after its request."""
        self._h11.send_failed()
        return self._h11.trailing_data[0]

    async def _say(self, event: h11.Event) -> None:
        self._stream.write(self._h11.send(event) or b"")
        await self._stream.drain()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self._stream.read(_CHUNK))
        return event


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as bytes: a value may be anything that came in one."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]


def _request(event: h11.Request, body: bytes) -> Request:
    target = event.target.decode("latin-1")
    parts = urlsplit(target)
    return Request(
        method=event.method.decode("latin-1"),
        target=target,
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers),
        path=unquote(parts.path, errors="surrogateescape"),
        query=parse_qs(parts.query, keep_blank_values=True, errors="surrogateescape", max_num_fields=65536),
        body=body,
    )
