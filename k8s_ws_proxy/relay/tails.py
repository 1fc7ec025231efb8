"""The tails of all terminals, and what they may take together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from k8s_ws_proxy.wire.framing.splitter import Piece
    from k8s_ws_proxy.wire.rules.tail import Tail

MOST_TOGETHER: Final = 6 * 1024 * 1024  # bytes


class Tails:
    """One for all. When there is too much, those go first that have said little for the longest time."""

    def __init__(self, max_bytes: int = MOST_TOGETHER) -> None:
        self._max_bytes = max_bytes
        self._tails: dict[Tail, None] = {}
        self.held = 0  # bytes

    def append(self, tail: Tail, data: Piece) -> None:
        """``data``, whole messages, was sent to the terminal whose ``tail`` this is."""
        held = tail.held
        if tail.append(data) or not held:
            self._tails.pop(tail, None)
            self._tails[tail] = None
        self.held += tail.held - held
        while self.held > self._max_bytes:
            oldest = next(iter(self._tails))
            self.drop(oldest)

    def drop(self, tail: Tail) -> None:
        """Nothing of it is kept any more."""
        self.held -= tail.held
        tail.forget()
        self._tails.pop(tail, None)
