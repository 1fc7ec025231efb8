"""All recordings of a daemon: three threads, the directory, and what is done from time to time.

One thread writes, and waits for the kernel only. The second has the disk keep it, and finishes: what it waits for holds
up no session. The third has what takes long and isn't urgent: what daemons before have left, and what is too old.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.recordings.cast_file import CastFile, told
from k8s_ws_proxy.recordings.directory import Directory
from k8s_ws_proxy.recordings.leftovers import Leftovers
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.recordings.recording import STUCK, Recording, title_of
from k8s_ws_proxy.recordings.retention import Clock, Keep, clear
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.sessions.as_json import known
from k8s_ws_proxy.sessions.audited import subject_of, subject_of_known
from k8s_ws_proxy.wire.audit.events import RecordingFinished
from k8s_ws_proxy.wire.recording.asciicast import Heading
from k8s_ws_proxy.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.settings import RecordingSettings
    from k8s_ws_proxy.wire.audit.events import Subject
    from k8s_ws_proxy.wire.recording.receipt import File
    from k8s_ws_proxy.wire.requests.impersonation import Identity

_GATHER: Final = 0.5  # seconds in which what is little is gathered: all that a crash of this process loses
_TOGETHER: Final = 64  # sessions whose lines are written one after the other, before any of them is told
_LOOK: Final = 4.0  # seconds between two times that the disk is to keep all there is
_CROWDED: Final = 8 * 1024 * 1024  # bytes of all recordings that wait for the disk before each waits with few
_PATIENCE: Final = 5.0  # seconds for the directory, when the daemon starts or a session begins
_LAST_CHANCE: Final = 3.0  # seconds for what has ended to be finished when the daemon ends
_CLEARING: Final = 60.0  # seconds between two looks at what is too old or too much
_CLEARING_SHORT: Final = 10.0  # ... while nothing can be recorded, which may be for want of room
_SILENT: Final = "the disk doesn't answer"
_MOST_UNFINISHED: Final = 10_000  # that are tried again; the next daemon finishes what is beyond


class Recorder:
    """The ``Host`` of all recordings.

    ``secret`` gives the key that receipts are sealed with. ``finished`` is told of each that is.
    """

    def __init__(
        self,
        settings: RecordingSettings,
        *,
        node: str,
        budget: ReadBudget,
        secret: Callable[[], bytes],
        finished: Callable[[RecordingFinished], None] = lambda _event: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.takes_input = settings.input
        self.required = settings.required
        self.directory = Directory(settings.directory, uploads=settings.store is not None)
        self.clock = loop.time
        self.problem = ""
        """Why nothing can be recorded now."""
        self.writer = Worker("recording", loop)
        self._keeper = Worker("recordings kept", loop)
        self._tidier = Worker("recordings left", loop)
        self._leftovers = Leftovers(
            self.directory,
            self._tidier,
            secret=secret,
            finished=lambda session, found: finished(
                _event(subject_of_known(session, found.known or {}), found.file, found.ending)
            ),
        )
        self._settings = settings
        self._node = node
        self._budget = budget
        self._secret = secret
        self._told_finished = finished
        self._loop = loop
        self._live: set[Recording] = set()
        self._unwritten: set[Recording] = set()  # they have something to hand over
        self._unfinished: list[Callable[[], None]] = []  # to be tried again
        self._finishing = 0
        self._at_rest = asyncio.Event()  # nothing is recorded, and all that was is finished, or can't be now
        self._at_rest.set()
        self._held = 0
        self._gathering: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._looked_at = False  # the keeper has been given a look that it isn't done with
        self._keep = Keep(settings.max_age, settings.max_bytes)
        self._time = Clock()
        self._ahead = 0.0  # seconds by which it was set forward, of which the log knows
        self._cleared = float("-inf")  # when the directory was cleared last; infinity while it is
        self._not_cleared = ""  # why it couldn't be, of which the log knows

    async def open(self) -> None:
        """Take over what a daemon before has left, and begin. What is wrong is told; nobody is kept from the rest."""
        self._leftovers.go_on()
        problem = _SILENT
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._leftovers.looked.wait()
                problem = self._leftovers.problem
        self._available(problem)
        self._looking = self._loop.call_later(_LOOK, self._look)

    async def close(self) -> None:
        """Finish what has ended, for three seconds at most; the rest is for the next daemon.

        That tells also of what has its receipt by then and wasn't told of here: the threads go on.
        """
        for timer in (self._gathering, self._looking):
            if timer is not None:
                timer.cancel()
        self._try_again()
        at_rest = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CHANCE):
                await self._at_rest.wait()
                await self.writer.rest()
                await self._keeper.rest()
                at_rest = self._leftovers.idle
        for worker in (self.writer, self._keeper, self._tidier):
            worker.stop()
        if at_rest:  # else the lock stays until the process has ended: the threads aren't done
            self.directory.close()

    def wants(self, record: SessionRecord, *, asked: bool) -> bool:
        """Whether a session is recorded; ``asked`` for when it was issued."""
        if not record.runs_command:
            return False
        mode = self._settings.mode
        return asked or mode == "all" or (mode == "terminals" and record.tty)

    async def begin(self, slot: Slot, command: Sequence[str] | None, identity: Identity | None) -> Recording | None:
        """A recording of a session that isn't dialled yet; None where it can't be had and doesn't have to be.

        Raises Refusal(``recording_unavailable``).
        """
        record = slot.log.record
        begun = self._begun(record, command, identity)
        tags = tuple(filter(None, (record.target.subresource.value, record.target.namespace, self._node)))
        heading = Heading(title_of(record), int(record.started), begun["command"], tags)
        file = CastFile(self.directory, slot.id, heading, begun, self._secret())
        recording = Recording(self, slot, file)
        if problem := await self._cannot(recording):
            self._available(problem)
            self._clear()
            metrics.RECORDING_FAILURES.inc()
            if self.required:
                raise unavailable(problem)
            logger().error("a session isn't recorded", session=slot.id, problem=problem)
            return None
        if not self._hangs:  # else what is written may never be on the disk, and the keeper will know
            self._available("")
        slot.log.recorded(path_of(slot.id))
        return recording

    async def _cannot(self, recording: Recording) -> str:
        """Why it can't be recorded, or mustn't begin where it has to be; empty where it has begun."""
        if self.required and self._hangs:
            return self._hangs
        return _SILENT if self.writer.at_it() > _PATIENCE else await self._create(recording)

    @property
    def _hangs(self) -> str:
        """Why nothing is kept on the disk, where the keeper is at one thing for too long; else empty."""
        since = self._keeper.since
        return f"the disk hasn't answered for {STUCK:.0f} s" if since and self.clock() - since > STUCK else ""

    async def _create(self, recording: Recording) -> str:
        """Why it can't be; empty where it is."""
        recording.slot.at_end(recording.dropped)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.writer.result(partial(recording.file.create, self._settings.min_free))
        except TimeoutError:
            self.discard(recording)  # it is made yet, when the disk goes on
            return _SILENT
        except OSError as error:
            return told(error)
        return ""

    def _begun(self, record: SessionRecord, command: Sequence[str] | None, identity: Identity | None) -> dict[str, Any]:
        whom = None if identity is None else {"user": identity.user, "groups": list(identity.groups)}
        return {**known(record, self._node, command), "began": rfc3339(record.started), "impersonated": whom}

    def started(self, recording: Recording) -> None:
        """As a Host's."""
        self._live.add(recording)
        self._count()

    def _count(self) -> None:
        metrics.RECORDINGS_OPEN.set(len(self._live))
        if self._live or self._finishing:
            self._at_rest.clear()
        else:
            self._at_rest.set()

    def discard(self, recording: Recording) -> None:
        """As a Host's."""
        self.writer.do(recording.file.discard, lambda _: None, lambda error: self._available(told(error)))

    @property
    def crowded(self) -> bool:
        """As a Host's."""
        return self._held >= _CROWDED

    def hold(self, count: int) -> None:
        """As a Host's."""
        self._held += count
        self._budget.hold(count)

    def later(self, recording: Recording) -> None:
        """As a Host's."""
        self._unwritten.add(recording)
        if self._gathering is None:
            self._gathering = self._loop.call_later(_GATHER, self._gathered)

    def _gathered(self) -> None:
        """Have it written, of many sessions at a time: each time that the threads take turns costs more than a line."""
        self._gathering = None
        waiting, self._unwritten = self._unwritten, set()
        orders = [(work, each.written, each.not_written) for each in waiting if (work := each.take_work()) is not None]
        for first in range(0, len(orders), _TOGETHER):
            self.writer.do_each(orders[first : first + _TOGETHER])

    def written(self, count: int) -> None:
        """As a Host's."""
        metrics.RECORDING_BYTES.inc(count)

    def finish(self, recording: Recording, work: Callable[[bytes], File]) -> None:
        """As a Host's."""
        self._live.discard(recording)
        self._unwritten.discard(recording)
        self._try_to_finish(recording, work)

    def _try_to_finish(self, recording: Recording, work: Callable[[bytes], File]) -> None:
        self._finishing += 1
        self._count()

        def finished(file: File) -> None:
            self._one_less()
            metrics.RECORDINGS_FINISHED.labels("failed" if file.problem else "whole").inc()
            recording.finished(file)
            self._told_finished(_event(subject_of(recording.slot.log.record), file, recording.ending))
            self._try_to_forget(recording.file)  # only now: else nobody tells of it where this daemon is killed before

        def failed(error: Exception) -> None:
            self._one_less()
            recording.fail(f"its receipt can't be written: {told(error)}")
            self._try_later(error, partial(self._try_to_finish, recording, work))

        self._keeper.do(partial(work, self._secret()), finished, failed)

    def _try_to_forget(self, file: CastFile) -> None:
        self._finishing += 1
        self._count()

        def failed(error: Exception) -> None:
            self._one_less()
            self._try_later(error, partial(self._try_to_forget, file))

        self._keeper.do(file.forget, lambda _: self._one_less(), failed)

    def _try_later(self, error: Exception, again: Callable[[], None]) -> None:
        if isinstance(error, OSError) and len(self._unfinished) < _MOST_UNFINISHED:
            self._unfinished.append(again)

    def _one_less(self) -> None:
        self._finishing -= 1
        self._count()

    def _look(self) -> None:
        self._looking = self._loop.call_later(_LOOK, self._look)
        now = self.clock()
        for recording in list(self._live):
            recording.look(now)
        if self._looked_at:
            if problem := self._hangs:
                self._available(problem)
            return
        self._looked_at = True
        keep = [(each.file.sync, _nothing, partial(_not_kept, each)) for each in self._live]
        check = partial(self.directory.check, self._settings.min_free)
        self._keeper.do_each([*keep, (check, self._checked, self._not_checked)])

    def _checked(self, _: None) -> None:
        self._available("")
        self._go_on()

    def _not_checked(self, error: Exception) -> None:
        self._available(told(error))
        self._go_on()

    def _go_on(self) -> None:
        """With what couldn't be done before: little room is enough for a receipt, and none to remove."""
        self._looked_at = False
        self._clear()
        self._leftovers.go_on()
        self._try_again()

    def _try_again(self) -> None:
        again, self._unfinished = self._unfinished, []
        for each in again:
            each()

    def _clear(self) -> None:
        every = _CLEARING_SHORT if self.problem else _CLEARING
        if not self._keep or self.clock() - self._cleared < every:
            return

        def work() -> tuple[int, OSError | None, float]:
            now, ahead = self._time.look()
            keep = replace(self._keep, age=0.0) if ahead else self._keep
            count, error = clear(self.directory, keep, now) if keep else (0, None)
            return count, error, ahead

        def cleared(outcome: tuple[int, OSError | None, float]) -> None:
            count, error, ahead = outcome
            if ahead and self._keep.age and not self._ahead:
                logger().error(
                    "the clock was set forward: no recording is removed for its age for a day",
                    seconds=round(ahead),
                    do="set it back if it is wrong now; if it is right, wait, or restart this daemon",
                )
            self._ahead = ahead
            if count:
                metrics.RECORDINGS_REMOVED.inc(count)
                logger().info("old recordings removed", count=count)
            failed(error)

        def failed(error: Exception | None) -> None:
            problem = told(error) if error else ""
            if problem and problem != self._not_cleared:
                logger().error("old recordings can't be removed", error=problem)
            self._cleared, self._not_cleared = self.clock(), problem

        self._cleared = float("inf")
        self._tidier.do(work, cleared, failed)

    def _available(self, problem: str) -> None:
        if problem and not self.problem:
            logger().error(
                "sessions can't be recorded",
                problem=problem,
                directory=str(self.directory.root),
                required=self.required,
            )
        elif self.problem and not problem:
            logger().info("sessions can be recorded again")
        self.problem = problem
        metrics.RECORDING_AVAILABLE.set(not problem)


def unavailable(problem: str) -> Refusal:
    """What whoever wants a session is told."""
    return Refusal(
        Reason.RECORDING_UNAVAILABLE,
        "This session has to be recorded, and can't be now: try again in a while, or ask the operator.",
        detail=problem,
    )


def _event(subject: Subject, file: File, ending: str) -> RecordingFinished:
    return RecordingFinished(subject, file.path, file.size, file.sha256, ending)


def _nothing(_: None) -> None:
    """It is kept."""


def _not_kept(recording: Recording, error: Exception) -> None:
    recording.fail(told(error))
