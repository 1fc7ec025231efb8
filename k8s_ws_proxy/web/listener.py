"""Listening sockets: accept, shake hands if TLS, give the connection to aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.observe.log_limit import LogLimit
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.relay.tls import Tls
from k8s_ws_proxy.web.silent import SilentConnections
from k8s_ws_proxy.web.transport import LINGER, StreamTransport, address_of, bare_answer, evicted

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.settings import Address
    from k8s_ws_proxy.web.handshakes import Handshakes
    from k8s_ws_proxy.web.pending import PendingConnections
    from k8s_ws_proxy.wire.framing.splitter import Block

HANDSHAKES: Final = LogLimit("more TLS handshakes failed")
_BACKLOG: Final = 1024
_ACCEPT_AT_ONCE: Final = 128  # connections in one turn of the loop
_SILENT: Final = 75.0  # seconds that a connection may say nothing, as between two requests
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_PAUSE: Final = 0.25  # seconds
_READ: Final = 64 * 1024  # bytes
_READS: Final = 16  # of what a peer goes on to send after its handshake has failed, 16 KiB each


def bind(address: Address) -> socket.socket:
    """A listening socket on ``address``; no host means every interface, IPv6 and IPv4. Raises OSError."""
    if not address.host and socket.has_dualstack_ipv6():
        return socket.create_server(("", address.port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)


class Listener:
    """One listening socket. ``tls`` is asked for the context of each new connection, so that it can be replaced."""

    def __init__(
        self,
        sock: socket.socket,
        new_protocol: Callable[[], asyncio.Protocol],
        *,
        loop: asyncio.AbstractEventLoop,
        block: Block,
        head_timeout: float,
        pending: PendingConnections,
        idle: PendingConnections,
        handshakes: Handshakes,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._new_protocol = new_protocol
        self._loop = loop
        self._block = block
        self._head_timeout = head_timeout
        self._pending = pending
        self._idle = idle
        self._handshakes = handshakes
        self._tls = tls
        self._silent = SilentConnections(
            loop,
            pending,
            speaks=self._speaks,
            farewell=evicted if tls is None else bytes,
            patience=_SILENT if tls is None else head_timeout,
        )
        self._connections: set[StreamTransport] = set()
        self._spare: int | None = None  # a descriptor, given up for a moment when there is no other one left
        self._keep_spare()
        loop.add_reader(sock.fileno(), self._accept)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._sock.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening, and close every connection that isn't a session."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._give_up_spare()
        self._silent.close()
        for connection in list(self._connections):
            connection.abort()

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._turn_away(str(error))
                self._loop.remove_reader(self._sock.fileno())
                self._loop.call_later(_EXHAUSTED_PAUSE, self._resume)
                return
            self._silent.add(sock, address_of(peer))

    def _speaks(self, sock: socket.socket, peer: str) -> None:
        """Its first byte has come."""
        if self._tls is None:
            self._serve(Stream(sock, self._loop))
        else:
            self._secure(sock, peer, self._tls())

    def _turn_away(self, error: str) -> None:
        """There is no descriptor for another connection: those that wait are told so, one after the other."""
        reason = Reason.NO_DESCRIPTORS
        answer = bare_answer(reason, "This proxy has no file descriptors left: try again in a while.")
        count = 0
        self._give_up_spare()
        with contextlib.suppress(OSError):
            while count < _BACKLOG:
                sock, _peer = self._sock.accept()
                count += 1
                with sock, contextlib.suppress(OSError):
                    sock.setblocking(False)
                    if self._tls is None:
                        sock.send(answer)
                        sock.shutdown(socket.SHUT_WR)
                        sock.recv(_READ)  # closing over unread bytes would reset the connection, and the answer with it
        self._keep_spare()
        if count:
            metrics.REFUSALS.labels(reason.value).inc(count)
            status = reason.rule.status
            logger().error("connections refused", reason=reason.value, status=status, connections=count, error=error)

    def _keep_spare(self) -> None:
        """Another thread may have taken what was given up: then there is none until the next time."""
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    def _give_up_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)

    def _resume(self) -> None:
        self._keep_spare()
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _secure(self, sock: socket.socket, peer: str, context: ssl.SSLContext) -> None:
        sock.setblocking(False)
        handshake = tasks.start(self._shake_hands(sock, peer, context), name="TLS handshake")
        # One that is cancelled before its first step closes nothing itself.
        handshake.add_done_callback(lambda task: sock.close() if task.cancelled() else None)
        handshake.add_done_callback(lambda _: self._pending.leave(sock))
        self._pending.enter(sock, handshake.cancel)

    async def _shake_hands(self, sock: socket.socket, peer: str, context: ssl.SSLContext) -> None:
        stream = None
        try:
            async with (
                asyncio.timeout(self._head_timeout),
                self._handshakes.place(lambda: self._pending.evict(sock)),
            ):
                stream = Stream(sock, self._loop, Tls(context, server_side=True))
                await stream.handshake(self._handshakes.steps.turn)
        except (OSError, TimeoutError) as error:
            _failed(peer, error)
            if stream is not None and isinstance(error, ssl.SSLError):
                await _let_read_why(stream)
            _close(stream, sock)
        except BaseException:
            _close(stream, sock)
            raise
        else:
            assert stream is not None
            self._pending.leave(sock)  # the transport takes its place
            self._serve(stream)

    def _serve(self, stream: Stream) -> None:
        connection = StreamTransport(
            stream,
            self._new_protocol(),
            loop=self._loop,
            block=self._block,
            head_timeout=self._head_timeout,
            pending=self._pending,
            idle=self._idle,
            on_closed=self._connections.discard,
        )
        if not connection.is_closing():
            self._connections.add(connection)


def _close(stream: Stream | None, sock: socket.socket) -> None:
    """The socket, and what the loop knows of it."""
    if stream is None:
        sock.close()
    else:
        stream.close()


def _failed(peer: str, error: Exception) -> None:
    if HANDSHAKES.allows("tls_handshake"):
        logger().warning("TLS handshake failed", peer=peer, error=str(error) or "timed out")


async def _let_read_why(stream: Stream) -> None:
    """TLS has sent an alert. Closing over what the peer went on to send would reset the connection, and the alert."""
    stream.end_output()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            for _ in range(_READS):
                if stream.discard():
                    return
                await stream.readable()
