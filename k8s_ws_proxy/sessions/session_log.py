"""What is written down about a session: in log and audit trail when it opens and when it ends, and the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.audit.trail import NO_TRAIL
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.sessions.audited import subject_of
from k8s_ws_proxy.wire.audit.events import (
    SessionEnded,
    SessionOpened,
    SessionRefused,
    SessionUnwatched,
    SessionWatched,
)
from k8s_ws_proxy.wire.rules.relay import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.reasons import Reason
    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.sessions.record import SessionRecord, WatchMode


_BYTES_IN: Final = metrics.BYTES.labels("in")
_BYTES_OUT: Final = metrics.BYTES.labels("out")


class SessionLog:
    """One session's. ``clock`` is monotonic, in seconds."""

    def __init__(self, record: SessionRecord, clock: Callable[[], float], audit: Trail = NO_TRAIL) -> None:
        self.record = record
        self.audit = audit
        self._clock = clock
        self._opened = False

    def resolved(self, pod: str) -> None:
        """The pod's own name, where the segment may have been an alias."""
        self.record = replace(self.record, pod=pod)

    def entered(self, container: str) -> None:
        """No container was named: this one was meant."""
        self.record = replace(self.record, container=container)

    def recorded(self, path: str) -> None:
        """It is recorded, there."""
        self.record = replace(self.record, recording=path)

    def watching(self, watched: SessionRecord, mode: WatchMode) -> None:
        """It watches another session."""
        self.record = replace(
            self.record, pod=watched.pod, container=watched.container, watches=watched.id, watch_mode=mode
        )

    def opened(self, command: Sequence[str] | None = None, greet: Callable[[], None] = lambda: None) -> None:
        """The line for the 101, which ``greet`` sends. ``command`` is the whole one, where there is one.

        What has to be shown is written down before somebody hears of it. What is for who operates it comes after:
        a person waits for the 101.
        """
        self._opened = True
        if self.audit.on:
            self._audit_begin(command)
        greet()
        metrics.SESSIONS_OPENED.labels(self.record.kind).inc()
        logger().info("session opened", **self.record.log_fields())

    def _audit_begin(self, command: Sequence[str] | None) -> None:
        if (mode := self.record.watch_mode) is not None:
            self.audit.emit(SessionWatched(subject_of(self.record), watch=self.record.id, watch_mode=mode.value))
        else:
            self.audit.emit(SessionOpened(subject_of(self.record, command)))

    def failed(self, reason: Reason, status: int, detail: str, command: Sequence[str] | None = None) -> None:
        """The line for a dial that failed. ``status`` is the apiserver's, or one of ours."""
        logger().warning("session failed", **self.record.log_fields(), reason=reason.value, detail=detail)
        self.audit.emit(SessionRefused(subject_of(self.record, command), refusal=reason.value, status=status))

    def abandoned(self, command: Sequence[str] | None = None) -> None:
        """The line for a client that left before its 101: its command may have begun."""
        logger().info("client left before the session opened", **self.record.log_fields())
        if not self.record.watches:
            seconds = self._clock() - self.record.began
            self.audit.emit(
                SessionEnded(
                    subject_of(self.record, command),
                    ending=Ending.CLIENT_LEFT.value,
                    opened=False,
                    duration_seconds=round(seconds, 3),
                )
            )

    def ended(self, bridge: Bridge) -> None:
        """The line for the end of a session that was opened."""
        if not self._opened:
            return
        relay = bridge.relay
        assert relay.ending is not None
        seconds = self._clock() - self.record.began
        metrics.SESSION_SECONDS.observe(seconds)
        metrics.SESSIONS_ENDED.labels(relay.ending.value).inc()
        _BYTES_IN.inc(bridge.bytes_from_client)
        _BYTES_OUT.inc(bridge.bytes_to_client)
        say = logger().info if relay.ending in _EXPECTED else logger().warning
        exit_code = {"exit_code": relay.exit_code} if self.record.runs_command else {}
        say(
            "session ended",
            **self.record.log_fields(),
            reason=relay.ending.value,
            **exit_code,
            close_code=relay.close_code,
            bytes_in=bridge.bytes_from_client,
            bytes_out=bridge.bytes_to_client,
            duration_seconds=round(seconds, 3),
        )
        if self.audit.on:
            self._audit_end(bridge, relay.ending, round(seconds, 3))

    def _audit_end(self, bridge: Bridge, ending: Ending, seconds: float) -> None:
        subject = subject_of(self.record)
        if (mode := self.record.watch_mode) is not None:
            self.audit.emit(
                SessionUnwatched(
                    subject,
                    watch=self.record.id,
                    watch_mode=mode.value,
                    ending=ending.value,
                    bytes_out=bridge.bytes_to_client,
                    bytes_in=bridge.bytes_from_client,
                    duration_seconds=seconds,
                )
            )
            return
        self.audit.emit(
            SessionEnded(
                subject,
                ending=ending.value,
                exit_code=bridge.relay.exit_code if self.record.runs_command else None,
                close_code=bridge.relay.close_code,
                bytes_in=bridge.bytes_from_client,
                bytes_out=bridge.bytes_to_client,
                duration_seconds=seconds,
            )
        )


_EXPECTED: Final = frozenset(
    {
        Ending.COMMAND_ENDED,
        Ending.FORWARD_ENDED,
        Ending.LOG_ENDED,
        Ending.CLIENT_LEFT,
        Ending.IDLE_TIMEOUT,
        Ending.MAX_DURATION,
        Ending.DRAINED,
        Ending.TERMINATED,
        Ending.WATCHED_ENDED,
        Ending.TOO_SLOW,
    }
)
