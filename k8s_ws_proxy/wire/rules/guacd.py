"""What Apache Guacamole's guacd needs, and nobody else gets (docs/observed.md, "guacd").

Its WebSocket library hands a message on in pieces of 4,096 bytes, and it takes the first byte of each for a channel;
it shows neither HTTP bodies nor channel 3 nor close reasons; what came before the close isn't drawn if the close is
there before its first frame; it gives up five seconds after its request; it notices that its user has gone only when
something arrives; and it sends a whole command as one argument, or from 1.6.1 on each of its words as one, wherever
the quotation marks are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.container import shell_split
from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.splitter import Status
from k8s_ws_proxy.wire.requests.target import DEFAULT_COMMAND
from k8s_ws_proxy.wire.rules.relay import RELAYING, Ending, Relay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.wire.framing.splitter import Block, Event, Piece

MOST: Final = 4096  # bytes of a message towards it, the channel byte included
PING_PERIOD: Final = 1.0  # seconds: with one ping a second its FIN has come after 0.6 to 1.6
ANSWER_WITHIN: Final = 3.5  # seconds from its request, half a second less than it is promised for the answer's way
CLOSE_AFTER: Final = 0.5  # seconds from the 101: its first frame is there after 0.1, also on a busy machine
NO_TERMINAL: Final = "k8s-ws-proxy: this container has no terminal: nothing that is typed will be shown"
_KILLED: Final = 137
_LONGEST_LINE: Final = 1000  # characters


class GuacdRelay(Relay):
    """A session with guacd: small messages towards it, and failures told on its terminal."""

    __slots__ = ()

    close_after = CLOSE_AFTER

    def upstream_data(self, block: Block, start: int, end: int) -> None:
        """As ever, in small messages."""
        super().upstream_data(block, start, end)
        self.to_client = small_messages(self.to_client)

    def upstream_end(self) -> None:
        """As ever, in small messages."""
        super().upstream_end()
        self.to_client = small_messages(self.to_client)

    def fail(self, status: bytes, reason: str) -> None:
        """As ever, in small messages."""
        super().fail(status, reason)
        self.to_client = small_messages(self.to_client)

    def give_up(self, line: bytes, channel: int, reason: str) -> None:  # noqa: ARG002 - as Relay has it
        """As ever, without ``line``: a failure is a line on its terminal in any case, and says the same."""
        if self.phase is RELAYING:
            self._fail(Ending.RECORDING_FAILED, reason)

    def _tell_failure(self, status: bytes) -> None:
        self._tell_line(status)
        super()._tell_failure(status)

    def _upstream_event(self, event: Event) -> None:
        super()._upstream_event(event)
        if not isinstance(event, Status):
            return
        if self.exit_code is None:
            self._tell_line(event.payload)
        elif self.exit_code:
            self._say_line(_ended(self.exit_code))

    def _close(self, ending: Ending, code: int, reason: str) -> None:
        super()._close(ending, code, reason)
        self.farewell = bytes(self.to_client.pop())

    def _tell_line(self, status: bytes) -> None:
        told = channels.parse_status(status)
        text = str(told.get("message") or told.get("reason") or "") if told else status.decode("utf-8", "replace")
        self._say_line(text)

    def _say_line(self, text: str) -> None:
        self.to_client.append(frames.frame(frames.BINARY, bytes((channels.STDOUT,)) + terminal_line(text)))


def _ended(exit_code: int) -> str:
    """Of a command that failed. A kubelet kills what runs in a pod that is deleted: 128 and SIGKILL's number."""
    if exit_code == _KILLED:
        return f"The command was killed (exit status {exit_code}): its pod was deleted, perhaps, or memory ran out."
    return f"The command ended with exit status {exit_code}."


def small_messages(pieces: Sequence[Piece]) -> list[Piece]:
    """``pieces``, which are whole unmasked messages, with those of more than MOST bytes cut into several."""
    data = b"".join(pieces)
    out: list[Piece] = []
    pos = kept = 0
    while pos < len(data):
        head = frames.parse_header(data, pos, len(data), masked=False)
        assert head is not None, "a message isn't whole"
        body, pos = pos + head.size, pos + head.size + head.length
        assert pos <= len(data), "a message isn't whole"
        if head.length > MOST:
            out.append(data[kept : body - head.size])
            out += _cut(head.opcode, data[body : body + 1], memoryview(data)[body + 1 : pos])
            kept = pos
    out.append(data[kept:])
    return [piece for piece in out if piece]


def _cut(opcode: int, channel: bytes, payload: memoryview) -> list[Piece]:
    pieces: list[Piece] = []
    for start in range(0, len(payload), MOST - 1):
        part = payload[start : start + MOST - 1]
        pieces += (frames.header(opcode, 1 + len(part)) + channel, part)
    return pieces


def terminal_line(text: str) -> bytes:
    """``text`` as one line on a terminal: nothing in it that the terminal would obey, 1,000 characters at most."""
    shown = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_LINE])
    return f"\r\nk8s-ws-proxy: {shown}\r\n".encode("utf-8", "replace")


def split_command(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command it meant: one argument with white space in it is a whole command line, an empty one is none.

    Several are such a line that was cut at its white space. They are what they are where a quotation mark in it is
    never closed, or one of them has white space: that one wasn't cut. Raises Refusal(``bad_query``) where a quotation
    mark in a single argument is never closed.
    """
    blank = any(blank in argument for argument in command for blank in shell_split.BLANKS)
    if len(command) > 1:
        if blank:
            return command
        try:
            return tuple(shell_split.split(" ".join(command))) or DEFAULT_COMMAND
        except shell_split.Unfinished:
            return command
    if command[0] and not blank:
        return command
    try:
        return tuple(shell_split.split(command[0])) or DEFAULT_COMMAND
    except shell_split.Unfinished as error:
        raise Refusal(Reason.BAD_QUERY, f"The command can't be split into words: {error}.") from error
