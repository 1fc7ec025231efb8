"""One connected, non-blocking socket, plain or TLS, behind one face.

asyncio's own TLS transport keeps a 256 KiB buffer for each connection and copies every byte twice; a non-blocking
``ssl.SSLSocket`` keeps none. So sockets are read and written directly here, and the event loop only says when.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# struct tcp_info of linux/tcp.h, as far as it is used here.
_TCP_INFO_SIZE: Final = 104
_CLOSE_WAIT: Final = 8
_CLOSED: Final = 7
_TLS_RECORD: Final = 16384  # bytes: RFC 8446 §5.1
# Seconds. A kernel whose window has just closed answers one probe of a quick series and leaves out the next ones
# (tcp_invalid_ratelimit): more than a second has been seen to pass so while the peer was well.
_PROBES_MAY_TAKE: Final = 3.0
_KEEPALIVE_PROBES: Final = 3
# linux/tcp.h, since Linux 6.15: at most so many milliseconds between two repetitions, or between two window probes.
_TCP_RTO_MAX_MS: Final = 44
_SHORTEST_RTO_MAX: Final = 1000  # what the kernel takes


class StreamLost(Exception):
    """The connection broke: reset, timed out, or TLS was cut off."""


class Stream:
    """A socket that never blocks. Reads and writes say None where they would have to wait.

    ``on_readable`` and ``on_writable`` register callbacks with the loop; passing None takes them back.
    """

    __slots__ = ("_closed", "_fd", "_loop", "_reading", "_sock", "_tls", "_writing")

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # not a TCP socket
            # A keystroke is a segment of its own; waiting for more of them is what people feel.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._loop = loop
        self._fd = sock.fileno()
        self._reading = False
        self._writing = False
        self._closed = False

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The TLS socket, if it is one."""
        return self._tls

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for asking it about names; reading and writing is this class's."""
        return self._sock

    def read_into(self, view: memoryview) -> int | None:
        """Read until ``view`` is full or nothing is there: the bytes read, 0 at the end, None if it must wait.

        ``view`` must hold a TLS record, 16 KiB. What was read before an end or a break is returned first; the next
        call then says so. Raises StreamLost.
        """
        if self._tls is None:
            try:
                return self._sock.recv_into(view)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise StreamLost(str(error)) from error
        filled = 0
        try:
            # A TLS read yields one record at most; the block is worth filling before it is looked at. A record is
            # never taken in part: the rest would wait inside OpenSSL, where the event loop doesn't see it.
            read, last = self._tls.read, len(view) - _TLS_RECORD
            while filled <= last:
                count: int = read(_TLS_RECORD, view[filled:])  # type: ignore[assignment]  # with a buffer
                if count == 0:
                    return filled
                filled += count
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return filled or None
        except ssl.SSLZeroReturnError:
            return filled
        except ssl.SSLEOFError as error:
            if filled:
                return filled
            raise StreamLost("the connection ended without TLS's close_notify") from error
        except OSError as error:
            if filled:
                return filled
            raise StreamLost(str(error)) from error
        return filled

    def write(self, view: bytes | memoryview) -> int | None:
        """Write what the socket takes: the bytes taken, None if it must wait.

        With TLS that is all or, as far as is told, nothing: OpenSSL knows how far it came, and what is repeated as it
        is goes on from there. Raises StreamLost.
        """
        try:
            return self._sock.send(view) if self._tls is None else self._tls.write(view)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise StreamLost(str(error)) from error

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """Have ``callback`` called whenever there is something to read."""
        if callback is not None:
            if not self._reading and not self._closed:
                self._loop.add_reader(self._fd, callback)
                self._reading = True
        elif self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def on_writable(self, callback: Callable[[], None] | None) -> None:
        """Have ``callback`` called whenever something can be written."""
        if callback is not None:
            if not self._writing and not self._closed:
                self._loop.add_writer(self._fd, callback)
                self._writing = True
        elif self._writing:
            self._loop.remove_writer(self._fd)
            self._writing = False

    async def readable(self) -> None:
        """Wait until there is something to read."""
        await self._ready(self.on_readable)

    async def writable(self) -> None:
        """Wait until something can be written."""
        await self._ready(self.on_writable)

    async def _ready(self, register: Callable[[Callable[[], None] | None], None]) -> None:
        waiter = self._loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        register(wake)
        try:
            await waiter
        finally:
            register(None)

    async def handshake(self) -> None:
        """Complete the TLS handshake, if this is a TLS socket. Raises ssl.SSLError or OSError."""
        if self._tls is None:
            return
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.readable()
            except ssl.SSLWantWriteError:
                await self.writable()
            else:
                return

    def keep_alive(self, seconds: float) -> None:
        """Have the kernel ask a silent peer, and break the connection if none answers, within twice ``seconds``.

        (tcp(7), which counts whole seconds.) For a leg that has no pings.
        """
        idle = max(1, round(seconds))
        between = max(1, idle // _KEEPALIVE_PROBES)
        with contextlib.suppress(OSError):  # not a TCP socket
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)

    def peer_gone(self) -> bool:
        """The peer has closed or reset, even if bytes of its own still wait to be read (tcp(7), TCP_INFO)."""
        return self._tcp_info()[0] in (_CLOSE_WAIT, _CLOSED)

    def unsent(self) -> bool:
        """The kernel holds bytes that the peer's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
        if self._closed:
            return False
        queued = array.array("i", [0])
        try:
            fcntl.ioctl(self._fd, termios.TIOCOUTQ, queued)
        except OSError:
            return False
        return queued[0] > 0

    def unanswered(self, seconds: float, *, under_way: bool) -> bool:
        """What the kernel repeated, or probed for, wasn't answered, and nothing was acknowledged for ``seconds``.

        ``under_way``: there were bytes to be acknowledged all that time. Of others this says nothing.
        """
        _state, retransmits, probes, last_ack = self._tcp_info()
        if retransmits:
            return under_way and last_ack >= seconds * 1000
        # One probe may just have gone out, long after the last: it takes another to know that it wasn't answered.
        return probes > 1 and last_ack >= max(seconds, _PROBES_MAY_TAKE) * 1000

    def repeat_within(self, seconds: float) -> None:
        """Have the kernel repeat and probe at least so often, if it knows how; else it may let two minutes pass."""
        with contextlib.suppress(OSError):
            milliseconds = max(_SHORTEST_RTO_MAX, int(seconds * 1000))
            self._sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, milliseconds)

    def _tcp_info(self) -> tuple[int, int, int, int]:
        """State, unanswered retransmissions, unanswered probes, ms since the last acknowledgement."""
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except OSError:
            return _CLOSED, 0, 0, 0
        state, _ca_state, retransmits, probes = info[:4]
        (last_ack,) = struct.unpack_from("=I", info, 56)
        return state, retransmits, probes, last_ack

    def discard(self) -> bool:
        """Throw away what has come, whatever it is, beneath TLS: that has failed. Whether nothing more will come."""
        try:
            while socket.socket.recv(self._sock, _TLS_RECORD):
                pass
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            pass
        return True

    def end_output(self) -> None:
        """Tell the peer that nothing more will come: TLS's close_notify, then a FIN."""
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                self._tls.unwrap()
                self._tls = None  # the peer had said so first: what still comes isn't TLS, and isn't looked at
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: it would drop the TLS state, and what the peer still says is discarded anyway.
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket and forget it in the loop."""
        if self._closed:
            return
        self._closed = True
        self.on_readable(None)
        self.on_writable(None)
        self._sock.close()
