"""The sessions under way: a slot is taken before anything is dialled, and given back when both sockets are closed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions import descriptors
from k8s_ws_proxy.sessions.record import SessionRecord
from k8s_ws_proxy.sessions.session_log import SessionLog

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.dial import Upstream
    from k8s_ws_proxy.relay.session import Session
    from k8s_ws_proxy.sessions.orphans import Dialled, LateOrphan, Orphan
    from k8s_ws_proxy.sessions.quotas import Quota
    from k8s_ws_proxy.wire.target import Target

    Share = tuple[Quota, Counter[Hashable], Hashable, int]


class Slot:
    """One admitted session. ``session`` is None while it is dialled, until its 101."""

    def __init__(self, registry: Registry, log: SessionLog, shares: Sequence[Share]) -> None:
        self._registry = registry
        self._shares = tuple(shares)
        self.log = log
        self.session: Session | None = None
        self._dial: asyncio.Task[Dialled] | None = None  # as long as it isn't known what became of it
        self._orphan: Orphan | LateOrphan | None = None

    async def wait_for(self, dial: asyncio.Task[Dialled]) -> Upstream:
        """What was dialled, with the process that is to be hung up if the session ends before it. Raises its error.

        A dial that is no longer waited for keeps its slot until it is over.
        """
        self._dial = dial
        dialled = await asyncio.shield(dial)
        self._dial, self._orphan = None, dialled.orphan
        if dialled.upstream is None:
            assert dialled.error is not None
            raise dialled.error
        return dialled.upstream

    def waits(self) -> bool:
        """Whether somebody waits for the dial that wait_for() was given."""
        return self._dial is not None

    def dialled(self, session: Session) -> None:
        """The apiserver has answered, or won't: ``session`` has it from here."""
        self.session = session
        self.give_back(dialling=True)

    def opened(self, session: Session) -> None:
        """The 101 is about to be sent."""
        self.dialled(session)
        self.log.opened()

    def ended(self, session: Session) -> None:
        """Both sides have been told."""
        self._leave(told=session.relay.status_seen)
        self.log.ended(session)

    def release(self, _session: Session | None = None) -> None:
        """Give the slot back."""
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.add_done_callback(self._abandon)
            return
        if self.session is None:
            self._leave()
        self._registry.release(self)

    def give_back(self, *, dialling: bool = False) -> None:
        """Give back its shares of the quotas, or those that it has only while it is dialled."""
        given = [share for share in self._shares if share[0].dialling or not dialling]
        self._shares = tuple(share for share in self._shares if share not in given)
        for _, used, key, takes in given:
            used[key] -= takes
            if not used[key]:
                del used[key]

    def _abandon(self, dial: asyncio.Task[Dialled]) -> None:
        """The client has left, or the time is over: nobody wants what was dialled."""
        try:
            if not dial.cancelled() and dial.exception() is None:
                dialled = dial.result()
                if dialled.upstream is not None:
                    dialled.upstream.stream.close()
                self._orphan = dialled.orphan
                self._leave()
        finally:  # whatever went wrong: a slot that isn't given back is lost until the daemon ends
            self._registry.release(self)

    def _leave(self, *, told: bool = False) -> None:
        """What was started is left to itself; ``told``: the apiserver has said that it had ended."""
        orphan, self._orphan = self._orphan, None
        if orphan is not None:
            orphan.ended(self.log.record.id, told=told)


class Registry:
    """Admits whom the quotas let in. ``clock`` is monotonic, in seconds."""

    def __init__(self, quotas: Sequence[Quota], clock: Callable[[], float]) -> None:
        self._used: list[tuple[Quota, Counter[Hashable]]] = [(quota, Counter()) for quota in quotas if quota.limit]
        self._clock = clock
        self._slots: set[Slot] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._dials: set[asyncio.Timeout] = set()
        self.draining = False  # nobody new is admitted
        self.ending = False  # who was admitted and still has no session doesn't get one

    def admit(self, principal: Principal, target: Target, peer: str, size: int = 0) -> Slot:
        """A slot for one session, of a request whose target has ``size`` bytes.

        Raises Refusal: ``shutting_down``, the reasons of the quotas, or ``no_descriptors``.
        """
        if self.draining:
            raise shutting_down()
        record = SessionRecord.of(secrets.token_hex(8), principal, target, peer, self._clock())
        shares: list[Share] = []
        for quota, used in self._used:
            key, takes = quota.key(record), quota.takes(size)
            if used[key] and used[key] + takes > quota.limit:
                raise Refusal(quota.reason, quota.text(record))
            shares.append((quota, used, key, takes))
        if not descriptors.left():
            raise Refusal(
                Reason.NO_DESCRIPTORS,
                "This proxy has no file descriptors left: try again in a while.",
            )
        for _, used, key, takes in shares:
            used[key] += takes
        slot = Slot(self, SessionLog(record, self._clock), shares)
        self._slots.add(slot)
        self._empty.clear()
        metrics.SESSIONS_OPEN.set(len(self._slots))
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back; twice does no harm."""
        if slot not in self._slots:
            return
        self._slots.remove(slot)
        slot.give_back()
        metrics.SESSIONS_OPEN.set(len(self._slots))
        if not self._slots:
            self._empty.set()

    @property
    def open(self) -> int:
        """How many are admitted now."""
        return len(self._slots)

    def open_slots(self) -> list[Slot]:
        """Those admitted now."""
        return list(self._slots)

    @contextlib.contextmanager
    def cutting_short(self, dial: asyncio.Timeout) -> Iterator[None]:
        """Within the block, ``dial`` is over at once when the daemon waits no longer."""
        self._dials.add(dial)
        try:
            yield
        finally:
            self._dials.discard(dial)

    def turn_away(self) -> None:
        """The drain is over: no dial is waited for any more, and none becomes a session."""
        self.ending = True
        now = asyncio.get_running_loop().time()
        for dial in self._dials:
            if not dial.expired():
                dial.reschedule(now)

    async def emptied(self) -> None:
        """Wait until no session is left."""
        await self._empty.wait()


def shutting_down() -> Refusal:
    """What whoever comes too late is told."""
    return Refusal(Reason.SHUTTING_DOWN, "This proxy is shutting down: try again, another one will answer.")
