"""What is known of a session: one frozen record, which grows by replacement."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget, LogTarget, PortForwardTarget, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.auth.principal import Principal

_WHOLE: Final = 4096  # characters of a command that is kept as it is
_LONGEST_NAME: Final = 64  # characters, on a terminal
_MOST_ARGUMENTS: Final = 16
_LONGEST_ARGUMENT: Final = 80  # characters: enough to know a command again, too little for a script in it


class WatchMode(Enum):
    """What a watcher may do; the value is the caller's word for it."""

    OBSERVE = "observe"
    PEER = "peer"  # type, too


@dataclass(frozen=True, slots=True)
class Watcher:
    """One of a session's. ``session`` is its own id, ``user`` the user or else the key or subject.

    ``since`` is in Unix seconds.
    """

    session: str
    user: str
    mode: WatchMode
    since: float


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """Who wants what, and what that turned out to be.

    ``target`` is what was asked for, a long command shortened: nothing of a session keeps the whole of it. ``pod`` is
    the name behind an alias, ``container`` the one that is meant where none is named. ``began`` is monotonic, in
    seconds, ``started`` Unix seconds.
    """

    id: str
    principal: Principal
    target: Target
    peer: str
    began: float
    started: float
    pod: str
    container: str | None
    cut: bool = False
    """Of a long command only what is logged is kept."""
    command_sha256: str = ""
    """Of the whole of such a command: the SHA-256 of its arguments, each followed by a zero byte."""
    watches: str = ""
    """The id of the session that this one watches, and in which mode."""
    watch_mode: WatchMode | None = None
    recording: str = ""
    """Where its recording is, in the directory of recordings."""

    @classmethod
    def of(
        cls, session: str, principal: Principal, target: Target, peer: str, began: float, started: float
    ) -> SessionRecord:
        """A session's beginning."""
        target, sha256 = kept(target)
        container = None if isinstance(target, PortForwardTarget) else target.container
        return cls(session, principal, target, peer, began, started, target.pod, container, bool(sha256), sha256)

    @property
    def tty(self) -> bool:
        """It is a terminal."""
        return isinstance(self.target, AttachTarget) and self.target.streams.tty

    @property
    def kind(self) -> str:
        """What it is, for a metric: a subresource, or that it watches."""
        return "watch" if self.watches else self.target.subresource.value

    @property
    def runs_command(self) -> bool:
        """It has an exit status."""
        return isinstance(self.target, AttachTarget)

    def log_fields(self) -> dict[str, object]:
        """For both lines in the log."""
        target, principal = self.target, self.principal
        fields: dict[str, object] = {
            "session": self.id,
            "mode": principal.mode.value,
            "key_id" if principal.mode.signs else "subject": principal.name,
            **principal.log_fields(),
            "peer": self.peer,
            "subresource": target.subresource.value,
            "namespace": target.namespace,
            "pod": self.pod,
        }
        if self.recording:
            fields["recording"] = self.recording
        if self.watch_mode is not None:
            fields |= {"watches": self.watches, "watch_mode": self.watch_mode.value}
        match target:
            case PortForwardTarget():
                fields["ports"] = list(target.ports) or "tunnel"
            case LogTarget():
                fields |= {"container": self.container, "follow": target.options.follow}
            case ExecTarget():
                fields |= {
                    "container": self.container,
                    "tty": self.tty,
                    "command": list(target.command) if self.cut else shorten(target.command),
                }
            case AttachTarget():
                fields |= {"container": self.container, "tty": self.tty}
        return fields if self.pod == target.pod else {**fields, "alias": target.pod}


def kept(target: Target) -> tuple[Target, str]:
    """``target`` with its command shortened where that is long, and then a hash of the whole of it."""
    if not isinstance(target, ExecTarget):
        return target, ""
    command, sha256 = kept_command(target.command)
    return (target.with_command(command) if sha256 else target), sha256


def kept_command(command: Sequence[str]) -> tuple[Sequence[str], str]:
    """``command`` shortened where it is long, and then a hash of the whole of it."""
    if sum(map(len, command)) <= _WHOLE:
        return command, ""
    whole = b"".join(argument.encode("utf-8", "surrogateescape") + b"\0" for argument in command)
    return shorten(command), hashlib.sha256(whole).hexdigest()


def shown(name: str) -> str:
    """``name`` on a terminal: nothing in it that the terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_NAME])


def shorten(command: Sequence[str]) -> list[str]:
    """The arguments, each cut to 80 characters, 16 of them at most; undecodable bytes are shown escaped."""
    shown = [
        (argument if len(argument) <= _LONGEST_ARGUMENT else argument[:_LONGEST_ARGUMENT] + "…")
        .encode("utf-8", "backslashreplace")
        .decode()
        for argument in command[:_MOST_ARGUMENTS]
    ]
    return shown if len(command) <= _MOST_ARGUMENTS else [*shown, f"… {len(command) - _MOST_ARGUMENTS} more"]
