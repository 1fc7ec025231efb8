"""A log on its way: an HTTP body from upstream, lines or the same body to the client.

The client's side is a session's as ever. Upstream there is nothing to say after the request, and no ping to send: the
kernel's keepalive watches that leg, and how the body ends is how the log ended. A body that ends before it is
complete is a failure, and is told as one: close 1011 to a WebSocket, a body that isn't complete either to a plain
request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import Framing
from k8s_ws_proxy.wire.http.body import Body, BodyViolation
from k8s_ws_proxy.wire.http.lines import Lines
from k8s_ws_proxy.wire.http.passage import Passage
from k8s_ws_proxy.wire.rules.relay import CLOSING, RELAYING, Ending, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.wire.framing.splitter import Block
    from k8s_ws_proxy.wire.rules.liveness import Health

_LOST: Final = "The apiserver's connection ended before the log did."
_LAST_CHUNK: Final = b"0\r\n\r\n"


class LogRelay(Relay):
    """Sends a WebSocket client one binary message for each line. What the client sends is read and dropped.

    ``hold`` is told how many more bytes (or fewer, if negative) are held of an unfinished line, and says whether that
    is too much for all sessions together.
    """

    __slots__ = ("_body", "_hold", "_holding", "_lines")

    max_read: int | None = 65_536
    """It is copied here, and larger pieces of memory are mapped anew each time, which costs more than the copying."""

    def __init__(self, mask_key: Callable[[], bytes], body: Body, hold: Callable[[int], bool]) -> None:
        super().__init__(mask_key, Framing.TUNNEL)
        self._body = body
        self._hold = hold
        self._holding = 0  # bytes that ``hold`` knows of
        self._lines = Lines()

    def begin(self) -> None:
        """A body that has no bytes is complete already."""
        if self._body.complete and self.phase is RELAYING:
            self._log_ended()

    def client_data(self, block: Block, start: int, end: int) -> None:
        """Pings are answered, a close is honoured, a violation is one; messages mean nothing."""
        super().client_data(block, start, end)
        self.to_upstream.clear()
        self.keystroke = False

    def upstream_data(self, block: Block, start: int, end: int) -> None:
        """Bytes of the body."""
        if self.phase is CLOSING:
            return
        try:
            self._pass_on(block, start, end)
        except BodyViolation as violation:
            self._broken(Ending.UPSTREAM_BROKE_PROTOCOL, f"The apiserver broke HTTP's chunked coding: {violation}.")
            return
        self._active = True
        if self._body.complete:
            self._log_ended()

    def upstream_end(self) -> None:
        """The connection's end, in order."""
        if self.phase is CLOSING:
            return
        if self._body.ends_with_connection:
            self._log_ended()
        else:
            self._broken(Ending.UPSTREAM_LOST, _LOST)

    def upstream_lost(self) -> None:
        """The connection broke: no body ends so."""
        if self.phase is RELAYING:
            self._broken(Ending.UPSTREAM_LOST, _LOST)

    def _end_by_us(self, line: bytes, channel: int, status: bytes) -> None:
        """There is no channel to say it on but the close."""

    def _pass_on(self, block: Block, start: int, end: int) -> None:
        lines = self._lines.take(self._body.take(bytes(block.view[start:end])))
        if self._account():
            lines += self._lines.part()
            self._account()
        self.to_client.append(lines)
        self._client.sent(len(lines))

    def _account(self) -> bool:
        before, self._holding = self._holding, self._lines.held
        return self._hold(self._holding - before)

    def _log_ended(self) -> None:
        self._close(Ending.LOG_ENDED, frames.NORMAL, "")

    def _broken(self, ending: Ending, text: str) -> None:
        self._close(ending, frames.INTERNAL_ERROR, text)

    def _close(self, ending: Ending, code: int, reason: str) -> None:
        self.to_client.append(self._lines.last())
        super()._close(ending, code, reason)

    def _enter_closing(self, ending: Ending, code: int | None) -> None:
        self._lines = Lines()
        self._account()
        super()._enter_closing(ending, code)

    def _say(self, text: str) -> None:
        """A line of ours would be taken for one of the log's."""

    def _expire(self, ending: Ending, text: str) -> None:
        self._close(ending, frames.POLICY_VIOLATION, text)

    def _tick_upstream(self, health: Health) -> None:
        """HTTP has no pings."""

    def _leave_upstream(self, code: int) -> None:
        """Its connection is closed, and that is all."""


class PlainLogRelay(LogRelay):
    """Sends a plain HTTP client the body as it is, in chunks.

    One that comes in chunks isn't taken apart, however small they are: the client does that, and sees for itself
    whether the last one is there. Upstream was told that this is the connection's last answer (RFC 9112 §9.6), so the
    connection's end is the body's.
    """

    __slots__ = ("_passage",)

    max_read: int | None = None

    def __init__(self, mask_key: Callable[[], bytes], body: Body, hold: Callable[[int], bool]) -> None:
        super().__init__(mask_key, body, hold)
        self._passage = Passage() if body.chunked else None

    def client_data(self, block: Block, start: int, end: int) -> None:  # noqa: ARG002 - as the others have it
        """It was told that this is the connection's last answer: what it still says isn't looked at."""
        self._client.heard()

    def upstream_end(self) -> None:
        """The connection's end, in order."""
        if self.phase is RELAYING and self._has_passed():
            self._log_ended()
        else:
            super().upstream_end()

    def upstream_lost(self) -> None:
        """The connection broke, perhaps after all was said."""
        if self.phase is RELAYING and self._has_passed():
            self._log_ended()
        else:
            super().upstream_lost()

    def _has_passed(self) -> bool:
        return self._passage is not None and self._passage.complete

    def _pass_on(self, block: Block, start: int, end: int) -> None:
        view = block.view[start:end]
        if self._passage is not None:
            self._passage.passed(view)
            self.to_client.append(view)
        elif content := self._body.take(bytes(view)):
            self.to_client += [b"%x\r\n" % len(content), content, b"\r\n"]

    def _log_ended(self) -> None:
        if self._passage is None:
            self.to_client.append(_LAST_CHUNK)
        self._enter_closing(Ending.LOG_ENDED, None)

    def _tick_client(self, health: Health) -> bool:
        if health.unanswered:
            self._enter_closing(Ending.CLIENT_SILENT, None)
        return self.phase is RELAYING

    def _client_left(self, code: int | None, reason: str) -> None:  # noqa: ARG002 - it gave neither
        """It may have been quicker to close after the last chunk than upstream was."""
        self._enter_closing(Ending.LOG_ENDED if self._has_passed() else Ending.CLIENT_LEFT, None)

    def _close(self, ending: Ending, code: int, reason: str) -> None:  # noqa: ARG002 - there is nowhere to say it
        """Without the last chunk: a client that sees the connection end so knows that it didn't get all."""
        self._enter_closing(ending, None)
