"""What is written down about a session: one log line when it opens, one when it ends, and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.wire.relay import Ending
from k8s_ws_proxy.wire.target import AttachTarget, ExecTarget, LogTarget, PortForwardTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.relay.session import Session
    from k8s_ws_proxy.wire.target import Target

_MOST_ARGUMENTS: Final = 16
_LONGEST_ARGUMENT: Final = 80  # characters: enough to know a command again, too little for a script in it


class Books:
    """One session's. ``clock`` is monotonic, in seconds."""

    def __init__(
        self, session_id: str, principal: Principal, target: Target, peer: str, clock: Callable[[], float]
    ) -> None:
        self.id = session_id
        self.tty = isinstance(target, AttachTarget) and target.streams.tty
        self._opened = False
        self._clock = clock
        self._began = clock()
        self._facts: dict[str, Any] = {
            "session": session_id,
            "mode": principal.mode.value,
            "key_id" if principal.mode is Mode.HMAC else "subject": principal.name,
            "peer": peer,
            "subresource": target.subresource.value,
            "namespace": target.namespace,
            "pod": target.pod,
        }
        if isinstance(target, PortForwardTarget):
            self._facts["ports"] = list(target.ports) or "tunnel"
        else:
            self._facts["container"] = target.container
        if isinstance(target, AttachTarget):
            self._facts["tty"] = self.tty
        if isinstance(target, ExecTarget):
            self._facts["command"] = shorten(target.command)
        if isinstance(target, LogTarget):
            self._facts["follow"] = target.options.follow

    def resolved(self, pod: str) -> None:
        """The pod segment was an alias."""
        if pod != self._facts["pod"]:
            self._facts["alias"], self._facts["pod"] = self._facts["pod"], pod

    def entered(self, container: str) -> None:
        """No container was named: this one was meant."""
        self._facts["container"] = container

    def opened(self) -> None:
        """The line for the 101."""
        self._opened = True
        metrics.SESSIONS_OPENED.labels(self._facts["subresource"]).inc()
        logger().info("session opened", **self._facts)

    def failed(self, reason: str, detail: str) -> None:
        """The line for a dial that failed."""
        logger().warning("session failed", **self._facts, reason=reason, detail=detail)

    def abandoned(self) -> None:
        """The line for a client that left before its 101."""
        logger().info("client left before the session opened", **self._facts)

    def ended(self, session: Session) -> None:
        """The line for the end of a session that was opened."""
        if not self._opened:
            return
        relay = session.relay
        assert relay.ending is not None
        seconds = self._clock() - self._began
        metrics.SESSION_SECONDS.observe(seconds)
        metrics.SESSIONS_ENDED.labels(relay.ending.value).inc()
        metrics.BYTES.labels("in").inc(session.bytes_from_client)
        metrics.BYTES.labels("out").inc(session.bytes_to_client)
        say = logger().info if relay.ending in _EXPECTED else logger().warning
        exit_code = {"exit_code": relay.exit_code} if "tty" in self._facts else {}
        say(
            "session ended",
            **self._facts,
            reason=relay.ending.value,
            **exit_code,
            close_code=relay.close_code,
            bytes_in=session.bytes_from_client,
            bytes_out=session.bytes_to_client,
            duration_seconds=round(seconds, 3),
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
    }
)


def shorten(command: Sequence[str]) -> list[str]:
    """The arguments, each cut to 80 characters, 16 of them at most; undecodable bytes are shown escaped."""
    shown = [
        (argument if len(argument) <= _LONGEST_ARGUMENT else argument[:_LONGEST_ARGUMENT] + "…")
        .encode("utf-8", "backslashreplace")
        .decode()
        for argument in command[:_MOST_ARGUMENTS]
    ]
    return shown if len(command) <= _MOST_ARGUMENTS else [*shown, f"… {len(command) - _MOST_ARGUMENTS} more"]
