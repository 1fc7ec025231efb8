"""The sessions under way: a slot is taken before anything is dialled, and given back when both sockets are closed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.audit.trail import NO_TRAIL
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.sessions import descriptors
from k8s_ws_proxy.sessions.audited import caller_of, subject_of
from k8s_ws_proxy.sessions.record import SessionRecord, Watcher, shown
from k8s_ws_proxy.sessions.session_log import SessionLog
from k8s_ws_proxy.sessions.uuid7 import uuid7
from k8s_ws_proxy.wire.audit.events import SessionTerminated
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT
from k8s_ws_proxy.wire.rules.relay import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.sessions.quotas import Quota
    from k8s_ws_proxy.wire.requests.target import Target

    Share = tuple[Quota, Counter[Hashable], Hashable, int]


_MOST_WATCHERS: Final = 1000  # of a session that are remembered


class State(Enum):
    """How far a session is; the values are what callers are told."""

    ISSUED = "issued"  # there is a ticket for it
    OPENING = "opening"
    OPEN = "open"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Termination:
    """Who ends a session, and why, where that was said. ``peer`` is that caller's address."""

    by: Principal
    reason: str = ""
    peer: str = ""

    @property
    def sentence(self) -> str:
        """For the person at its terminal, without a full stop."""
        who = f"ended by {shown(self.by.user or self.by.name)}"
        return f"{who}: {self.reason}" if self.reason else who

    def log_fields(self) -> dict[str, object]:
        """For the log."""
        return {"by": self.by.user or self.by.name, "by_mode": self.by.mode.value, "why": self.reason}

    def event(self, record: SessionRecord) -> SessionTerminated:
        """For the audit trail: it ends the session of ``record``."""
        return SessionTerminated(
            subject_of(record),
            by=caller_of(self.by),
            by_user=self.by.user,
            by_peer=self.peer or None,
            why=self.reason,
        )


class Slot:
    """One admitted session. ``bridge`` is None while it is dialled, until its 101."""

    def __init__(self, registry: Registry, log: SessionLog, shares: Sequence[Share]) -> None:
        self._registry = registry
        self._shares = tuple(shares)
        self.log = log
        self.bridge: Bridge | None = None
        self._dial: asyncio.Task[Any] | None = None  # which it outlasts
        self._endings: list[Callable[[bool], None]] = []
        self._opened = False
        self._termination: Termination | None = None
        self.watched_by: list[Watcher] = []  # whoever has watched it, the first ones
        self._at_watch: list[Callable[[], None]] = []

    @property
    def id(self) -> str:
        """The session's, by which logs and callers know it: a UUIDv7."""
        return self.log.record.id

    @property
    def state(self) -> State:
        """How far it is."""
        if not self._opened or self.bridge is None:
            return State.OPENING
        return State.ENDING if self.bridge.relay.phase is Phase.CLOSING else State.OPEN

    def terminate(self, termination: Termination) -> None:
        """End it, where nobody asked for that before; one that is still being opened, as soon as it has its 101.

        One that is ending by itself, and whose client doesn't take the rest, is closed soon.
        """
        if self._termination is None:
            self._termination = termination
            if self.bridge is not None and self.state is State.ENDING:
                self._tell_who_ends_it(termination)
                self.bridge.hurry()
            self.end_if_asked()

    def end_if_asked(self) -> None:
        """End it if somebody wants that, and it is open and not ending by itself."""
        if self._termination is not None and self.bridge is not None and self.state is State.OPEN:
            text = self._termination.sentence
            channel = STDOUT if self.log.record.tty else STDERR
            self._tell_who_ends_it(self._termination)
            self.bridge.terminate(f"\r\nk8s-ws-proxy: {text}.\r\n".encode(), channel, text)

    def _tell_who_ends_it(self, termination: Termination) -> None:
        logger().info("session terminated", session=self.id, **termination.log_fields())
        self.log.audit.emit(termination.event(self.log.record))

    def watched(self, watcher: Watcher) -> None:
        """Somebody watches it."""
        if len(self.watched_by) < _MOST_WATCHERS:
            self.watched_by.append(watcher)
            for told in self._at_watch:
                told()

    def at_watch(self, told: Callable[[], None]) -> None:
        """Call ``told`` whenever there is one more in ``watched_by``."""
        self._at_watch.append(told)

    def give_up(self, text: str) -> None:
        """End it, for a reason of our own: it is told ``text``."""
        if self.bridge is not None and self.state is State.OPEN:
            channel = STDOUT if self.log.record.tty else STDERR
            self.bridge.give_up(f"\r\nk8s-ws-proxy: {text}.\r\n".encode(), channel, text)

    def outlast(self, dial: asyncio.Task[Any]) -> None:
        """Don't give the slot back before ``dial`` is over, whoever has left by then."""
        self._dial = dial

    def at_end(self, ending: Callable[[bool], None]) -> None:
        """Call ``ending`` once, when the session has ended, or when it is sure that there will be none.

        It is told whether the apiserver has said how the command ended.
        """
        self._endings.append(ending)

    def dialled(self, bridge: Bridge) -> None:
        """The apiserver has answered, or won't: ``bridge`` has it from here."""
        self.bridge = bridge
        self.give_back(dialling=True)

    def opened(
        self, bridge: Bridge, command: Sequence[str] | None = None, *, greet: Callable[[], None] = lambda: None
    ) -> None:
        """It is open, and ``greet`` sends the 101. ``command`` is the whole one, of which the record may have less."""
        self.dialled(bridge)
        self._opened = True
        self.log.opened(command, greet)

    def ended(self, bridge: Bridge) -> None:
        """Both sides have been told."""
        self._tell_end(told=bridge.relay.status_seen)
        self.log.ended(bridge)

    def release(self, _bridge: Bridge | None = None) -> None:
        """Give the slot back, as soon as what it outlasts is over."""
        if self._dial is not None and not self._dial.done():
            self._dial.add_done_callback(lambda _: self._release())
        else:
            self._release()

    def _release(self) -> None:
        if self.bridge is None:
            self._tell_end(told=False)
        self._registry.release(self)

    def give_back(self, *, dialling: bool = False) -> None:
        """Give back its shares of the quotas, or those that it has only while it is dialled."""
        given = [share for share in self._shares if share[0].dialling or not dialling]
        self._shares = tuple(share for share in self._shares if share not in given)
        for _, used, key, takes in given:
            used[key] -= takes
            if not used[key]:
                del used[key]

    def _tell_end(self, *, told: bool) -> None:
        endings, self._endings = self._endings, []
        for ending in endings:
            ending(told)


class Registry:
    """Admits whom the quotas let in. ``clock`` is monotonic, in seconds."""

    def __init__(self, quotas: Sequence[Quota], clock: Callable[[], float], audit: Trail = NO_TRAIL) -> None:
        self.audit = audit
        self._used: list[tuple[Quota, Counter[Hashable]]] = [(quota, Counter()) for quota in quotas if quota.limit]
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._dials: set[asyncio.Timeout] = set()
        self.draining = False  # nobody new is admitted
        self.ending = False  # who was admitted and still has no session doesn't get one

    def admit(self, principal: Principal, target: Target, peer: str, size: int = 0, session: str = "") -> Slot:
        """A slot for one session, of a request whose target has ``size`` bytes; ``session`` is its id, if it has one.

        Raises Refusal: ``shutting_down``, ``audit_unavailable``, the reasons of the quotas, or ``no_descriptors``.
        """
        record = SessionRecord.of(session or uuid7(), principal, target, peer, self._clock(), time.time())
        shares = self._shares(record, size)
        for _, used, key, takes in shares:
            used[key] += takes
        slot = Slot(self, SessionLog(record, self._clock, self.audit), shares)
        self._slots[record.id] = slot
        self._empty.clear()
        metrics.SESSIONS_OPEN.set(len(self._slots))
        return slot

    def check(self, record: SessionRecord, size: int = 0) -> None:
        """Raises what admit() would, were such a session opened now."""
        self._shares(record, size)

    def _shares(self, record: SessionRecord, size: int) -> list[Share]:
        if self.draining:
            raise shutting_down()
        if self.audit.refuses:
            raise Refusal(
                Reason.AUDIT_UNAVAILABLE,
                "What happens can't be written down now, and has to be: try again in a while.",
                detail=self.audit.state,
            )
        shares: list[Share] = []
        for quota, used in self._used:
            if (key := quota.key(record)) is None:
                continue
            takes = quota.takes(size)
            if used[key] and used[key] + takes > quota.limit:
                raise Refusal(quota.reason, quota.text(record))
            shares.append((quota, used, key, takes))
        if not descriptors.left():
            raise Refusal(
                Reason.NO_DESCRIPTORS,
                "This proxy has no file descriptors left: try again in a while.",
            )
        return shares

    def release(self, slot: Slot) -> None:
        """Give a slot back; twice does no harm."""
        if self._slots.pop(slot.id, None) is None:
            return
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
        return list(self._slots.values())

    def find(self, session: str) -> Slot | None:
        """The one of that id, while it is admitted."""
        return self._slots.get(session)

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
