"""What an interactive session leaves running in its container is hung up: ``REAP_ORPHANS``."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from k8s_ws_proxy.errors import UpstreamError, UpstreamRefused, UpstreamTimeout
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.relay.late import Late, NeverArrived
from k8s_ws_proxy.relay.stream import StreamLost
from k8s_ws_proxy.sessions.reaper import Left, Reaper
from k8s_ws_proxy.wire.container.greeting import Greeting, NotStarted
from k8s_ws_proxy.wire.container.orphans import Place, Process, introduced
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS, V5
from k8s_ws_proxy.wire.framing.frames import FrameViolation
from k8s_ws_proxy.wire.http.handshake import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.kube.dial import Upstream
    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.sessions.journal import Journal
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.wire.requests.target import ExecTarget

# Seconds for a shell to introduce itself before its client is told that the session has begun. A runtime that has much
# to do may take longer: then the session begins with a Late stream.
_INTRODUCTION: Final = 2.0
_FOR_THE_101: Final = 0.5  # seconds of its client's time that are left by then, or less where all of it is short
# Seconds until it is no longer waited for at all: what was held of the session goes on, and can't be hung up. Who says
# something else, and not its line within _INTRODUCTION of that, isn't the shell that was started.
_LATEST: Final = 10.0
_ASK_A_SILENT_ONE: Final = 15.0  # seconds: the wait for it has no other bound, and no pings
_UNFIT_FOR: Final = 600.0  # seconds for which it is remembered that a container has no shell, or none that would do
_REMEMBERED: Final = 1000  # containers of each kind
_FORBIDDEN: Final = 403
# Stands in what an admission webhook's or a ValidatingAdmissionPolicy's refusal is told as.
_ADMISSION: Final = b"dmission"

_Key = TypeVar("_Key")
_Known = TypeVar("_Known")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that will be one if its session ends before it does. Of the command that it is nothing is kept."""

    orphans: Orphans
    apiserver: Apiserver
    place: Place
    process: Process

    def ended(self, session: str, *, told: bool) -> None:
        """``session`` has ended; ``told``: because the apiserver said that the process had."""
        self.orphans.ended(Left(self.apiserver, self.place, self.process, session, told))


@dataclass(frozen=True, slots=True)
class LateOrphan:
    """An Orphan that hasn't said yet which process it is."""

    orphans: Orphans
    place: Place
    arrival: asyncio.Task[Orphan | None]

    def ended(self, session: str, *, told: bool) -> None:
        """As Orphan's."""
        self.arrival.add_done_callback(lambda _: self.orphans.ended_late(self, session, told=told))


@dataclass(frozen=True, slots=True)
class Dialled:
    """What became of a dial: a connection, perhaps with a process to hang up; or why there is none, if anybody asks."""

    stream: ByteStream | None = None
    early: bytes = b""
    orphan: Orphan | LateOrphan | None = None
    error: UpstreamError | TimeoutError | None = None


@dataclass(frozen=True, slots=True)
class _As:
    """Whom a session's commands are dialled for, and what its dials are called in the apiserver's audit log."""

    apiserver: Apiserver
    audit_id: str

    async def dial(self, path: str, subprotocols: Sequence[str] = SUBPROTOCOLS) -> Upstream:
        """As Apiserver's."""
        return await self.apiserver.dial(path, subprotocols, audit_id=self.audit_id)


class Orphans:
    """Starts interactive commands so that they can be found again, and hangs them up. ``patience`` in seconds.

    ``apiserver`` is the proxy's own: what a daemon before has left is hung up by it.

    With a ``journal`` also what a daemon before this one has left.
    """

    def __init__(
        self,
        apiserver: Apiserver,
        *,
        patience: float,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apiserver = apiserver
        self._patience = patience
        self._clock = clock
        self._journal = journal
        self._reaper = Reaper(patience=patience, over=self._forget)
        self._under_way: set[asyncio.Task[Any]] = set()
        # Since when; what isn't admitted is so for one caller, and others' terminals are hung up all the same.
        self._unfit: dict[Place | tuple[Apiserver, Place], float] = {}
        self._fit: dict[Place, str] = {}  # what the shell said it goes by

    def concern(self, apiserver: Apiserver, target: ExecTarget) -> bool:
        """Whether ``target`` is a terminal that somebody types into, and ``apiserver`` can hang it up as far as is
        known.
        """
        if not target.interactive or not target.streams.stdout:
            return False
        place = _place(target)
        known = [since for what in (place, (apiserver, place)) if (since := self._unfit.get(what)) is not None]
        return all(self._clock() - since > _UNFIT_FOR for since in known)

    async def dial(
        self, apiserver: Apiserver, target: ExecTarget, slot: Slot, until: float
    ) -> tuple[ByteStream, bytes]:
        """As ``apiserver``'s, until the command is about to start; with nobody to hang up where that can't be.

        The connection, and what was read from it; the caller waits until ``until``, the loop's time. What is left when
        ``slot``'s session ends is hung up. The dial goes on when its caller has left, since the command may be starting
        by then; the slot is kept until it is over. What couldn't be hung up isn't started for who isn't there any more.
        Raises UpstreamError or TimeoutError.
        """
        wanted = True
        going = self._dial(_As(apiserver, slot.id), target, lambda: wanted, until)
        dial: asyncio.Task[Dialled] = tasks.start(going, name="dial a command that can be hung up")
        self._keep(dial)
        slot.outlast(dial)
        session = slot.id
        try:
            dialled = await asyncio.shield(dial)
        except asyncio.CancelledError:
            wanted = False
            dial.add_done_callback(lambda dial: _dispose(dial, session))
            raise
        if (orphan := dialled.orphan) is not None:
            slot.at_end(lambda told: orphan.ended(session, told=told))
        if dialled.stream is None:
            assert dialled.error is not None
            raise dialled.error
        return dialled.stream, dialled.early

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _dial(self, caller: _As, target: ExecTarget, wanted: Callable[[], bool], until: float) -> Dialled:
        try:
            async with asyncio.timeout(self._patience):
                dialled = await self._introduced(caller, target, wanted, until)
                return dialled or await self._plain(caller, target, wanted)
        except (UpstreamError, TimeoutError) as error:
            return Dialled(error=error)

    async def _plain(self, caller: _As, target: ExecTarget, wanted: Callable[[], bool]) -> Dialled:
        if not wanted():
            return Dialled()
        upstream = await caller.dial(target.upstream_path())
        if upstream.subprotocol != V5:
            _remember(self._unfit, _place(target), self._clock())
        return Dialled(upstream.stream, upstream.early)

    async def _introduced(
        self, caller: _As, target: ExecTarget, wanted: Callable[[], bool], until: float
    ) -> Dialled | None:
        """None where it can't be, and nothing has been started."""
        # On v4 an exit status comes with the whole command line, ours: so only v5 is offered. An apiserver that doesn't
        # speak it refuses without a word, before anything has begun; but so may whatever stands between. The plain dial
        # that follows shows which it was.
        command = introduced(target.command, self._fit.get(_place(target), ""))
        try:
            upstream = await caller.dial(target.with_command(command).upstream_path(), (V5,))
        except UpstreamRefused as error:
            if error.status == _FORBIDDEN and not error.body:
                return None
            if _ADMISSION not in error.body:
                raise
            # Whoever admits commands may have taken offence at ours: then the caller's own runs, and isn't hung up. If
            # that is refused, too, it wasn't about ours.
            dialled = await self._plain(caller, target, wanted)
            line = "a command was refused as it would be started: it can't be hung up"
            logger().info(line, **_place(target)._asdict())
            _remember(self._unfit, (caller.apiserver, _place(target)), self._clock())
            return dialled
        meeting: asyncio.Task[Dialled | None] = tasks.start(
            self._met(caller, upstream, target), name="wait for a shell"
        )
        left = until - min(_FOR_THE_101, self._patience / 4) - asyncio.get_running_loop().time()
        try:
            done, _ = await asyncio.wait({meeting}, timeout=max(0.0, min(_INTRODUCTION, self._patience / 2, left)))
        except asyncio.CancelledError:
            meeting.cancel()
            raise
        if done:
            return meeting.result()
        logger().info("a command is slow to start", **_place(target)._asdict())
        upstream.stream.keep_alive(_ASK_A_SILENT_ONE)
        late = Late(asyncio.get_running_loop(), lambda: self._wait_no_longer(arrival))
        arrival = tasks.start(self._arrival(caller, meeting, target, late), name="wait for a slow shell")
        self._keep(arrival)
        return Dialled(late, b"", LateOrphan(self, _place(target), arrival))

    async def _arrival(
        self, caller: _As, meeting: asyncio.Task[Dialled | None], target: ExecTarget, late: Late
    ) -> Orphan | None:
        """The rest of _dial(), for a session that has begun with ``late``. What can be hung up of it."""
        try:
            if (dialled := await meeting) is None:
                async with asyncio.timeout(self._patience):
                    dialled = await self._plain(caller, target, lambda: not late.closed)
        except UpstreamError as error:
            dialled = self._never(caller, target, late, error)
        except TimeoutError:
            text = f"The apiserver didn't answer within {self._patience:g} s."
            dialled = self._never(caller, target, late, UpstreamTimeout(text))
        except BaseException:
            late.lose(StreamLost("the command couldn't be started"))
            raise
        if dialled.stream is not None:
            late.arrive(dialled.stream, dialled.early)
        assert not isinstance(dialled.orphan, LateOrphan)
        return dialled.orphan

    @staticmethod
    def _never(caller: _As, target: ExecTarget, late: Late, error: UpstreamError) -> Dialled:
        """It has failed, in a session that had begun: as a failed dial is told and logged."""
        metrics.REFUSALS.labels(error.reason.value).inc()
        detail = f"{error} {error.detail}".strip()
        where = {"session": caller.audit_id, **_place(target)._asdict()}
        logger().warning("a slow command couldn't be started", **where, reason=error.reason.value, detail=detail)
        late.lose(NeverArrived(str(error), status_of(error)))
        return Dialled(error=error)

    async def _met(self, caller: _As, upstream: Upstream, target: ExecTarget) -> Dialled | None:
        """Wait for the shell to introduce itself; None as above."""
        greeting = Greeting()
        try:
            await _greeted(upstream, greeting)
        except TimeoutError:
            line = "a command didn't say which process it is: it can't be hung up"
            logger().info(line, **_place(target)._asdict())
        except NotStarted as error:
            upstream.stream.close()
            if error.unfit:
                _remember(self._unfit, _place(target), self._clock())
            return None
        except BaseException:
            upstream.stream.close()
            raise
        orphan = None
        if greeting.process is not None:
            orphan = Orphan(self, caller.apiserver, _place(target), greeting.process)
            if self._journal is not None:
                self._journal.add(orphan.place, orphan.process, caller.apiserver.identity)
            _remember(self._fit, _place(target), greeting.fit)
        return Dialled(upstream.stream, greeting.rest, orphan)

    def _wait_no_longer(self, arrival: asyncio.Task[Orphan | None]) -> None:
        """Its session has ended: a shell that still comes is hung up, but it must come soon."""
        asyncio.get_running_loop().call_later(self._patience, arrival.cancel)

    def ended(self, left: Left) -> None:
        """A session has ended. Its process is hung up; or, if it was told to have ended, looked for after a while."""
        if left.told:
            self._reaper.look_later(left)
        else:
            self._reaper.hang_up(left)

    def ended_late(self, orphan: LateOrphan, session: str, *, told: bool) -> None:
        """As ended(), when it is known which process it is."""
        arrival = orphan.arrival
        if arrival.cancelled() or arrival.exception() is not None:
            metrics.ORPHANS.labels("failed").inc()
            detail = "it didn't say which one it is"
            logger().warning("a process may be left behind", session=session, **orphan.place._asdict(), detail=detail)
        elif (found := arrival.result()) is not None:
            found.ended(session, told=told)

    async def recover(self) -> None:
        """Hang up what a daemon before this one has left, as far as it was written down."""
        if self._journal is None:
            return
        if found := await asyncio.to_thread(self._journal.open):
            logger().warning("a daemon before this one has ended untidily: hanging up what it left", count=len(found))
        for place, process, identity in found:
            self._reaper.hang_up(Left(self._apiserver.acting_for(identity), place, process, None))

    def _forget(self, left: Left) -> None:
        if self._journal is not None:
            self._journal.remove(left.place, left.process)

    async def close(self) -> None:
        """After settle(): what is left still is for the next daemon."""
        if self._journal is not None:
            await self._journal.close()

    async def settle(self) -> None:
        """Wait until all are hung up; where that is cut short, the log says how many are given up, and why."""
        self._reaper.look_now()
        try:
            while under_way := self._under_way | self._reaper.under_way:
                await asyncio.wait(under_way)
        finally:
            if given_up := list(self._under_way | self._reaper.under_way):
                if count := len(self._under_way) + self._reaper.left:
                    detail = "; ".join(filter(None, ("no time left", self._reaper.problem)))
                    logger().warning("processes may be left behind", count=count, detail=detail)
                for task in given_up:
                    task.cancel()
                await asyncio.gather(*given_up, return_exceptions=True)  # what they say must not come after the end


def _dispose(dial: asyncio.Task[Dialled], session: str) -> None:
    """Nobody wants any more what was dialled."""
    if dial.cancelled() or dial.exception() is not None:
        return
    dialled = dial.result()
    if dialled.stream is not None:
        dialled.stream.close()
    if dialled.orphan is not None:
        dialled.orphan.ended(session, told=False)


async def _greeted(upstream: Upstream, greeting: Greeting) -> None:
    """Read until the greeting is over, or the connection is; the relay tells of that.

    Raises NotStarted, or TimeoutError: something else came, or nothing.
    """
    clock = asyncio.get_running_loop().time
    data, strange, latest = upstream.early, False, clock() + _LATEST
    with contextlib.suppress(EOFError, StreamLost, FrameViolation):
        async with asyncio.timeout_at(latest) as until:
            while not greeting.take(data):
                if greeting.strange and not strange:
                    strange = True
                    until.reschedule(min(clock() + _INTRODUCTION, latest))
                data = await upstream.read()


def _remember(known: dict[_Key, _Known], of: _Key, what: _Known) -> None:
    if len(known) >= _REMEMBERED:
        known.pop(next(iter(known)))
    known[of] = what


def _place(target: ExecTarget) -> Place:
    return Place(target.namespace, target.pod, target.container)
