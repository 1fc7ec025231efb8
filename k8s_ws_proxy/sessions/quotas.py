"""How many sessions there may be at once, of whom and of what: a row for each limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from k8s_ws_proxy.sessions.record import SessionRecord

# Bytes of memory that requests may take while they are dialled, all together. A request line of 128 KiB takes 1.3 MB:
# itself in five places, and a string for each of up to 30,000 arguments.
HELD_BY_DIALS: Final = 16 * 1024 * 1024
_TAKES: Final = 12  # bytes of memory for each byte of a request's target, at the worst


def held_by(size: int) -> int:
    """Bytes of memory that a request whose target has ``size`` bytes takes until it is dialled, at the worst."""
    return size * _TAKES


def opening(_record: object = None) -> str:
    """What who comes while too many are dialled is told."""
    return "This proxy is opening as many sessions as it can: try again in a moment."


def _everybody(_record: SessionRecord) -> Hashable:
    return ""


def _one(_size: int) -> int:
    return 1


@dataclass(frozen=True, slots=True)
class Quota:
    """At most ``limit`` (0 is no limit) for each ``key``, of whom has one; beyond, ``reason`` and ``text``.

    ``takes`` says how much of it a session has whose request's target has so many bytes; the first of a key always
    fits. With ``dialling`` it is given back when the apiserver has answered.
    """

    limit: int
    reason: Reason
    text: Callable[[SessionRecord], str]
    key: Callable[[SessionRecord], Hashable] = _everybody
    takes: Callable[[int], int] = _one
    dialling: bool = False


def quotas(sessions: int, *, per_namespace: int = 0, per_user: int = 0, handshakes: int = 0) -> list[Quota]:
    """The rows, in the order in which they are looked at."""
    return [
        Quota(
            sessions,
            Reason.TOO_MANY_SESSIONS,
            lambda _record: "This proxy has as many sessions as it can take: try again in a while.",
        ),
        Quota(
            per_namespace,
            Reason.TOO_MANY_IN_NAMESPACE,
            lambda record: (
                f"Namespace {record.target.namespace} has as many sessions as it may: end one, or try again in a while."
            ),
            key=lambda record: record.target.namespace,
        ),
        Quota(
            per_user,
            Reason.TOO_MANY_OF_USER,
            lambda record: (
                f"User {record.principal.user} has as many sessions as one may: end one, or try again in a while."
            ),
            key=lambda record: record.principal.user,
        ),
        Quota(handshakes, Reason.TOO_MANY_HANDSHAKES, opening, dialling=True),
        Quota(HELD_BY_DIALS, Reason.TOO_MANY_HANDSHAKES, opening, takes=held_by, dialling=True),
    ]
