"""The sessions under way: a slot is taken before anything is dialled, and given back when both sockets are closed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions import descriptors
from k8s_ws_proxy.sessions.books import Books

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.dial import Upstream
    from k8s_ws_proxy.relay.session import Session
    from k8s_ws_proxy.sessions.orphans import Dialled, LateOrphan, Orphan
    from k8s_ws_proxy.wire.target import Target


# Bytes of memory that requests may take while they are dialled, all together. A request line of 128 KiB takes 1.3 MB:
# itself in five places, and a string for each of up to 30,000 arguments.
HELD_BY_DIALS: Final = 16 * 1024 * 1024
_TAKES: Final = 12  # bytes of memory for each byte of a request's target, at the worst


class Slot:
    """One admitted session. ``session`` is None while it is dialled, until its 101."""

    def __init__(self, registry: Registry, namespace: str, books: Books, held: int) -> None:
        self._registry = registry
        self.held = held  # bytes of memory, until it is dialled
        self.namespace = namespace
        self.books = books
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
        self._registry.dialled(self)

    def opened(self, session: Session) -> None:
        """The 101 is about to be sent."""
        self.dialled(session)
        self.books.opened()

    def ended(self, session: Session) -> None:
        """Both sides have been told."""
        if not session.relay.status_seen:
            self._hang_up()
        self.books.ended(session)

    def release(self, _session: Session | None = None) -> None:
        """Give the slot back."""
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.add_done_callback(self._abandon)
            return
        if self.session is None:
            self._hang_up()
        self._registry.release(self)

    def _abandon(self, dial: asyncio.Task[Dialled]) -> None:
        """The client has left, or the time is over: nobody wants what was dialled."""
        try:
            if not dial.cancelled() and dial.exception() is None:
                dialled = dial.result()
                if dialled.upstream is not None:
                    dialled.upstream.stream.close()
                self._orphan = dialled.orphan
                self._hang_up()
        finally:  # whatever went wrong: a slot that isn't given back is lost until the daemon ends
            self._registry.release(self)

    def _hang_up(self) -> None:
        orphan, self._orphan = self._orphan, None
        if orphan is not None:
            orphan.hang_up(self.books.id)


class Registry:
    """Admits up to ``limit`` sessions at once, ``per_namespace`` of them in one, ``handshakes`` being dialled.

    The latter two are no limit if 0. ``clock`` is monotonic, in seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float], *, per_namespace: int = 0, handshakes: int = 0) -> None:
        self._limit = limit
        self._per_namespace = per_namespace
        self._handshakes = handshakes
        self._clock = clock
        self._slots: set[Slot] = set()
        self._dialling: set[Slot] = set()
        self._namespaces: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        self._dials: set[asyncio.Timeout] = set()
        self._held = 0  # bytes of memory, by those that are dialled
        self.draining = False  # nobody new is admitted
        self.ending = False  # who was admitted and still has no session doesn't get one

    def admit(self, principal: Principal, target: Target, peer: str, size: int = 0) -> Slot:
        """A slot for one session, of a request whose target has ``size`` bytes.

        Raises Refusal: ``shutting_down``, ``too_many_sessions``, ``too_many_sessions_in_namespace``,
        ``too_many_handshakes`` or ``no_descriptors``.
        """
        if self.draining:
            raise shutting_down()
        if len(self._slots) >= self._limit:
            raise Refusal(
                Reason.TOO_MANY_SESSIONS, "This proxy has as many sessions as it can take: try again in a while."
            )
        if self._per_namespace and self._namespaces[target.namespace] >= self._per_namespace:
            raise Refusal(
                Reason.TOO_MANY_IN_NAMESPACE,
                f"Namespace {target.namespace} has as many sessions as it may: end one, or try again in a while.",
            )
        held = size * _TAKES
        many = self._handshakes and len(self._dialling) >= self._handshakes
        if many or (self._dialling and self._held + held > HELD_BY_DIALS):
            raise Refusal(
                Reason.TOO_MANY_HANDSHAKES, "This proxy is opening as many sessions as it can: try again in a moment."
            )
        if not descriptors.left():
            raise Refusal(
                Reason.NO_DESCRIPTORS,
                "This proxy has no file descriptors left: try again in a while.",
            )
        books = Books(secrets.token_hex(8), principal, target, peer, self._clock)
        slot = Slot(self, target.namespace, books, held)
        self._slots.add(slot)
        self._dialling.add(slot)
        self._held += held
        self._namespaces[slot.namespace] += 1
        self._empty.clear()
        metrics.SESSIONS_OPEN.set(len(self._slots))
        return slot

    def dialled(self, slot: Slot) -> None:
        """The slot's handshake with the apiserver is over; twice does no harm."""
        if slot in self._dialling:
            self._dialling.discard(slot)
            self._held -= slot.held

    def release(self, slot: Slot) -> None:
        """Give a slot back; twice does no harm."""
        if slot not in self._slots:
            return
        self._slots.remove(slot)
        self.dialled(slot)
        self._namespaces[slot.namespace] -= 1
        if not self._namespaces[slot.namespace]:
            del self._namespaces[slot.namespace]
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
