"""Refusals in the audit trail: anybody can cause them, so each has a line up to so many a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.audit.events import SessionRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.reasons import Reason

MOST_OF_UNKNOWN: Final = 10  # lines a second for a reason, of callers who have proved nothing
MOST_OF_KNOWN: Final = 100
_TELL: Final = 1.0  # seconds


class Refusals:
    """Tells of them. ``later`` is an event loop's ``call_later``."""

    def __init__(self, trail: Trail, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._trail = trail
        self._later = later
        self._seen: dict[tuple[Reason, bool], int] = {}  # in this second, by whether the caller is known

    def note(self, reason: Reason, *, known: bool, event: Callable[[], SessionRefused]) -> None:
        """One more for this reason, whose line is ``event``, if it has one."""
        if not self._trail.on:
            return
        if not self._seen:
            self._later(_TELL, self.settle)
        self._seen[reason, known] = seen = self._seen.get((reason, known), 0) + 1
        if seen <= (MOST_OF_KNOWN if known else MOST_OF_UNKNOWN):
            self._trail.emit(event())

    def settle(self) -> None:
        """Tell how many had no line of their own."""
        seen, self._seen = self._seen, {}
        for (reason, known), count in seen.items():
            if omitted := max(0, count - (MOST_OF_KNOWN if known else MOST_OF_UNKNOWN)):
                self._trail.emit(SessionRefused(refusal=reason.value, status=reason.rule.status, omitted=omitted))
