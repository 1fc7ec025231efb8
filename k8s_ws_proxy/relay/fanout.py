"""A terminal's output for those who watch it now, and its last part for those who come later.

A session has one from its beginning, and nobody may ever watch: so it costs a copy of what is sent, and a look at what
might be a resize. Who watches is given the frames that the client gets, the same bytes to all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDOUT, size_payload
from k8s_ws_proxy.wire.rules.tail import Tail
from k8s_ws_proxy.wire.rules.watch import resize

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from k8s_ws_proxy.relay.feed import Feed
    from k8s_ws_proxy.relay.tails import Tails
    from k8s_ws_proxy.wire.framing.splitter import Piece

WATCHED_BLOCK: Final = 64 * 1024  # bytes that are read from upstream at once while somebody watches
_SHORTEST_RESIZE: Final = 20  # bytes with header and key; a keystroke has fewer
_LOOKS: Final = 64  # messages of the client's that are looked at in a turn
_HEAD: Final = 11  # bytes of a frame, and its channel
_BETWEEN_REDRAWS: Final = 1.0  # seconds
_NARROWER: Final = 0.1  # seconds that a program has to see the other size
_AGAIN: Final = 0.25  # seconds until the apiserver may take something again
_BETWEEN_SIZES: Final = 0.1  # seconds from one size of a peer's to the next: each has the program draw


class Terminal(Protocol):
    """What is wanted of the session: a ``relay.bridge.Bridge``."""

    def resize(self, columns: int, rows: int, *, observed: bool = False) -> bool:
        """Have it drawn in that size; False while that can't be. Observers are told if it is to be ``observed``."""

    def type(self, text: bytes) -> bool:
        """Type ``text`` between two messages of the client's; False while that can't be."""


class Fanout:
    """One terminal's.

    Its size is what its client says; a client that has said none yet leaves it to the peers, of whom the last counts.
    """

    __slots__ = (
        "_feeds",
        "_loop",
        "_own_size",
        "_peer_size",
        "_redrawing",
        "_redrawn",
        "_resized",
        "_resizing",
        "_tail",
        "_tails",
        "_terminal",
        "size",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, terminal: Terminal, tails: Tails) -> None:
        self._loop = loop
        self._terminal = terminal
        self._tails = tails
        self._tail = Tail()
        self._feeds: tuple[Feed, ...] = ()  # never changed: one of them may leave while they are fed
        self._redrawing: asyncio.TimerHandle | None = None
        self._redrawn = -_BETWEEN_REDRAWS  # the loop's time
        self.size: tuple[int, int] | None = None  # columns and rows, as its client or a peer said last
        self._own_size = False  # its client has said one
        self._peer_size: tuple[int, int] | None = None  # as one said last
        self._resizing: asyncio.TimerHandle | None = None
        self._resized = -_BETWEEN_SIZES  # the loop's time

    @property
    def watched(self) -> bool:
        """Somebody watches now."""
        return bool(self._feeds)

    def to_client(self, data: Piece) -> None:
        """``data``, whole messages, was sent to the client; it may point into the block."""
        if self._feeds:
            data = bytes(data)
            for feed in self._feeds:
                feed.feed(data)
        self._tails.append(self._tail, data)

    def to_upstream(self, data: Piece) -> None:
        """``data``, whole messages, was sent to the apiserver."""
        if len(data) >= _SHORTEST_RESIZE and (size := resize(data, _LOOKS)) is not None:
            self._own_size = True
            self._set_size(size)

    def peer_resized(self, columns: int, rows: int) -> None:
        """A peer's terminal is so large, which counts while the client has said no size.

        However many say so: what is kept is the last one, and the session is told ten times a second at most.
        """
        if self._own_size:
            return
        self._peer_size = columns, rows
        if self._resizing is None:
            wait = max(0.0, self._resized + _BETWEEN_SIZES - self._loop.time())
            self._resizing = self._loop.call_later(wait, self._take_peer_size)

    def join(self, feed: Feed) -> None:
        """Show ``feed`` what is on the screen, and from here on all that comes."""
        self._say_size((feed,))
        shown, whole = self._tail.replay()
        room = feed.takes(len(shown) + _HEAD)  # where memory is short, there may be none: then it has to be drawn
        if shown and room:
            feed.feed(frames.frame(frames.BINARY, bytes((STDOUT,)) + shown))
        self._feeds = (*self._feeds, feed)
        if not (whole and room):
            self._have_it_drawn()

    def leave(self, feed: Feed) -> None:
        """Show ``feed`` no more."""
        self._feeds = tuple(one for one in self._feeds if one is not feed)

    def go_on(self) -> None:
        """The apiserver may take something, and what the client sends is between two messages."""
        for feed in self._feeds:
            if feed.blocked:
                feed.unblocked()

    def end(self) -> None:
        """The session is over."""
        for handle in (self._redrawing, self._resizing):
            if handle is not None:
                handle.cancel()
        self._redrawing = self._resizing = None
        feeds, self._feeds = self._feeds, ()
        for feed in feeds:
            feed.end()
        self._tails.drop(self._tail)

    def _take_peer_size(self) -> None:
        self._resizing = None
        if self._own_size or self._peer_size is None or self._peer_size == self.size:
            return
        if self._terminal.resize(*self._peer_size, observed=True):
            self._resized = self._loop.time()
            self._set_size(self._peer_size)
        else:
            self._resizing = self._loop.call_later(_AGAIN, self._take_peer_size)

    def _set_size(self, size: tuple[int, int]) -> None:
        if size != self.size:
            self.size = size
            self._say_size(self._feeds)

    def _say_size(self, feeds: Sequence[Feed]) -> None:
        if self.size is not None and feeds:
            message = frames.frame(frames.BINARY, bytes((RESIZE,)) + size_payload(*self.size))
            for feed in feeds:
                feed.feed(message)

    def _have_it_drawn(self) -> None:
        """By a program that draws when its terminal's size changes: as most that fill a screen do."""
        if self._redrawing is None and self.size is not None:
            wait = max(0.0, self._redrawn + _BETWEEN_REDRAWS - self._loop.time())
            self._redrawing = self._loop.call_later(wait, self._narrow)

    def _narrow(self) -> None:
        assert self.size is not None
        columns, rows = self.size
        if self._terminal.resize(columns - 1 or 2, rows):
            self._redrawn = self._loop.time()
            self._redrawing = self._loop.call_later(_NARROWER, self._widen)
        else:
            self._redrawing = self._loop.call_later(_AGAIN, self._narrow)

    def _widen(self) -> None:
        """Back to its own size, which may be another one by now."""
        assert self.size is not None
        self._redrawing = None if self._terminal.resize(*self.size) else self._loop.call_later(_AGAIN, self._widen)
