"""asyncio.Transport over a Stream: aiohttp parses the request on it, then the session takes the stream away.

asyncio's own transports don't give their socket back, and its TLS one costs 256 KiB a connection
(``relay.stream``). Requests and answers here are small; nothing in this file is on a session's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.observe.log_limit import LogLimit
from k8s_ws_proxy.relay.stream import Stream, StreamLost
from k8s_ws_proxy.wire.http.head import Head

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from k8s_ws_proxy.web.pending import PendingConnections
    from k8s_ws_proxy.wire.framing.splitter import Block

_REFUSED: Final = LogLimit("more requests refused")
MAX_LINE: Final = 128 * 1024  # bytes of a request line: a command's arguments stand in it
MAX_HEADER: Final = 16 * 1024  # bytes of one header
_MAX_HEAD: Final = MAX_LINE + 2 * MAX_HEADER  # bytes of all of it; aiohttp bounds the two above, not their sum
_READ: Final = 16 * 1024  # bytes of the wire in a turn
LINGER: Final = 1.0  # seconds for a refused caller to read its answer before the socket closes
_FORGET: Final = struct.pack("ii", 1, 0)  # struct linger (socket(7)): on, for no time
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_WATCH: Final = 0.5  # seconds between looks at a client that isn't being read


def bare_answer(reason: Reason, text: str) -> bytes:
    """A refusal for a connection that has no request that could be answered."""
    decided = reason.rule
    body = json.dumps({"error": text, "reason": reason.value}).encode()
    head = [
        f"HTTP/1.1 {decided.status} {HTTPStatus(decided.status).phrase}",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        *([] if decided.retry_after is None else [f"Retry-After: {decided.retry_after}"]),
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def evicted() -> bytes:
    """For one that has to go since others come."""
    return bare_answer(
        Reason.TOO_MANY_CONNECTIONS, "Too many connect at once: this one had to go. Try again in a moment."
    )


class StreamTransport(asyncio.Transport):
    """A connection while it is still HTTP.

    A request must be complete ``head_timeout`` seconds after its first byte, and an answer taken as long after it was
    written. It is in ``pending`` until its caller is known; whoever was known and has been answered is in ``idle``.
    ``on_closed`` is called when the transport is done with the stream, closed or handed on.
    """

    def __init__(
        self,
        stream: Stream,
        protocol: asyncio.Protocol,
        *,
        loop: asyncio.AbstractEventLoop,
        block: Block,
        head_timeout: float,
        pending: PendingConnections,
        idle: PendingConnections,
        on_closed: Callable[[StreamTransport], None],
    ) -> None:
        super().__init__()
        self._stream = stream
        self._protocol = protocol
        self._loop = loop
        self._block = block
        self._head_timeout = head_timeout
        self._pending = pending
        self._idle = idle
        self._on_closed = on_closed
        self._outbox = bytearray()
        self._closing = False
        self._lost = False
        self._detached = False
        self._paused = False
        self._watching: asyncio.TimerHandle | None = None
        self._writing_paused = False
        self._head: Head | None = Head()  # None while a request is being handled
        self._held = 0  # bytes of the request so far, with what came after its head
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._answered = False
        self._last = False  # the answer under way is the last one, and takes its time
        self._put_off = False  # it waits for its turn to be read
        self._first_byte_at: float | None = None
        pending.enter(self, self.evict)
        protocol.connection_made(self)
        if not self._closing:
            stream.on_readable(self._readable)

    def request_began(self) -> float:
        """The loop's time at the first byte of the request that is being handled; its head is complete."""
        began = self._first_byte_at
        self._first_byte_at = None
        self._head = None
        self._drop_head_timer()
        return self._loop.time() if began is None else began

    def caller_known(self) -> None:
        """The credential is accepted."""
        self._pending.leave(self)
        self._pending = self._idle
        self._pending.leave(self)

    def ask_for_body(self) -> None:
        """Have the client send it that waits to be told so (RFC 9110 §10.1.1). What comes is still of this request."""
        if not self._closing and not self._detached:
            self._send(_CONTINUE)

    def answers_last(self, keepalive: float) -> None:
        """The answer to this request may take for ever, and there is none after it: what else comes is dropped.

        It has no place among those that wait for their next request. A peer that is gone is noticed by the kernel,
        which asks it after ``keepalive`` seconds of silence.
        """
        self._last = True
        self._stream.keep_alive(keepalive)

    def bound_queue(self, size: int) -> None:
        """Let the kernel hold no more than about ``size`` bytes of an answer."""
        self._stream.bound_queue(size)

    def unsent(self) -> bool:
        """The peer hasn't all of what was written, and is still there."""
        return not self._lost and (self._unwritten or self._stream.unsent())

    def reset(self) -> None:
        """Close now, and have the kernel forget what it holds for the peer."""
        if not self._lost and not self._detached:
            with contextlib.suppress(OSError):
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
        self._lose(None)

    def evict(self) -> None:
        """Somebody else needs the place. What can be told is told at once: nothing is kept for it.

        Where no request has begun since the last answer there is nobody to tell it to.
        """
        idle = self._answered and self._first_byte_at is None
        if not self._closing and not self._outbox and not idle:
            with contextlib.suppress(StreamLost):
                self._stream.write(evicted())
        self._lose(None)

    def detach(self) -> Stream:
        """Hand the stream on. To aiohttp the connection is lost as soon as it closes it."""
        assert not self._closing, "a closed connection can't become a session"
        assert not self._outbox, "an answer is still under way"
        self._detached = True
        self._stream.on_readable(None)
        self._stream.on_writable(None)
        self._drop_head_timer()
        return self._stream

    def _readable(self) -> None:
        if self._head is not None and self._head.size and not self._closing:
            if self._put_off:
                return
            if not self._pending.may_read(self._read_on):
                self._put_off = True
                self._stream.on_readable(None)
                return
        self._read()

    def _read_on(self) -> None:
        """It has had to wait for its turn."""
        self._put_off = False
        if not self._paused and not self._detached and not self._lost:
            self._stream.on_readable(self._readable)
            self._read()

    def _read(self) -> None:
        try:
            count = self._stream.read_into(self._block.view, _READ)
        except StreamLost as error:
            self._lose(error)
            return
        if count is None:
            # Something came all the same, beneath TLS: whoever sends only such things has no longer than others.
            self._start_head_timer()
            return
        if self._closing:
            if count == 0:
                self._lose(None)
            return
        if count == 0:
            self._protocol.eof_received()
            self._lose(None)
            return
        if self._last:
            return
        data = bytes(self._block.view[:count])
        if not self._fits(data):
            return
        if self._first_byte_at is None:
            self._first_byte_at = self._loop.time()
        self._start_head_timer()
        self._protocol.data_received(data)

    def _start_head_timer(self) -> None:
        if self._head_timer is None and self._head is not None and not self._closing:
            self._head_timer = self._loop.call_later(self._head_timeout, self._head_overdue)

    def _fits(self, data: bytes) -> bool:
        """Whether the parser may have ``data``: there is room for the request that it is of.

        A body, its trailers too, is read of whoever isn't known yet: a signature is good once it has come.
        """
        if (head := self._head) is None:
            self._held += len(data)
        else:
            head.feed(data)
            self._held = head.size
        self._pending.holds(self, self._held)
        if self._closing:  # there was none, and this was the one to go
            return False
        if head is None or head.size <= _MAX_HEAD:
            return True
        text = f"The request's head is too long: {_MAX_HEAD // 1024} KiB is the most for its line and headers together."
        self._refuse(Reason.MALFORMED_REQUEST, text, detail=f"a head over {_MAX_HEAD} bytes")
        return False

    def _head_overdue(self) -> None:
        self._head_timer = None
        self._refuse(Reason.REQUEST_TIMEOUT, "The request was not complete in time: send its head at once.")

    def _refuse(self, reason: Reason, text: str, **facts: str) -> None:
        """Answer what isn't a request yet."""
        peer = address_of(self.get_extra_info("peername"))
        status = reason.rule.status
        if _REFUSED.allows(reason.value):
            logger().info("request refused", reason=reason.value, status=status, peer=peer, **facts)
        metrics.REFUSALS.labels(reason.value).inc()
        self.write(bare_answer(reason, text))
        self.close()

    def _writable(self) -> None:
        try:
            if not self._flushed():
                return
        except StreamLost as error:
            self._lose(error)
            return
        self._keep_place()
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
        if self._writing_paused:
            self._writing_paused = False
            self._stream.on_writable(None)
            self._protocol.resume_writing()
        if self._closing:
            self._end_output()

    def _flushed(self) -> bool:
        """Whether the socket has taken all that was written. Raises StreamLost."""
        while self._outbox:
            count = self._stream.write(bytes(self._outbox))
            if count is None:
                return False
            del self._outbox[:count]
        return self._stream.flush()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` after what waits already."""
        if self._closing or self._detached:
            return
        if self._head is None and not self._last:
            self._head = Head()  # what comes after an answer is the next request
            self._answered = True
            self._pending.enter(self, self.evict)
            # The parser keeps the head that was answered until there is another, or the connection is gone.
            self._pending.holds(self, min(self._held, _MAX_HEAD))
            if self._closing:
                return
        self._send(data)

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        self._outbox += data
        if self._answer_timer is None:
            self._writable()
            if self._unwritten and not self._closing:
                self._answer_timer = self._loop.call_later(self._head_timeout, self._lose, None)
                self._writing_paused = True
                self._protocol.pause_writing()
                self._stream.on_writable(self._writable)
                self._keep_place()

    def _keep_place(self) -> None:
        """Of who was known, nobody is sent away in the middle of an answer because others have theirs."""
        if self._pending is self._idle and self._answered:
            self._pending.answers(self, under_way=self._unwritten)

    @property
    def _unwritten(self) -> bool:
        return bool(self._outbox or self._stream.backlog)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of it."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Send what waits, then close; a stream that was handed on stays open."""
        if self._detached:
            self._lose(None)
            return
        if self._closing:
            return
        self._closing = True
        self._drop_head_timer()
        if not self._unwritten:
            self._end_output()

    def abort(self) -> None:
        """Close now."""
        self._lose(None)

    def _end_output(self) -> None:
        """Closing over bytes that nobody read would reset the connection, and the answer with it."""
        self._stream.end_output()
        self._stream.on_readable(self._readable)
        # Whoever is gone before that must not be kept for the rest of it: nothing counts them any more.
        self._linger = self._loop.call_later(LINGER, self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._drop_head_timer()
        for timer in (self._answer_timer, self._linger):
            if timer is not None:
                timer.cancel()
        if not self._detached:
            self._stream.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
        self._pending.leave(self)
        self._on_closed(self)

    def _drop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def is_closing(self) -> bool:
        """Nothing can be written any more."""
        return self._closing or self._detached

    def is_reading(self) -> bool:
        """Bytes are being delivered."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Deliver nothing for now."""
        self._paused = True
        if not self._detached:
            self._stream.on_readable(None)
            if self._watching is None:
                self._watching = self._loop.call_later(_WATCH, self._watch)

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        if not self._detached and not self._closing:
            self._stream.on_readable(self._readable)

    def _watch(self) -> None:
        """Who sends much before its 101 isn't read any more, and so can't be seen to leave: ask the kernel."""
        self._watching = None
        if not self._paused or self._closing or self._detached:
            return
        if self._stream.peer_gone():
            self._lose(None)
        else:
            self._watching = self._loop.call_later(_WATCH, self._watch)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``socket``, ``peername``, ``sockname``, ``peercert``, ``sslcontext``."""
        tls = self._stream.tls
        match name:
            case "socket":
                return self._stream.socket
            case "peername" | "sockname":
                return self._name(name)
            case "sslcontext":
                return tls.context if tls else default
            case "peercert":
                return _certificate(tls) if tls else default
        return default

    def _name(self, name: str) -> Any:
        try:
            return self._stream.socket.getpeername() if name == "peername" else self._stream.socket.getsockname()
        except OSError:
            return None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to ``protocol`` from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Where bytes are delivered."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be written."""
        return len(self._outbox) + self._stream.backlog

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Answers are small: whatever the socket doesn't take at once pauses the writer."""

    def can_write_eof(self) -> bool:
        """HTTP/1.1 has no use for it."""
        return False


def _certificate(tls: ssl.SSLObject) -> Any:
    """As ``getpeercert()``; but one that was presented stays one if its names aren't UTF-8, which raises there."""
    try:
        return tls.getpeercert()
    except ValueError as error:
        return {"unreadable": str(error)}


def address_of(name: tuple[Any, ...] | None) -> str:
    """The address in a socket's name: an IPv4 one as such, also on a socket for both (RFC 4291 §2.5.5.2)."""
    return str(name[0]).removeprefix("::ffff:") if name else "?"
