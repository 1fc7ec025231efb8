"""Connections that have said nothing yet: a descriptor and a place in ``pending``. Most of a crowd never speak."""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from k8s_ws_proxy.web.pending import PendingConnections

_AT_ONCE: Final = 128  # that say something, or leave, in one turn of the loop: some forty microseconds each
_SERVED_AT_ONCE: Final = 32  # in one turn: some two hundred microseconds each
_BEGUN_AT_ONCE: Final = 4  # of those whose request isn't there as a whole
_END_OF_HEAD: Final = b"\r\n\r\n"
_TLS: Final = b"\x16"  # a handshake record (RFC 8446 §5.1): how much more there is to come can't be seen
_PEEK: Final = 2048  # bytes: more than most requests have


class SilentConnections:
    """A listener's. ``speaks`` is called with the socket of one, and its peer's address, when its first byte has come.

    What makes a request of bytes costs some tenths of a millisecond and ten KiB; so it isn't made before. They have
    an epoll of their own, so that the loop hears of all of them as of one descriptor, however many leave at once.
    Where many have spoken, those are served first whose request is there as a whole, as that of a caller who means
    well is. If somebody else needs a place, ``farewell`` is what whoever has to go is told. ``patience``, in
    seconds, is how long one may say nothing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pending: PendingConnections,
        *,
        speaks: Callable[[socket.socket, str], None],
        farewell: Callable[[], bytes],
        patience: float,
    ) -> None:
        self._loop = loop
        self._pending = pending
        self._speaks = speaks
        self._farewell = farewell
        self._patience = patience
        self._here: dict[socket.socket, tuple[str, float]] = {}  # who it is, and since when; in the order of coming
        self._by_descriptor: dict[int, socket.socket] = {}
        self._whole: deque[socket.socket] = deque()  # whose request is there; some may have had to go since
        self._begun: deque[socket.socket] = deque()  # who have begun to speak
        self._serving = False  # the next turn of the loop is for them
        self._timer: asyncio.TimerHandle | None = None
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._look)

    def add(self, sock: socket.socket, peer: str) -> None:
        """One has connected. Of a flood of them most have left by now, and who means well has spoken."""
        sock.setblocking(False)
        said = _said(sock)
        if said == b"":
            sock.close()
            return
        self._here[sock] = peer, self._loop.time()
        self._pending.enter(sock, partial(self._evict, sock))
        if sock not in self._here:  # it was the one to go
            return
        if said:
            self._has_spoken(sock, said)
        else:
            self._by_descriptor[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)
        self._watch()

    def close(self) -> None:
        """Close all of them."""
        for sock in list(self._here):
            self._drop(sock)
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _look(self) -> None:
        for descriptor, _ in self._epoll.poll(0, _AT_ONCE):
            sock = self._by_descriptor.get(descriptor)
            if sock is None:  # one of those before it has had it closed
                continue
            said = _said(sock)
            if said:
                self._listen_no_more(sock)
                self._has_spoken(sock, said)
            elif said == b"":
                self._drop(sock)

    def _has_spoken(self, sock: socket.socket, said: bytes) -> None:
        whole = said.startswith(_TLS) or _END_OF_HEAD in said
        (self._whole if whole else self._begun).append(sock)
        if not self._serving:
            self._serving = True
            self._loop.call_soon(self._serve)

    def _serve(self) -> None:
        for queue, most in ((self._whole, _SERVED_AT_ONCE), (self._begun, _BEGUN_AT_ONCE)):
            for _ in range(min(most, len(queue))):
                self._loop.call_soon(self._serve_one, queue.popleft())  # what goes wrong in it is nobody else's
        self._serving = bool(self._whole or self._begun)
        if self._serving:
            self._loop.call_soon(self._serve)

    def _serve_one(self, sock: socket.socket) -> None:
        if sock in self._here:
            self._speaks(sock, self._leave(sock))

    def _evict(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.send(self._farewell())
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        self._leave(sock)
        sock.close()

    def _listen_no_more(self, sock: socket.socket) -> None:
        if self._by_descriptor.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def _leave(self, sock: socket.socket) -> str:
        self._listen_no_more(sock)
        self._pending.leave(sock)
        return self._here.pop(sock)[0]

    def _watch(self) -> None:
        if self._timer is None and self._here:
            _, since = next(iter(self._here.values()))
            self._timer = self._loop.call_at(since + self._patience, self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        late = self._loop.time() - self._patience
        for sock in [sock for sock, (_, since) in self._here.items() if since <= late]:
            self._drop(sock)
        self._watch()


def _said(sock: socket.socket) -> bytes | None:
    """The first bytes that are there; none if it has left, None if it is silent."""
    try:
        return sock.recv(_PEEK, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
