"""TLS over one TCP connection, with an end that can be chosen: in order, cut off, or reset.

asyncio's own TLS can't close one direction, so that its close either loses what the client hasn't read or
waits for the client. A server of Go's kind sends close_notify and FIN at once; this one does too, and goes on
reading for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFERED = 65536  # bytes decrypted ahead of the reader
_LINGER = 5.0  # seconds in which the client may close its side, before the connection is closed over its head


class TlsStream(asyncio.Protocol):
    """The server's side of one connection, awaited. One reader; any number of writers."""

    def __init__(
        self, context: ssl.SSLContext, connected: Callable[[TlsStream], None], opened: Callable[[TlsStream], None]
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._connected = connected
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open = False  # the handshake is done
        self._buffer = bytearray()
        self._ended = False  # nothing more can be read
        self._finished = False  # nothing more will be written, and what comes is dropped
        self._lost = False
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._writable = True
        self._linger: asyncio.TimerHandle | None = None
        self.left: asyncio.Future[None] = self._loop.create_future()
        """Done when the client has closed its side, or the connection is lost."""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the socket is closed."""

    @property
    def client_certificate(self) -> dict[str, Any] | None:
        """The client's certificate in the form of `ssl.SSLSocket.getpeercert`, if it showed one."""
        return self._tls.getpeercert()

    @property
    def peer(self) -> str:
        """The client's address."""
        assert self._transport is not None
        return str(self._transport.get_extra_info("peername")[0])

    async def read(self, size: int) -> bytes:
        """At most `size` bytes; `b""` at the end, however it came about."""
        while not self._buffer and not self._ended:
            self._decrypt()
            if not self._buffer and not self._ended:
                await self._wait_for_input()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def discard(self) -> None:
        """Read and drop until the end."""
        while await self.read(_BUFFERED):
            pass

    def write(self, data: bytes) -> None:
        """Send, or buffer. After the end it is dropped."""
        if self._lost or self._finished:
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written.

        Raises ConnectionResetError if it never will.
        """
        while not self._lost and not self._writable:
            waiter = self._loop.create_future()
            self._writers.append(waiter)
            try:
                await waiter
            finally:
                self._writers.remove(waiter)
        if self._lost:
            raise ConnectionResetError("the client has left")

    def finish(self) -> None:
        """The end in order: close_notify and FIN behind what was written. What the client still sends is
        dropped.
        """
        if self._finished or self._transport is None:
            return
        if self._open:
            with contextlib.suppress(ssl.SSLError):  # it wants the client's answer, and nobody waits for that
                self._tls.unwrap()
            self._flush()
        self._finished = self._ended = True
        self._transport.resume_reading()  # to keep unread input from turning the close into a reset
        if not self._lost:
            with contextlib.suppress(OSError):  # the client was faster
                self._transport.write_eof()
            self._linger = self._loop.call_later(_LINGER, self._transport.close)

    def reset(self) -> None:
        """The end by a TCP RST. What lingers on our side is thrown away."""
        if self._transport is not None and not self._lost:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def abort(self) -> None:
        """The end at once, without a word: FIN, or RST if there is unread input."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: a client has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: ciphertext has come."""
        if self._finished:
            return
        self._incoming.write(data)
        if not self._open and not self._shake_hands():
            return
        if len(self._buffer) < _BUFFERED:
            self._decrypt()
        if len(self._buffer) >= _BUFFERED and self._transport is not None:
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        """Called by asyncio: the client has closed its side. What it sent before is still there to be read."""
        self._incoming.write_eof()
        self._leave()
        if self._finished:
            return False
        if not self._open:
            return False
        self._decrypt()
        self._wake_reader()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by asyncio: it is over."""
        self._lost = self._ended = True
        self._leave()
        self._wake_reader()
        self._wake_writers()
        if self._linger is not None:
            self._linger.cancel()
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Called by asyncio: the client is behind."""
        self._writable = False

    def resume_writing(self) -> None:
        """Called by asyncio: the client has caught up."""
        self._writable = True
        self._wake_writers()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError:
            self._flush()  # the alert that says why
            self.finish()
            return False
        self._open = True
        self._flush()
        self._opened(self)
        return True

    def _decrypt(self) -> None:
        """Fill the buffer from what has come; what doesn't fit stays encrypted."""
        while self._open and not self._ended and len(self._buffer) < _BUFFERED:
            try:
                data = self._tls.read(_BUFFERED)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:  # close_notify, an end without one, or garbage
                data = b""
            if not data:
                self._ended = True
            self._buffer += data
        self._flush()

    async def _wait_for_input(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())

    def _leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            if not waiter.done():
                waiter.set_result(None)
