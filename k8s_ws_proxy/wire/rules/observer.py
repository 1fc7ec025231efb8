"""What somebody sees of a session who is neither of its sides: a recording, a person who watches.

The seam is where whole messages leave for either side, in their order, our own lines among them. An observer is told
what they mean. Without one nothing here is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STATUS, STDERR, STDIN, STDOUT, terminal_size
from k8s_ws_proxy.wire.framing.frame_scan import same_messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k8s_ws_proxy.wire.framing.splitter import Piece
    from k8s_ws_proxy.wire.rules.relay import Relay

_SHORT: Final = 64  # bytes of a payload: longer ones are taken out one by one
_FIRST_RUN: Final = 8  # frames: shorter runs aren't worth the slices
MANY: Final = 2000  # messages that were taken out one by one: some three milliseconds
FEW_BYTES: Final = 16 * 1024  # of a block, where messages are so small


class Observer(Protocol):
    """Is told what passes, within the turn of the loop in which it passes: nothing in here may wait, or raise."""

    @property
    def full(self) -> bool:
        """It can't take more now: the session isn't read until ``Bridge.go_on()``, and is otherwise left alone."""

    def output(self, channel: int, data: bytes) -> None:
        """What the client is sent on stdout or stderr; what follows on one channel in one turn comes as one."""

    def input(self, data: bytes) -> None:
        """What goes to stdin, whoever typed it."""

    def resized(self, columns: int, rows: int) -> None:
        """The terminal's size, in characters."""

    def status(self, payload: bytes) -> None:
        """The ``metav1.Status`` that the client is told, as it is."""

    def ended(self, relay: Relay) -> None:
        """The last call: both sides have been told, and ``relay.ending`` says why."""


class Tap:
    """Takes apart what passes, for all observers of a session. ``pieces`` are those of whole, unfragmented messages."""

    def __init__(self) -> None:
        self.observers: tuple[Observer, ...] = ()  # never changed: one of them may leave while they are told
        self._many = False
        self._seen = 0  # messages that were taken out of what was sent last, a run as one

    @property
    def full(self) -> bool:
        """The session has to wait for one of them."""
        return any(observer.full for observer in self.observers)

    @property
    def max_read(self) -> int | None:
        """Bytes that may be read from upstream at once; None is whatever the shell reads."""
        return FEW_BYTES if self._many else None

    def to_client(self, pieces: Sequence[Piece]) -> None:
        """These were sent to the client."""
        data = b"".join(pieces)
        self._seen = 0
        for channel, payload in _joined(self._messages(data)):
            if channel in (STDOUT, STDERR):
                if payload:
                    for observer in self.observers:
                        observer.output(channel, payload)
            elif channel == STATUS:
                for observer in self.observers:
                    observer.status(payload)
        self._many = self._seen > MANY

    def to_upstream(self, pieces: Sequence[Piece]) -> None:
        """These were sent to the apiserver, each with a key of its own."""
        data = b"".join(pieces)
        for channel, payload in _joined(_unmasked(data)):
            if channel == STDIN:
                if payload:
                    for observer in self.observers:
                        observer.input(payload)
            elif channel == RESIZE and (size := terminal_size(payload)) is not None:
                for observer in self.observers:
                    observer.resized(*size)

    def _messages(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Channel and payload of a server's messages; control frames are left out. Runs of alike ones come as one.

        What is taken out is counted here: each step costs its time, also where several then come as one.
        """
        pos, end = 0, len(data)
        while (head := frames.parse_header(data, pos, end, masked=False)) is not None:
            self._seen += 1
            start = pos + head.size
            stride = head.size + head.length
            if head.opcode < frames.CLOSE and head.length:
                channel = data[start]
                count = 1
                if channel != STATUS and head.length <= _SHORT and (end - pos) // stride >= _FIRST_RUN:
                    count = same_messages(data, pos, (end - pos) // stride, stride, head.size + 1)
                if count >= _FIRST_RUN:
                    yield channel, _column(data, start + 1, pos + count * stride, stride, head.length - 1)
                    pos += count * stride
                    continue
                yield channel, data[start + 1 : start + head.length]
            pos += stride


def _joined(messages: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """What follows on one stream becomes one; a status and a resize stay what they are."""
    pending: list[bytes] = []
    current = -1
    for channel, payload in messages:
        if channel != current or channel in (STATUS, RESIZE):
            if pending:
                yield current, b"".join(pending)
            pending, current = [], channel
        pending.append(payload)
    if pending:
        yield current, b"".join(pending)


def _column(data: bytes, start: int, stop: int, stride: int, width: int) -> bytes:
    """``width`` bytes at the same place in each stride, one after the other: slices run in C, a step a message not."""
    count = len(range(start, stop, stride))
    out = bytearray(count * width)
    for offset in range(width):
        out[offset::width] = data[start + offset : stop : stride]
    return bytes(out)


def _unmasked(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Channel and payload of a client's messages; control frames are left out."""
    pos, end = 0, len(data)
    while (head := frames.parse_header(data, pos, end, masked=True)) is not None:
        start = pos + head.size
        pos = start + head.length
        if head.opcode < frames.CLOSE and head.length:
            payload = frames.mask(data[start:pos], head.key)
            yield payload[0], payload[1:]
