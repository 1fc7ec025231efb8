"""What a session does on data, end and tick: the whole of its behaviour, without a socket or a clock.

::

    RELAYING ──close, end, violation or silence of either side; a limit; drain──▶ CLOSING

While RELAYING, blocks pass both ways. The way to CLOSING queues what each side is still owed: the client a status if
upstream never sent one, and a close frame; upstream a close frame. In CLOSING nothing is relayed any more: the shell
sends what is queued and closes both sockets.

After each call the shell takes the pieces in ``to_client`` and ``to_upstream``; they may point into the block that
was passed in, so they have to be sent or copied before the next read.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import Framing
from k8s_ws_proxy.wire.framing.splitter import Block, Closed, Event, MessageSplitter, Piece, Ping, Status, Violation
from k8s_ws_proxy.wire.rules.lifetime import Age, Lifetime
from k8s_ws_proxy.wire.rules.liveness import Health, Liveness, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

PING_PAYLOAD: Final = b"k8s-ws-proxy"
KEYSTROKES: Final = 1024  # bytes: more at once isn't typed
_LOOKS: Final = 512  # messages that are looked at for one with content, once in a while
MOST_PONGS: Final = 16  # in answer to one block: RFC 6455 §5.5.3 wants only the most recent ping answered


class Phase(Enum):
    """Where the session is."""

    RELAYING = "relaying"
    CLOSING = "closing"


# For what is asked at every turn: a member costs a quarter of a microsecond when it is looked up in its enum.
RELAYING: Final = Phase.RELAYING
CLOSING: Final = Phase.CLOSING


class Ending(Enum):
    """Why a session ended: stable names, in the log and in a metric's label."""

    COMMAND_ENDED = "command_ended"
    FORWARD_ENDED = "forward_ended"  # the pod's side of all ports of a port-forward is closed
    LOG_ENDED = "log_ended"
    CLIENT_LEFT = "client_left"
    CLIENT_SILENT = "client_silent"
    CLIENT_BROKE_PROTOCOL = "client_broke_protocol"
    UPSTREAM_FAILED = "upstream_failed"  # there was none: told on channel 3
    UPSTREAM_LOST = "upstream_lost"
    UPSTREAM_SILENT = "upstream_silent"
    UPSTREAM_BROKE_PROTOCOL = "upstream_broke_protocol"
    IDLE_TIMEOUT = "idle_timeout"
    MAX_DURATION = "max_duration"
    DRAINED = "drained"
    TERMINATED = "terminated"  # by somebody who may
    WATCHED_ENDED = "watched_ended"  # the session that this one watched
    RECORDING_FAILED = "recording_failed"  # and it had to be recorded
    TOO_SLOW = "too_slow"  # a watcher that took less than was said


CUT_SHORT: Final = frozenset({Ending.TERMINATED, Ending.TOO_SLOW, Ending.CLIENT_BROKE_PROTOCOL})
"""What ends so is to be gone soon. Of all others the client may take the rest, as far as its limits allow it."""


class Relay:
    """One session between a client and the apiserver.

    ``mask_key`` gives four fresh random bytes for each frame of our own to upstream (RFC 6455 §5.3); ``framing`` is
    that of both legs.
    """

    __slots__ = (
        "_active",
        "_client",
        "_from_client",
        "_from_upstream",
        "_lifetime",
        "_mask_key",
        "_notices",
        "_upstream",
        "behind",
        "close_code",
        "ending",
        "exit_code",
        "farewell",
        "keystroke",
        "phase",
        "status_seen",
        "to_client",
        "to_client_alone",
        "to_upstream",
    )

    max_read: int | None = None
    """Bytes that may be read from upstream at once; None is whatever the shell reads."""
    max_read_client: int | None = None
    """The same of the client."""
    close_after: float = 0.0
    """Seconds from the 101: what is in ``farewell`` isn't sent before."""

    def __init__(self, mask_key: Callable[[], bytes], framing: Framing = Framing.TERMINAL) -> None:
        self._mask_key = mask_key
        self._from_client = MessageSplitter(masked=True, framing=framing)
        self._from_upstream = MessageSplitter(masked=False, framing=framing)
        self._lifetime: Lifetime | None = None
        self._notices = channels.STDOUT
        self._active = False  # since the last look at its age, something was passed on
        self._client = Liveness()
        self._upstream = Liveness()
        self.phase = RELAYING
        self.ending: Ending | None = None
        self.close_code: int | None = None  # what the client was told, or told us
        self.status_seen = False
        self.keystroke = False  # the last bytes from the client were a keystroke, or a few
        self.exit_code: int | None = None
        self.farewell = b""  # the client's close frame, where it has to wait for close_after; after to_client
        self.behind = False  # the client has enough ahead of it: upstream is not to be read
        self.to_client: list[Piece] = []
        self.to_client_alone: list[Piece] = []  # after to_client, and told to nobody who watches or records
        self.to_upstream: list[Piece] = []

    def limit(self, lifetime: Lifetime, notices: int) -> None:
        """Let it last no longer than ``lifetime`` says; what that has to say goes to the channel ``notices``."""
        self._lifetime = lifetime
        self._notices = notices

    def client_carry(self) -> bytes:
        """What has to lie before the next bytes from the client."""
        return self._from_client.carry if self.phase is RELAYING else b""

    def upstream_carry(self) -> bytes:
        """What has to lie before the next bytes from upstream."""
        return self._from_upstream.carry if self.phase is RELAYING else b""

    @property
    def client_halted(self) -> bool:
        """There is more to be done with the client's carry, before anything more is read."""
        return self._from_client.halted and self.phase is RELAYING

    @property
    def upstream_halted(self) -> bool:
        """There is more to be done with upstream's carry, before anything more is read."""
        return self._from_upstream.halted and self.phase is RELAYING

    @property
    def client_midway(self) -> bool:
        """Of a message of the client's some is with upstream, and more is to come."""
        return self._from_client.midway and self.phase is RELAYING

    def begin(self) -> None:
        """The client has its answer, and what came with both handshakes was taken."""

    def client_data(self, block: Block, start: int, end: int) -> None:
        """Bytes from the client, its carry before them."""
        if self.phase is CLOSING:
            return  # it had not seen our close yet, or ignores it
        self._client.heard()
        splitter = self._from_client
        typed = end - start <= KEYSTROKES and splitter.between_messages
        pieces = splitter.take(block, start, end)
        self.keystroke = typed and bool(pieces) and splitter.between_messages
        self.to_upstream += pieces
        self._upstream.sent(_size(pieces))
        if self._lifetime is not None:
            self._note_activity(pieces, masked=True)
        if events := splitter.events:
            self.to_client += _pongs(events, b"")
            for event in events:
                self._client_event(event)

    def upstream_data(self, block: Block, start: int, end: int) -> None:
        """Bytes from upstream, its carry before them."""
        if self.phase is CLOSING:
            return
        self._upstream.heard()
        splitter = self._from_upstream
        pieces = splitter.take(block, start, end)
        self.to_client += pieces
        self._client.sent(_size(pieces))
        if self._lifetime is not None:
            self._note_activity(pieces, masked=False)
        if events := splitter.events:
            self.to_upstream += _pongs(events, self._mask_key())
            for event in events:
                self._upstream_event(event)

    def client_unread(self) -> None:
        """For a while the client wasn't read, since upstream takes nothing: what it says can't be waited for."""

    def client_end(self) -> None:
        """The client's connection is at its end, without a close frame or after one."""
        if self.phase is RELAYING:
            self._client_left(None, "")

    def upstream_end(self) -> None:
        """Upstream's connection is at its end."""
        if self.phase is RELAYING:
            self.to_client += self._from_upstream.flush_truncated()
            self._upstream_gone(None, "The connection to the apiserver ended without an exit status.")

    def upstream_lost(self) -> None:
        """Upstream's connection broke: to a session that is as good as its end."""
        self.upstream_end()

    def tick(self, client: Health, upstream: Health) -> None:
        """A ping period has passed."""
        if self.phase is RELAYING and self._tick_client(client):
            self._tick_upstream(upstream)

    def inject(self, channel: int, payload: bytes) -> None:
        """Send upstream a message that isn't the client's: between two of its messages, whatever it has begun."""
        assert self.phase is RELAYING, "there is nobody to send it to"
        piece = frames.frame(frames.BINARY, bytes((channel,)) + payload, self._mask_key())
        self.to_upstream.append(piece)
        self._upstream.sent(len(piece))
        self._active = True

    def ping_client(self) -> None:
        """Ping the client out of turn; an answer isn't waited for."""
        if self.phase is RELAYING:
            self.to_client.append(frames.frame(frames.PING, PING_PAYLOAD))

    def look_at_age(self, now: float) -> bool:
        """It is ``now`` (monotonic): whether what is still owed has had its time, too."""
        if self._lifetime is None:
            return False
        active, self._active = self._active, False
        age = self._lifetime.look(now, active=active)
        match age:
            case Age.FINE:
                return False
            case _ if self.phase is CLOSING:
                return age in (Age.IDLE_OVER, Age.DURATION_OVER)
            case Age.IDLE_SOON | Age.DURATION_SOON:
                self._say(self._lifetime.sentence(age))
            case Age.IDLE_OVER:
                self._expire(Ending.IDLE_TIMEOUT, self._lifetime.sentence(age))
            case Age.DURATION_OVER:
                self._expire(Ending.MAX_DURATION, self._lifetime.sentence(age))
            case _ as never:
                assert_never(never)
        return False

    def status_overdue(self) -> None:
        """The status came, but neither the close nor the end did in time."""
        if self.phase is RELAYING:
            assert self.status_seen, "there is no status that anything could be overdue after"
            self._upstream_gone(None, "")

    def fail(self, status: bytes, reason: str) -> None:
        """There is no upstream: tell ``status`` (a ``metav1.Status`` in JSON) on channel 3 and close with 1011."""
        self._tell_failure(status)
        self._close(Ending.UPSTREAM_FAILED, frames.INTERNAL_ERROR, reason)

    def drain(self, line: bytes, channel: int, reason: str) -> None:
        """The daemon goes down: a line for the person, a status for the program, close 1001."""
        self._end_by_us(line, channel, channels.failure(reason, reason="ServiceUnavailable", code=503))
        if self.phase is RELAYING:
            self._close(Ending.DRAINED, frames.GOING_AWAY, reason)

    def terminate(self, line: bytes, channel: int, reason: str) -> None:
        """Somebody ends it: a line for the person, a status for the program, close 1008."""
        self._end_by_us(line, channel, channels.failure(reason, reason="Terminated", code=403))
        if self.phase is RELAYING:
            self._close(Ending.TERMINATED, frames.POLICY_VIOLATION, reason)

    def give_up(self, line: bytes, channel: int, reason: str) -> None:
        """It has to be recorded, and can't be any more: a line for the person, a status for the program, close 1011."""
        if self.phase is RELAYING:
            if not self.status_seen:
                self.to_client.append(frames.frame(frames.BINARY, bytes((channel,)) + line))
            self._fail(Ending.RECORDING_FAILED, reason)

    def _end_by_us(self, line: bytes, channel: int, status: bytes) -> None:
        if self.phase is RELAYING and not self.status_seen:
            self.to_client.append(frames.frame(frames.BINARY, bytes((channel,)) + line))
            self._tell_status(status)

    def _note_activity(self, pieces: list[Piece], *, masked: bool) -> None:
        """Whether anything has content. Once that is known there is nothing to look at until the next look at its age.

        Clients that can't ping send messages without any, a channel byte or less, to keep a connection alive: those
        don't keep an idle session from ending.
        """
        if not self._active and pieces:
            self._active = frames.any_longer_than(1, b"".join(pieces), masked=masked, looks=_LOOKS)

    def say(self, text: str) -> None:
        """A line for the person, while it lasts."""
        if self.phase is RELAYING and not self.status_seen:
            self._say(text)

    def watched(self, count: int) -> None:
        """So many watch from now on; a client that hasn't asked isn't told by more than a line."""

    def _say(self, text: str) -> None:
        """A line for the person."""
        line = f"\r\nk8s-ws-proxy: {text}.\r\n".encode()
        self.to_client.append(frames.frame(frames.BINARY, bytes((self._notices,)) + line))

    def _expire(self, ending: Ending, text: str) -> None:
        if not self.status_seen:
            self._say(text)
            self._tell_status(channels.failure(text, reason="Timeout", code=504))
        self._close(ending, frames.POLICY_VIOLATION, text)

    def _tick_client(self, health: Health) -> bool:
        """Whether the client is taken to be there still."""
        verdict = self._client.tick(health)
        if verdict is Verdict.DEAD:
            self._close(Ending.CLIENT_SILENT, frames.GOING_AWAY, "no answer to a ping")
            return False
        if verdict is Verdict.PING:
            self.to_client.append(frames.frame(frames.PING, PING_PAYLOAD))
        return True

    def _tick_upstream(self, health: Health) -> None:
        verdict = self._upstream.tick(health)
        if verdict is Verdict.DEAD:
            self._fail(Ending.UPSTREAM_SILENT, "The apiserver didn't answer a ping: the connection is dead.")
        elif verdict is Verdict.PING:
            self.to_upstream.append(frames.frame(frames.PING, PING_PAYLOAD, self._mask_key()))

    def _client_event(self, event: Event) -> None:
        match event:
            case Ping():
                pass
            case Closed(code, reason):
                self._client_left(code, reason)
            case Violation(code, text):
                self._close(Ending.CLIENT_BROKE_PROTOCOL, code, text)
            case Status():
                raise AssertionError("a client has no status channel")
            case _ as never:
                assert_never(never)

    def _upstream_event(self, event: Event) -> None:
        match event:
            case Ping():
                pass
            case Status(payload):
                self.status_seen = True
                status = channels.parse_status(payload)
                self.exit_code = channels.exit_code(status) if status else None
            case Closed(code, _):
                self._upstream_gone(code, "The apiserver closed the connection without an exit status.")
            case Violation(_, text):
                self._fail(Ending.UPSTREAM_BROKE_PROTOCOL, f"The apiserver broke the WebSocket protocol: {text}.")
            case _ as never:
                assert_never(never)

    def _client_left(self, code: int | None, reason: str) -> None:
        payload = frames.close_payload(code, reason)
        self.to_client.append(frames.frame(frames.CLOSE, payload))  # RFC 6455 §5.5.1: typically echoes the code
        self._leave_upstream(frames.GOING_AWAY if code is None else code)
        self._enter_closing(Ending.CLIENT_LEFT, code)

    def _upstream_gone(self, code: int | None, text: str) -> None:
        if not self.status_seen:
            self._fail(Ending.UPSTREAM_LOST, text)
            return
        self._close(Ending.COMMAND_ENDED, frames.NORMAL if code is None else code, "")

    def _fail(self, ending: Ending, text: str) -> None:
        """End with a Failure, unless upstream has said how the command ended. Never a Success that wasn't said."""
        if not self.status_seen:
            self._tell_failure(channels.failure(text, reason="InternalError", code=500))
        self._close(ending, frames.INTERNAL_ERROR, text)

    def _tell_failure(self, status: bytes) -> None:
        """Say that it isn't the command that ended: on channel 3, and wherever else a client would look."""
        self._tell_status(status)

    def _tell_status(self, status: bytes) -> None:
        self.to_client.append(frames.frame(frames.BINARY, bytes((channels.STATUS,)) + status))

    def _close(self, ending: Ending, code: int, reason: str) -> None:
        self.to_client.append(frames.frame(frames.CLOSE, frames.close_payload(code, reason)))
        orderly = ending in (Ending.COMMAND_ENDED, Ending.FORWARD_ENDED)
        self._leave_upstream(frames.NORMAL if orderly else frames.GOING_AWAY)
        self._enter_closing(ending, code)

    def _leave_upstream(self, code: int) -> None:
        self.to_upstream.append(frames.frame(frames.CLOSE, frames.close_payload(code), self._mask_key()))

    def _enter_closing(self, ending: Ending, code: int | None) -> None:
        assert self.phase is RELAYING, f"{ending} after {self.ending}"
        self.phase = CLOSING
        self.ending = ending
        self.close_code = code


def _pongs(events: list[Event], key: bytes) -> list[Piece]:
    pings = [event for event in events if isinstance(event, Ping)]
    return [frames.frame(frames.PONG, ping.payload, key) for ping in pings[-MOST_PONGS:]]


def _size(pieces: list[Piece]) -> int:
    return len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
