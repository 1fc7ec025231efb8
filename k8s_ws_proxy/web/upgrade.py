"""The server's side of the WebSocket handshake (RFC 6455 §4.2) on a request that aiohttp parsed."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.web.transport import StreamTransport
from k8s_ws_proxy.wire.framing.channels import choose_subprotocol
from k8s_ws_proxy.wire.http.handshake import accept_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDictProxy

    from k8s_ws_proxy.relay.stream import Stream


# RFC 3986 §3.2.2, loosely: nothing that could be taken for a user, a path or a second host.
_HOST: Final = re.compile(r"(\[[0-9A-Za-z:.%~_-]+\]|[!$&'()*+,;=%~._0-9A-Za-z-]*)(:[0-9]*)?")
SESSION_HEADER: Final = "X-Session-Id"
"""Of every answer to a request that got a session's slot: its id, which is also in our log and the apiserver's."""
_OF_A_BODY: Final = ("Transfer-Encoding", "Expect")
# RFC 9110 §8.6: better not sent where there is no content; but java.net.http does before JDK 19, and Envoy before 1.24.
_LENGTHS: Final[tuple[list[str], ...]] = ([], ["0"])


@dataclass(frozen=True, slots=True)
class Offer:
    """A valid upgrade request. ``subprotocol`` is the one chosen, None if none was offered."""

    key: str
    subprotocol: str | None

    def switching(self, session: str = "") -> bytes:
        """The 101 for ``session``. No extension is ever accepted: frames go through as they are."""
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_value(self.key)}",
        ]
        if self.subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        if session:
            lines.append(f"{SESSION_HEADER}: {session}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def asks_for_websocket(request: web.BaseRequest) -> bool:
    """It does, whether as it should or not."""
    return "websocket" in _tokens(request.headers.getall("Upgrade", []))


def parse_offer(request: web.BaseRequest, spoken: Sequence[str]) -> Offer:
    """The upgrade that ``request`` asks for, on a route where the subprotocols ``spoken`` are.

    Raises Refusal: ``method_not_allowed``, ``upgrade_required``, ``bad_handshake`` or ``unknown_subprotocol``.
    """
    headers = request.headers
    if request.method != "GET":
        raise Refusal(Reason.METHOD_NOT_ALLOWED, "Sessions are opened by GET, as a WebSocket upgrade.")
    if (
        not asks_for_websocket(request)
        or "upgrade" not in _tokens(headers.getall("Connection", []))
        or headers.getall("Sec-WebSocket-Version", []) != ["13"]
    ):
        raise Refusal(Reason.UPGRADE_REQUIRED, "This path speaks WebSocket only (version 13): ask for an upgrade.")
    # A coding that aiohttp doesn't know is no body to it (RFC 9112 §6.1 lets us refuse), nor is a length of 00; what
    # stands between may see it otherwise.
    if (
        request.version != (1, 1)
        or request.body_exists
        or headers.getall("Content-Length", []) not in _LENGTHS
        or any(name in headers for name in _OF_A_BODY)
    ):
        raise Refusal(
            Reason.BAD_HANDSHAKE,
            "A WebSocket upgrade is an HTTP/1.1 GET without a body: no Transfer-Encoding, no Expect, and no "
            "Content-Length but 0.",
        )
    if not _HOST.fullmatch(headers.get("Host", "")):
        raise Refusal(Reason.BAD_HANDSHAKE, "The Host header must be a host's name or address, and perhaps a port.")
    keys = headers.getall("Sec-WebSocket-Key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refusal(Reason.BAD_HANDSHAKE, "Sec-WebSocket-Key must be 16 bytes in base64, once.")
    offered = offered_subprotocols(headers)
    chosen = choose_subprotocol(offered, spoken)
    if offered and chosen is None:
        raise Refusal(
            Reason.UNKNOWN_SUBPROTOCOL, f"None of the subprotocols offered is spoken here: {', '.join(spoken)}."
        )
    return Offer(keys[0], chosen)


def offered_subprotocols(headers: CIMultiDictProxy[str]) -> list[str]:
    """Those of all the headers, in order (RFC 6455 §11.3.4). A browser has no other place for a credential."""
    return [name for value in headers.getall("Sec-WebSocket-Protocol", []) for name in _list(value)]


class Hijacked(web.Response):
    """What a handler returns after the connection has become a session: nothing is written."""

    async def prepare(self, request: web.BaseRequest) -> None:  # noqa: ARG002 - aiohttp's signature
        """Nothing."""
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing."""


def hijack(request: web.BaseRequest) -> tuple[Stream, bytes] | None:
    """The request's connection, for good, and the bytes that came after its head; None if the client has left.

    (It may have done so in this very turn of the loop, before aiohttp could cancel the handler.)
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return None
    assert isinstance(transport, StreamTransport)
    early = _Early()
    # aiohttp gives whoever parses the upgraded protocol what it has read of it already; here that is nobody.
    request.protocol.set_parser(cast("Any", early))
    return transport.detach(), bytes(early.data)


class _Early:
    """Stands where aiohttp expects a WebSocket parser."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The connection is lost to aiohttp."""


def _is_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _tokens(values: list[str]) -> set[str]:
    return {token.lower() for value in values for token in _list(value)}


def _list(value: str) -> list[str]:
    return [item for part in value.split(",") if (item := part.strip())]
