"""The WebSocket handshake towards the apiserver (RFC 6455 §4.1), without a socket.

h11 does the HTTP, apart from an upgrade that goes as it should (``switch``); here stands only what makes it one, and
what a refusal means.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import h11

from k8s_ws_proxy import __version__
from k8s_ws_proxy.errors import UpstreamError, UpstreamProtocolError, UpstreamRefused
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS, TUNNEL, failure, parse_status
from k8s_ws_proxy.wire.http.switch import request_head, switched

if TYPE_CHECKING:
    from collections.abc import Sequence

    Headers = Sequence[tuple[str, str]]

USER_AGENT: Final = f"k8s-ws-proxy/{__version__}"  # so that the apiserver's audit log can tell whose requests they are
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_HEAD: Final = 64 * 1024  # bytes of an answer's head
_MAX_BODY: Final = 64 * 1024  # bytes of a refusal's body that are kept
_CUT_OFF: Final = "The apiserver closed the connection before it had answered."
_MAX_TEXT: Final = 512  # characters of a plain-text refusal that are handed on


def accept_value(key: str) -> str:
    """``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The apiserver said 101. ``early`` are bytes of frames that came with it."""

    subprotocol: str | None
    early: bytes


class Exchange:
    """One HTTP/1.1 request and its answer: feed what arrives, until there is a result.

    It is a GET, or with ``posted`` a POST of that JSON. Of a body, the first ``max_body`` bytes are kept; with
    ``head_only``, that of an answer with 2xx isn't touched.
    """

    def __init__(
        self,
        path: str,
        headers: Headers,
        *,
        max_body: int = _MAX_BODY,
        head_only: bool = False,
        posted: bytes | None = None,
    ) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._answer: h11.Response | None = None
        self._body = bytearray()
        self._max_body = max_body
        self._head_only = head_only
        # The name of a user whom it is made for may be any UTF-8.
        of_body = () if posted is None else (("Content-Type", "application/json"), ("Content-Length", str(len(posted))))
        sent = [(name.encode(), value.encode()) for name, value in (*headers, *of_body, ("User-Agent", USER_AGENT))]
        request = h11.Request(method="GET" if posted is None else "POST", target=path, headers=sent)
        self.request: bytes = self._http.send(request)
        if posted:
            self.request += self._http.send(h11.Data(data=posted))
        self.request += self._http.send(h11.EndOfMessage())

    def receive(self, data: bytes) -> h11.InformationalResponse | h11.Response | tuple[int, str, bytes] | None:
        """Feed bytes (none at the end of the connection).

        The result is the 101, or the head that alone is wanted, or status, content type and body of another answer;
        None while none of them is complete.
        Raises UpstreamProtocolError.
        """
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.InformationalResponse):
                    if event.status_code == 101:
                        return event
                elif isinstance(event, h11.Response):
                    self._answer = event
                    if self._head_only and 200 <= event.status_code <= 299:
                        return event
                elif isinstance(event, h11.Data):
                    self._body += event.data[: self._max_body - len(self._body)]
                elif isinstance(event, h11.EndOfMessage):
                    return self._finished()
                else:
                    raise UpstreamProtocolError(_CUT_OFF)
        except h11.RemoteProtocolError as error:
            text = "The apiserver's answer isn't HTTP." if data else _CUT_OFF
            raise UpstreamProtocolError(text, detail=str(error)) from error

    def retry_after(self) -> int | None:
        """Seconds to wait, where the answer says so in seconds (RFC 9110 §10.2.3)."""
        text = _value(self._answer.headers, b"retry-after") if self._answer else None
        return int(text) if text and re.fullmatch(r"[0-9]{1,6}", text) else None

    def early(self) -> bytes:
        """What came after the 101, or after the head."""
        return bytes(self._http.trailing_data[0])

    def _finished(self) -> tuple[int, str, bytes]:
        assert self._answer is not None
        content_type = _value(self._answer.headers, b"content-type") or ""
        return self._answer.status_code, content_type, bytes(self._body)


class Upgrade:
    """The upgrade request to ``path`` and the judgement of its answer.

    ``key`` is 16 random bytes in base64, ``more`` are further headers.
    """

    def __init__(
        self,
        path: str,
        *,
        host: str,
        key: str,
        authorization: str | None,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        more: Headers = (),
    ) -> None:
        self._key = key
        self._offered = subprotocols
        headers = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Protocol", ", ".join(subprotocols)),
        ]
        if authorization:
            headers.append(("Authorization", authorization))
        self._path = path
        self._headers = [*headers, *more]
        self._exchange: Exchange | None = None  # from where it takes h11
        self.request: bytes = request_head(path, [*self._headers, ("User-Agent", USER_AGENT)]) or self._by_h11().request

    def receive(self, data: bytes) -> Accepted | None:
        """Feed bytes (none at the end of the connection); None while the answer isn't complete.

        Raises UpstreamRefused for another status than 101, UpstreamProtocolError for what isn't a handshake.
        """
        if self._exchange is None and (answer := switched(data)) is not None:
            return self._accepted(*answer)
        exchange = self._by_h11()
        result = exchange.receive(data)
        if result is None:
            return None
        if isinstance(result, tuple):
            raise refusal(*result, retry_after=exchange.retry_after())
        return self._accepted(result.headers, exchange.early())

    def _by_h11(self) -> Exchange:
        if self._exchange is None:
            self._exchange = Exchange(self._path, self._headers)
        return self._exchange

    def _accepted(self, headers: Sequence[tuple[bytes, bytes]], early: bytes) -> Accepted:
        if (_value(headers, b"upgrade") or "").lower() != "websocket" or "upgrade" not in _tokens(
            _value(headers, b"connection")
        ):
            raise UpstreamProtocolError("The apiserver's 101 doesn't lead to WebSocket.")
        if _value(headers, b"sec-websocket-accept") != accept_value(self._key):
            raise UpstreamProtocolError("The apiserver's 101 has a wrong Sec-WebSocket-Accept.")
        if _value(headers, b"sec-websocket-extensions"):
            raise UpstreamProtocolError("The apiserver's 101 has an extension that nobody asked for.")
        subprotocol = _value(headers, b"sec-websocket-protocol") or None
        if subprotocol is not None and subprotocol not in self._offered:
            raise UpstreamProtocolError("The apiserver's 101 has a subprotocol that nobody offered.")
        if subprotocol is None and TUNNEL in self._offered:
            raise UpstreamProtocolError("The apiserver's 101 doesn't say that it will tunnel SPDY.")
        return Accepted(subprotocol, early)


def refusal(status: int, content_type: str, body: bytes, retry_after: int | None = None) -> UpstreamRefused:
    """What the apiserver said instead of 101: its Status's message, or its text, as one line for a person."""
    message = ""
    if content_type.startswith("application/json"):
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict) and isinstance(parsed.get("message"), str):
            message = parsed["message"]
    elif content_type.startswith("text/plain"):
        message = body.decode("utf-8", "replace")
    message = " ".join("".join(c if c.isprintable() else " " for c in message).split())[:_MAX_TEXT]
    return UpstreamRefused(
        message or f"The apiserver answered {status}.",
        status=status,
        content_type=content_type,
        body=body,
        retry_after=retry_after,
    )


def status_of(error: UpstreamError) -> bytes:
    """The failure as ``metav1.Status``: the apiserver's own where it sent one."""
    if isinstance(error, UpstreamRefused):
        if (status := parse_status(error.body)) is not None:
            return json.dumps(status).encode()
        if error.status == 429:  # in its own words, this is no Status
            return failure(str(error), reason="TooManyRequests", code=429, retry_after=error.retry_after)
    return failure(str(error), reason="InternalError", code=error.status)


def _value(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str | None:
    """All values of a header, joined as RFC 9110 §5.3 has it."""
    values = [value.decode("latin-1") for key, value in headers if key == name]
    return ", ".join(values) if values else None


def _tokens(value: str | None) -> set[str]:
    return {token.strip().lower() for token in (value or "").split(",")}
