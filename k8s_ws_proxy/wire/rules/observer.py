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

_FIRST_RUN: Final = 8  # frames: shorter runs aren't worth the slices
_LONGEST_WAIT: Final = 256  # frames that are taken one by one before a run is looked for again
_LARGE: Final = 8192  # bytes: such messages are taken out one by one, which copies less than a run does
_LONG: Final = 126  # in a header's second byte: two more bytes have the length; and 127, eight (RFC 6455 §5.2)
MANY: Final = 2000  # messages that were taken out one by one: some three milliseconds
FEW_BYTES: Final = 16 * 1024  # of a block, where messages are so small


class Observer(Protocol):
    """Is told what passes, within the turn of the loop in which it passes: nothing in here may wait, or raise."""

    @property
    def takes_input(self) -> bool:
        """It wants to be told what is typed."""

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
        self._many_out = False  # of what was sent last, so many messages were taken out that it costs its time
        self._many_in = False

    @property
    def full(self) -> bool:
        """The session has to wait for one of them."""
        return any(observer.full for observer in self.observers)

    @property
    def max_read(self) -> int | None:
        """Bytes that may be read from upstream at once; None is whatever the shell reads."""
        return FEW_BYTES if self._many_out else None

    @property
    def max_read_client(self) -> int | None:
        """The same of the client."""
        return FEW_BYTES if self._many_in or self._takes_input else None

    @property
    def _takes_input(self) -> bool:
        return any(observer.takes_input for observer in self.observers)

    def to_client(self, pieces: Sequence[Piece]) -> None:
        """These were sent to the client."""
        walk = _Walk(pieces)
        for channel, payload in _joined(walk.sent()):
            if channel in (STDOUT, STDERR):
                if payload:
                    for observer in self.observers:
                        observer.output(channel, payload)
            elif channel == STATUS:
                for observer in self.observers:
                    observer.status(payload)
        self._many_out = walk.steps > MANY

    def to_upstream(self, pieces: Sequence[Piece]) -> None:
        """These were sent to the apiserver, each with a key of its own."""
        walk = _Walk(pieces)
        wanted = (STDIN, RESIZE) if self._takes_input else (RESIZE,)
        for channel, payload in _joined(walk.typed(wanted)):
            if channel == STDIN:
                if payload:
                    for observer in self.observers:
                        if observer.takes_input:
                            observer.input(payload)
            elif (size := terminal_size(payload)) is not None:
                for observer in self.observers:
                    observer.resized(*size)
        self._many_in = walk.steps > MANY


class _Walk:
    """From message to message in ``pieces``. ``steps`` counts those that were taken out one by one, and runs.

    One piece isn't copied: what is taken out of it may point into it.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.steps = 0

    def sent(self) -> Iterator[tuple[int, Piece]]:
        """Channel and payload of a server's messages; control frames are left out. Runs of alike ones come as one."""
        data, end = self._data, len(self._data)
        pos = wait = penalty = 0
        while pos < end:
            self.steps += 1
            start, length = self._header(pos)
            stop = start + length
            if data[pos] & 0x0F < frames.CLOSE and length:
                channel, head = data[start], start + 1 - pos
                if wait:
                    wait -= 1
                elif length < _LARGE and channel != STATUS and data[pos : start + 1] == data[stop : stop + head]:
                    data = self._data = bytes(data)
                    stride = stop - pos
                    count = same_messages(data, pos, (end - pos) // stride, stride, head)
                    if count >= _FIRST_RUN:
                        penalty = 0
                        pos += count * stride
                        yield channel, _payloads(data[pos - count * stride : pos], stride, head)
                        continue
                    wait = penalty = min(2 * penalty + 1, _LONGEST_WAIT)
                yield channel, data[start + 1 : stop]
            pos = stop

    def typed(self, wanted: tuple[int, ...]) -> Iterator[tuple[int, bytes]]:
        """Channel and payload of a client's messages on the ``wanted`` channels, unmasked."""
        data, end, pos = self._data, len(self._data), 0
        while pos < end:
            self.steps += 1
            key, length = self._header(pos)
            start = key + 4
            opcode, pos = data[pos] & 0x0F, start + length
            if opcode < frames.CLOSE and length and (channel := data[start] ^ data[key]) in wanted:
                yield channel, frames.mask(bytes(data[start:pos]), bytes(data[key:start]))[1:]

    def _header(self, pos: int) -> tuple[int, int]:
        """Where the frame at ``pos`` goes on after its length, and how long its payload is (RFC 6455 §5.2)."""
        length = self._data[pos + 1] & 0x7F
        if length < _LONG:
            return pos + 2, length
        stop = pos + (4 if length == _LONG else 10)
        return stop, int.from_bytes(self._data[pos + 2 : stop], "big")


def _joined(messages: Iterator[tuple[int, Piece]]) -> Iterator[tuple[int, bytes]]:
    """What follows on one stream becomes one; a status and a resize stay what they are."""
    pending: list[Piece] = []
    current = -1
    for channel, payload in messages:
        if channel != current or channel in (STATUS, RESIZE):
            if pending:
                yield current, b"".join(pending)
            pending, current = [], channel
        pending.append(payload)
    if pending:
        yield current, b"".join(pending)


def _payloads(run: bytes, stride: int, head: int) -> bytes:
    """What follows ``head`` bytes in each ``stride`` of ``run``.

    A pass in C for each byte of a header costs a fifth of a step of Python for each message.
    """
    out = bytearray(run)
    for dropped in range(head):
        del out[:: stride - dropped]
    return bytes(out)
