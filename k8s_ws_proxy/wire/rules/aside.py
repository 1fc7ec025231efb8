"""A client that has asked for messages aside from Kubernetes's: a page in a browser, which can't stop reading.

A browser takes whatever a WebSocket brings, looked at or not, so TCP holds nobody back for it. Instead the client is
sent a mark behind each 64 KiB, a message on a channel of its own, and sends it back once it has got there. While more
than 512 KiB is ahead of the last one that came back, nothing is read from upstream: it is held back as for any slow
client.

A mark comes back behind what was typed. While upstream takes nothing of that the client isn't read, and the program may
not read on before it has written: each would wait for the other. So each time that the shell has not read the client
for a while, 512 KiB more may go without a mark; no more at once, since a page that draws them more slowly has to leave
some out.

What the proxy has to say to the person comes on another such channel, too, as well as on the terminal: no program can
print there. First of all it says which streams there are: who draws it can't see what was asked for.

Nobody else is sent any of it (docs/reference/sessions.md): Kubernetes knows no such channels.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import MARK, NOTICE, Framing
from k8s_ws_proxy.wire.rules.relay import RELAYING, Ending, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.wire.framing.splitter import Block, Piece

MARK_EVERY: Final = 64 * 1024
"""Bytes to the client, framing included, after which there is a mark."""
MOST_AHEAD: Final = 512 * 1024
"""Bytes ahead of the last mark that came back, beyond which upstream isn't read; and how many more where none can."""
_POSITION: Final = 8  # bytes of what a mark says


def streams_told(*, tty: bool, stdin: bool) -> bytes:
    """What such a client is told before anything else, as a message."""
    return _alone(NOTICE, json.dumps({"tty": tty, "stdin": stdin}).encode())


class AsideRelay(Relay):
    """Its session. What that client types is taken message by message, as a peer's is, to find the marks in it."""

    __slots__ = ("_lent", "_marked", "_reached", "_sent")

    max_read_client: int | None = 16 * 1024  # each message is looked at: of the smallest, 2300

    def __init__(self, mask_key: Callable[[], bytes]) -> None:
        super().__init__(mask_key, Framing.PEER)
        self._sent = 0  # bytes of output that the client was sent
        self._marked = 0  # of them before the last mark
        self._reached = 0  # before the last that came back
        self._lent = 0  # that may go whatever comes back

    def client_data(self, block: Block, start: int, end: int) -> None:
        """As ever; marks stay here."""
        super().client_data(block, start, end)
        if self.to_upstream:
            self.to_upstream = self._without_marks(self.to_upstream)
            self.keystroke = self.keystroke and bool(self.to_upstream)
            self._look_ahead()

    def upstream_data(self, block: Block, start: int, end: int) -> None:
        """As ever, and a mark behind it if it is time for one."""
        before = len(self.to_client)
        super().upstream_data(block, start, end)
        self._sent += sum(map(len, self.to_client[before:]))
        if self.phase is RELAYING and self._sent - self._marked >= MARK_EVERY:
            self._marked = self._sent
            self._tell_alone(MARK, self._sent.to_bytes(_POSITION, "big"))
        self._look_ahead()

    def client_unread(self) -> None:
        """Its marks don't get here."""
        if self.behind:
            self._lent = self._sent + MOST_AHEAD
            self._look_ahead()

    def watched(self, count: int) -> None:
        """As ever."""
        if self.phase is RELAYING:
            self._tell_alone(NOTICE, json.dumps({"watchers": count}).encode())

    def _say(self, text: str) -> None:
        super()._say(text)
        self._tell_alone(NOTICE, json.dumps({"notice": text}).encode())

    def _enter_closing(self, ending: Ending, code: int | None) -> None:
        super()._enter_closing(ending, code)
        self.to_client_alone = []  # nothing follows the close

    def _tell_alone(self, channel: int, payload: bytes) -> None:
        self.to_client_alone.append(_alone(channel, payload))

    def _look_ahead(self) -> None:
        self.behind = self._sent > max(self._reached + MOST_AHEAD, self._lent)

    def _without_marks(self, pieces: list[Piece]) -> list[Piece]:
        """What is left of ``pieces``, whole frames of the client's."""
        data = b"".join(pieces)
        kept: list[Piece] = []
        first = pos = 0
        while (head := frames.parse_header(data, pos, len(data), masked=True)) is not None:
            start = pos + head.size
            after = start + head.length
            if head.opcode < frames.CLOSE and head.length and data[start] ^ head.key[0] == MARK:
                self._came_back(frames.mask(data[start:after], head.key)[1:])
                kept.append(data[first:pos])
                first = after
            pos = after
        kept.append(data[first:])
        return [piece for piece in kept if piece]

    def _came_back(self, mark: bytes) -> None:
        """What no mark has said says nothing: whoever makes one up waits for itself."""
        if len(mark) == _POSITION:
            reached = int.from_bytes(mark, "big")
            if self._reached < reached <= self._marked:
                self._reached = reached


def _alone(channel: int, payload: bytes) -> bytes:
    return frames.frame(frames.BINARY, bytes((channel,)) + payload)
