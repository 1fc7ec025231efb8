"""Tickets: 256 random bits that are good once, for one thing, for a short while, in the daemon that issued them.

Only a hash of each is kept: who reads this process's memory afterwards can't use what is in it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from k8s_ws_proxy.errors import CredentialRefused, Reason, Refusal
from k8s_ws_proxy.observe import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.wire.requests.target import Route, Target

    class Timer(Protocol):
        """What a ``call_later`` returns."""

        def cancel(self) -> None:
            """It isn't to be called any more."""

    Later = Callable[[float, Callable[[], None]], Timer]

_BITS: Final = 256
MOST_BYTES: Final = 16 * 1024 * 1024
"""Of memory for all that is out: a command may have 64 KiB, and groups 4."""
_CLAIM: Final = 64  # bytes that a text takes besides its characters, of which each may take four


class Use(Enum):
    """What a ticket is good for."""

    STREAM = "stream"
    OBSERVE = "observe"
    PEER = "peer"
    REPLAY = "replay"
    RECEIPT = "receipt"  # what plays a recording shows this, too


@dataclass(frozen=True, slots=True)
class Issued:
    """A session that was issued and isn't open yet: what it will be.

    ``size`` is bytes of memory that its request takes, at the worst; ``length`` bytes of the target that would open it.
    """

    record: SessionRecord
    route: Route
    target: Target
    size: int
    length: int = 0
    recorded: bool = False
    """It is to be recorded, whatever is usual."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a ticket opens: ``use`` of the session ``session``, for ``principal``, until ``expires`` (Unix seconds)."""

    session: str
    use: Use
    principal: Principal
    expires: float
    issued: Issued | None = None

    @property
    def size(self) -> int:
        """Bytes of memory, at the worst."""
        who = self.principal
        claims = (who.user or "", who.reason or "")
        size = sum(4 * len(claim) for claim in claims) + sum(_CLAIM + len(group) for group in who.groups)
        return size + (self.issued.size if self.issued else 0)


class Tickets:
    """At most ``capacity`` are out. ``clock`` gives Unix seconds, ``later`` is an event loop's ``call_later``."""

    def __init__(self, capacity: int, *, clock: Callable[[], float], later: Later) -> None:
        self._capacity = capacity
        self._clock = clock
        self._later = later
        self._out: dict[tuple[bytes, Use], tuple[Grant, Timer]] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many are out."""
        return len(self._out)

    def issue(
        self,
        session: str,
        use: Use,
        principal: Principal,
        within: float,
        issued: Issued | None = None,
        *,
        also: tuple[Use, ...] = (),
    ) -> tuple[str, float]:
        """A ticket, good for ``within`` seconds, and when it expires. Raises Refusal(``too_many_tickets``).

        ``also`` is what else it is good for, once each.
        """
        expires = self._clock() + within
        grants = [Grant(session, each, principal, expires, issued) for each in (use, *also)]
        size = sum(grant.size for grant in grants)
        if len(self._out) + len(grants) > self._capacity or (size and self._size + size > MOST_BYTES):
            raise Refusal(
                Reason.TOO_MANY_TICKETS, "As many tickets are out as this proxy may issue: try again in a while."
            )
        ticket = secrets.token_urlsafe(_BITS // 8)
        for grant in grants:
            key = (_digest(ticket), grant.use)
            self._out[key] = grant, self._later(within, partial(self._forget, key))
        self._size += size
        metrics.TICKETS.labels(use.value).inc()
        return ticket, expires

    def redeem(self, ticket: str, session: str, *uses: Use) -> Grant:
        """What ``ticket`` opens, once. Raises as look() does."""
        grant = self.look(ticket, session, *uses)
        self._forget((_digest(ticket), grant.use))
        return grant

    def look(self, ticket: str, session: str, *uses: Use) -> Grant:
        """What ``ticket`` opens, if it is for one of ``uses`` of ``session``.

        Raises CredentialRefused(``bad_ticket``): why it doesn't isn't told.
        """
        digest = _digest(ticket)
        found = [self._out[digest, use][0] for use in uses if (digest, use) in self._out]
        grant = found[0] if found else None
        if grant is None or grant.session != session or grant.expires <= self._clock():
            raise CredentialRefused(
                Reason.BAD_TICKET,
                "The ticket isn't good for this, or not any more: each is good once, for a short while, on the node "
                "that issued it.",
            )
        return grant

    def waiting(self) -> Iterator[Issued]:
        """The sessions that wait to be opened."""
        return (grant.issued for grant, _ in self._out.values() if grant.issued is not None)

    def revoke(self, session: str) -> Issued | None:
        """Let nobody open ``session`` any more, or join it; what it would have been, if it was waiting."""
        found = [(key, grant) for key, (grant, _) in self._out.items() if grant.session == session]
        for key, _ in found:
            self._forget(key)
        return next((grant.issued for _, grant in found if grant.issued is not None), None)

    def _forget(self, key: tuple[bytes, Use]) -> None:
        if (found := self._out.pop(key, None)) is not None:
            grant, timer = found
            timer.cancel()  # else those that were used would be kept by it for all of their time
            self._size -= grant.size


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).digest()
