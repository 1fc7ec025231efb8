"""One connected, non-blocking socket, plain or TLS, behind one face.

asyncio's own TLS transport keeps a 256 KiB buffer for each connection. So sockets are read and written directly here,
and the event loop only says when; TLS is done in memory that all connections share (``relay.tls``). What is read in a
turn has a bound in bytes of the wire: content may be anything from all of them to none.
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

from k8s_ws_proxy.wire.framing.tls_records import HEADER, RECORD, HandshakeRecords, HandshakeRefused, RecordCounter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.relay.tls import Tls

# Bytes of the wire that are read, and then opened, at once.
_FIRST_SLICE: Final = 4 * 1024
_SMALLEST_SLICE: Final = 2 * 1024
_LARGEST_SLICE: Final = 32 * 1024
_WIRE: Final = memoryview(bytearray(_LARGEST_SLICE))  # all connections': it is opened before the next one is read
# A server's answer to a ClientHello: seven KiB with three certificates of RSA keys of 4096 bits.
_FLIGHT: Final = 8 * 1024
_RECORDS_IN_A_FLIGHT: Final = 8
_SEAL: Final = 64 * 1024  # bytes of content that become records at once, and may have to wait as such
_MOST_ANSWERS: Final = 16 * 1024  # bytes that TLS itself wants to say: alerts, KeyUpdates in answer to others
_RECORDS_AT_ONCE: Final = 128
_WORTH_A_REST: Final = 16  # records in a row without content; an apiserver sends two session tickets by themselves
_FIRST_REST: Final = 0.01  # seconds; twice as long each time
_LONGEST_REST: Final = 1.0

# struct tcp_info of linux/tcp.h, as far as it is used here.
_TCP_INFO_SIZE: Final = 104
_CLOSE_WAIT: Final = 8
_CLOSED: Final = 7
# Seconds. A kernel whose window has just closed answers one probe of a quick series and leaves out the next ones
# (tcp_invalid_ratelimit): more than a second has been seen to pass so while the peer was well.
_PROBES_MAY_TAKE: Final = 3.0
_KEEPALIVE_PROBES: Final = 3
# linux/tcp.h, since Linux 6.15: at most so many milliseconds between two repetitions, or between two window probes.
_TCP_RTO_MAX_MS: Final = 44
_SHORTEST_RTO_MAX: Final = 1000  # what the kernel takes


class StreamLost(Exception):
    """The connection broke: reset, timed out, or TLS was cut off."""


class NothingSent(StreamLost):
    """... before the socket had taken a single byte of what was to be the first on it."""


class Stream:
    """A socket that never blocks. Reads and writes say None where they would have to wait.

    ``on_readable`` and ``on_writable`` register callbacks with the loop; passing None takes them back.
    """

    __slots__ = (
        "_barren",
        "_closed",
        "_fd",
        "_loop",
        "_lost",
        "_on_readable",
        "_pause",
        "_reading",
        "_records",
        "_slice",
        "_sock",
        "_tls",
        "_unsent",
        "_writing",
    )

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, tls: Tls | None = None) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # not a TCP socket
            # A keystroke is a segment of its own; waiting for more of them is what people feel.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._tls = tls
        self._loop = loop
        self._fd = sock.fileno()
        self._on_readable: Callable[[], None] | None = None
        self._reading = False
        self._writing = False
        self._closed = False
        self._lost = ""  # why there is nothing more to read, once that is known and wasn't told yet
        self._unsent = b""  # records that the socket hasn't taken
        self._slice = _FIRST_SLICE
        self._barren = 0  # slices in a row with hardly any content
        self._records = RecordCounter()
        self._pause: asyncio.TimerHandle | None = None

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS connection, if it is one, to be asked about certificates and sessions."""
        return self._tls.object if self._tls else None

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for asking it about names; reading and writing is this class's."""
        return self._sock

    @property
    def backlog(self) -> int:
        """Bytes that write() has taken and the socket hasn't."""
        return len(self._unsent)

    def read_into(self, view: memoryview, max_bytes: int | None = None) -> int | None:
        """Read up to ``max_bytes`` of the wire: the bytes of content in them, 0 at the end, None if it must wait.

        ``view`` must hold a TLS record, 16 KiB, more than ``max_bytes``, since the rest of one may have come before; by
        default it is filled as far as that lets it. What was read before an end or a break is returned first; the next
        call then says so. Raises StreamLost.
        """
        if self._tls is None:
            try:
                return self._sock.recv_into(view, len(view) if max_bytes is None else max_bytes)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise StreamLost(str(error)) from error
        return self._read_records(self._tls, view, len(view) - RECORD if max_bytes is None else max_bytes)

    def _read_records(self, tls: Tls, view: memoryview, max_bytes: int) -> int | None:
        """A slice of the wire after the other, as long as there is content in them (see _weigh())."""
        if self._lost:
            raise StreamLost(self._lost)
        if tls.ended:
            return 0
        filled = taken = 0
        going_on = True
        while going_on and taken < max_bytes:
            wanted = min(self._slice, max_bytes - taken)
            try:
                count = self._sock.recv_into(_WIRE, wanted)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._lost = str(error)
                break
            if not count:
                self._lost = "the connection ended without TLS's close_notify"
                break
            taken += count
            wire = _WIRE[:count]
            records = self._records.count(wire)
            content = tls.open(wire, view[filled:] if filled else view)
            self._lost = tls.broken
            filled += content
            if tls.answers:
                self._answer(tls)
            going_on = not (self._lost or tls.ended) and self._weigh(count, content, records) and count == wanted
        if self._lost or tls.ended:
            if not filled:
                return self._read_records(tls, view, max_bytes)  # which says so
            self._look_again()
        return filled or None

    def _weigh(self, count: int, content: int, records: int) -> bool:
        """Whether to go on after a slice of ``count`` bytes; how much to read next, and when.

        A record costs OpenSSL some microseconds, a KeyUpdate twenty (RFC 8446 §4.6.3), and the smallest of either is
        under 30 bytes. So slices grow while records are large, and shrink while they are small; and a connection whose
        records have hardly any content rests, ever longer.
        """
        if records * self._slice * 2 <= count * _RECORDS_AT_ONCE:
            self._slice = min(self._slice * 2, _LARGEST_SLICE)
        elif records * self._slice > count * _RECORDS_AT_ONCE:
            self._slice = max(self._slice // 2, _SMALLEST_SLICE)
        if content > records or records < _WORTH_A_REST:
            self._barren = 0
            return records <= _RECORDS_AT_ONCE
        self._barren += 1
        self._rest(min(_LONGEST_REST, _FIRST_REST * 2**self._barren))
        return False

    def _rest(self, seconds: float) -> None:
        """Read nothing for so long."""
        if self._pause is None and not self._closed:
            self._pause = self._loop.call_later(seconds, self._rested)
            self._register()

    def _rested(self) -> None:
        self._pause = None
        self._register()

    def _look_again(self) -> None:
        """There is more to tell, and the socket won't become readable for it."""
        self._loop.call_soon(self._tell_again)

    def _tell_again(self) -> None:
        if self._on_readable is not None and not self._closed:
            self._on_readable()

    def _answer(self, tls: Tls) -> None:
        """Send what TLS itself has to say. A peer that makes it say much and doesn't read is as good as lost."""
        self._unsent += tls.answers
        tls.answers = b""
        if len(self._unsent) > _SEAL + _MOST_ANSWERS:
            self._lost = "it makes TLS answer, and doesn't read the answers"
            return
        with contextlib.suppress(StreamLost):  # reading will say so
            self.flush()

    def write(self, view: bytes | memoryview) -> int | None:
        """Write what is taken: the bytes of ``view``, None if none. Of those, ``backlog`` may still have to be flushed.

        Raises StreamLost.
        """
        if self._tls is None:
            try:
                return self._sock.send(view)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise StreamLost(str(error)) from error
        done, size = 0, len(view)
        while done < size and (not self._unsent or self.flush()):
            part = view[done : done + _SEAL] if size > _SEAL else view
            try:
                self._unsent = self._tls.seal(part)
            except ssl.SSLError as error:
                raise StreamLost(str(error)) from error
            done += len(part)
        self.flush()
        return done or None

    def begin(self, view: memoryview) -> int:
        """As write(), of the first that is written after the handshake: the bytes of ``view`` taken.

        Raises NothingSent where the peer can't have got anything of it: who asks may ask somebody else then.
        """
        part = view[:_SEAL]
        try:
            sealed = self._tls.seal(part) if self._tls else part
            sent = self._sock.send(sealed)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:  # ssl's are some
            raise NothingSent(str(error)) from error
        if self._tls is None:
            return sent
        self._unsent = bytes(sealed[sent:])
        return len(part)

    def flush(self) -> bool:
        """Send what write() took: whether all of it is gone. Raises StreamLost."""
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                raise StreamLost(str(error)) from error
            self._unsent = self._unsent[sent:]
        return True

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """Have ``callback`` called whenever there is something to read."""
        if (callback is None) is (self._on_readable is None):
            return
        self._on_readable = callback
        self._register()
        if self._lost or (self._tls is not None and self._tls.ended):
            self._look_again()

    def _register(self) -> None:
        reading = self._on_readable is not None and self._pause is None and not self._closed
        if reading is self._reading:
            return
        self._reading = reading
        if reading:
            assert self._on_readable is not None
            self._loop.add_reader(self._fd, self._on_readable)
        else:
            self._loop.remove_reader(self._fd)

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

    async def handshake(self, turn: Callable[[], Awaitable[None]] | None = None) -> None:
        """Complete the TLS handshake, if this is to be TLS. Raises OSError, of which ssl's errors are some.

        ``turn`` is awaited before each step, which is one record of the peer's; without one a step is what has come.
        """
        tls = self._tls
        if tls is None:
            return
        records, data, done = HandshakeRecords(), b"", False
        there = 0  # bytes of data that the socket still has
        while not done:
            try:
                done = tls.shake_hands(data)
            finally:  # an alert, if it failed
                if there > tls.left:
                    with contextlib.suppress(OSError):
                        self._sock.recv(there - tls.left)
                self._unsent, tls.answers = self._unsent + tls.answers, b""
                with contextlib.suppress(StreamLost):
                    self.flush()
            while not self.flush():
                await self.writable()
            if done:
                break
            if turn is None:
                await self.readable()
                data = self._flight(records)
                there = len(data)
            if turn is not None or not data:
                data, there = await self._record(records), 0
            if turn is not None:
                await turn()

    def _flight(self, records: HandshakeRecords) -> bytes:
        """The whole records that have come, a few at most. They stay in the socket: some may be the session's already.

        Raises OSError.
        """
        try:
            seen = self._sock.recv(_FLIGHT, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return b""
        end = 0
        for _ in range(_RECORDS_IN_A_FLIGHT):
            body = end + HEADER
            stop = body + int.from_bytes(seen[end + 3 : body])
            if body > len(seen) or stop > len(seen):
                break
            _take(records, seen[end:body])
            _take(records, seen[body:stop])
            end = stop
        return seen[:end]

    async def _record(self, records: HandshakeRecords) -> bytes:
        """The next record of the peer's handshake. Raises OSError."""
        record = b""
        while True:
            try:
                data = self._sock.recv(records.want)
            except (BlockingIOError, InterruptedError):
                await self.readable()
                continue
            if not data:
                raise ConnectionResetError("the connection ended in the TLS handshake")
            _take(records, data)
            record += data
            if records.between:
                return record

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

    def bound_queue(self, count: int) -> None:
        """Let the kernel hold so many bytes that it hasn't sent yet (tcp(7), TCP_NOTSENT_LOWAT); its buffer may be MiB.

        What waits there is what a person still sees after Ctrl-C.
        """
        with contextlib.suppress(OSError):  # not a TCP socket
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, count)

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
            return not self._sock.recv(RECORD)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def end_output(self) -> None:
        """Tell the peer that nothing more will come: TLS's close_notify, then a FIN."""
        with contextlib.suppress(OSError, StreamLost):
            if self._tls is not None:
                self._unsent += self._tls.say_goodbye()
                self.flush()
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket and forget it in the loop."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self.on_readable(None)
        self.on_writable(None)
        self._unsent = b""
        self._sock.close()


def _take(records: HandshakeRecords, data: bytes) -> None:
    """Look at ``data``. Raises ConnectionAbortedError.

    Not an ssl.SSLError: nothing was said to the peer that it should have time to read.
    """
    try:
        records.take(data)
    except HandshakeRefused as error:
        raise ConnectionAbortedError(str(error)) from error
