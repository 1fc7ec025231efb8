"""The WebSocket side of a stream: the handshake's rules as the apiserver has them, then frames over a
connection.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from websockets.exceptions import PayloadTooBig
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from k8s_ws_proxy.devcluster.faults import Death
from k8s_ws_proxy.devcluster.http import Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from k8s_ws_proxy.devcluster.codec import Subprotocol
    from k8s_ws_proxy.devcluster.faults import Die
    from k8s_ws_proxy.devcluster.tls import TlsStream

MAX_MESSAGE = 32 << 20
"""Bytes of one client message; a longer one drops the connection (docs/observed.md, "Frames")."""
MAX_DATA = 32768
"""Bytes of data in one server message, which is thus at most 32,769 bytes long."""
_CHUNK = 65536
_SILENT = logging.getLogger("k8s_ws_proxy.devcluster.websocket")
_SILENT.disabled = True  # it would say of every connection that it has been closed


@dataclass(frozen=True, slots=True)
class Accepted:
    """A handshake that is answered with 101."""

    headers: tuple[tuple[str, str], ...]
    subprotocol: Subprotocol


def handshake(request: Request, choose: Callable[[list[str]], Subprotocol | None]) -> Accepted | Response:
    """What the 101 says, or the refusal in the form golang.org/x/net/websocket gives it; `choose` takes the offer.

    `Origin` is ignored and no extension is ever negotiated.
    """
    if request.header("sec-websocket-version") != "13":
        spoken = (("Sec-WebSocket-Version", "13"),)
        return Response(400, b"missing or bad WebSocket Version", headers=spoken, bare=True)
    key = request.header("sec-websocket-key")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        return Response(400, b"mismatch challenge/response", bare=True)
    subprotocol = choose(request.listed("sec-websocket-protocol"))
    if subprotocol is None:
        return Response(403, bare=True)
    headers = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
        ("Sec-WebSocket-Protocol", subprotocol.name),
    )
    return Accepted(headers, subprotocol)


class ClientLeft(Exception):
    """There is nobody to send to any more."""


class WebSocket:
    """Messages over a connection that has been upgraded. Fragments are not put together, as upstream doesn't."""

    def __init__(
        self,
        stream: TlsStream,
        subprotocol: Subprotocol,
        early: bytes = b"",
        death: Die | None = None,
    ) -> None:
        self._stream = stream
        self._death = death
        self._sent = 0
        self.subprotocol = subprotocol
        self._protocol = ServerProtocol(state=OPEN, max_size=(None, MAX_MESSAGE), logger=_SILENT)
        self._early = early

    @property
    def dropped(self) -> bool:
        """Whether the connection ended without a close frame from either side."""
        return self._protocol.close_rcvd is None and self._protocol.close_sent is None

    async def messages(self) -> AsyncIterator[bytes | bytearray]:
        """The payload of each data frame, until the client has left or has broken the protocol.

        Nothing more is read from the connection while a message is being dealt with.
        """
        while self._protocol.state is OPEN:
            data = self._early or await self._stream.read(_CHUNK)
            self._early = b""
            if not data:
                return
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                    assert not isinstance(event.data, memoryview)
                    yield event.data
            if isinstance(self._protocol.parser_exc, PayloadTooBig):
                self._protocol.data_to_send()  # dropped without a word
            with contextlib.suppress(ClientLeft):
                await self._flush()  # pongs, the answer to a close frame, the complaint about a bad one

    async def send(self, channel: int, data: bytes) -> None:
        """One message; waits as long as the client doesn't take it.

        Raises ClientLeft if it can't be sent any more.
        """
        if self._protocol.state is not OPEN:
            raise ClientLeft
        self._protocol.send_binary(self.subprotocol.encode(channel, data))
        await self._flush()

    async def close(self) -> None:
        """A close frame with 1000 and an empty reason, if none was sent yet.

        Raises ClientLeft if it can't be sent any more.
        """
        if self._protocol.state is OPEN:
            self._protocol.send_close(1000)
            await self._flush()

    async def die_at_once(self) -> None:
        """Where the death that was ordered comes before the first byte.

        Raises ClientLeft then.
        """
        if self._death is not None and self._death.sent == 0:
            await self._write(b"")

    async def _flush(self) -> None:
        if frames := self._protocol.data_to_send():
            await self._write(b"".join(frames))

    async def _write(self, data: bytes) -> None:
        death = self._death
        if death is not None and self._sent + len(data) >= death.sent:
            self._stream.write(data[: death.sent - self._sent])
            self._die(death)
            raise ClientLeft
        self._sent += len(data)
        self._stream.write(data)
        try:
            await self._stream.drain()
        except ConnectionError as exc:
            raise ClientLeft from exc

    def _die(self, death: Die) -> None:
        if death.how is Death.RESET:
            self._stream.reset()
        else:
            self._stream.finish()
