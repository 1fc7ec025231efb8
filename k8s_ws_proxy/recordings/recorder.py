"""All recordings of a daemon: two threads, the directory, and what is done from time to time.

One thread writes, and waits for the kernel only. The other has the disk keep it, finishes, and clears up: what it waits
for holds up no session.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.recordings.cast_file import CastFile, finish_interrupted
from k8s_ws_proxy.recordings.directory import Directory
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.recordings.recording import STUCK, Recording, title_of, told
from k8s_ws_proxy.recordings.retention import Keep, clear
from k8s_ws_proxy.recordings.worker import Worker
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.sessions.as_json import known
from k8s_ws_proxy.wire.recording.asciicast import Heading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.settings import RecordingSettings
    from k8s_ws_proxy.wire.recording.receipt import File
    from k8s_ws_proxy.wire.requests.impersonation import Identity

_GATHER: Final = 0.5  # seconds in which what is little is gathered: all that a crash of this process loses
_LOOK: Final = 4.0  # seconds between two times that the disk is to keep all there is
_CROWDED: Final = 8 * 1024 * 1024  # bytes of all recordings that wait for the disk before each waits with few
_OPENING: Final = 5.0  # seconds for the directory when the daemon starts
_LAST_CHANCE: Final = 3.0  # seconds for what has ended to be finished when the daemon ends
_CLEARING: Final = 60.0  # seconds between two looks at what is too old or too much
_MOST_UNFINISHED: Final = 10_000  # that are tried again; the next daemon finishes what is beyond


class Recorder:
    """The ``Host`` of all recordings.

    ``secret`` gives the key that receipts are sealed with. ``finished`` is told of each that is: of what session, where
    that is still known, its id, and the file.
    """

    def __init__(
        self,
        settings: RecordingSettings,
        *,
        node: str,
        budget: ReadBudget,
        secret: Callable[[], bytes],
        finished: Callable[[SessionRecord | None, str, File], None] = lambda _record, _session, _file: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.takes_input = settings.input
        self.required = settings.required
        self.directory = Directory(settings.directory, uploads=settings.store is not None)
        self.clock = loop.time
        self.problem = ""
        """Why nothing can be recorded now."""
        self.writer = Worker("recording", loop)
        self._keeper = Worker("recordings", loop)
        self._settings = settings
        self._node = node
        self._budget = budget
        self._secret = secret
        self._told_finished = finished
        self._loop = loop
        self._live: set[Recording] = set()
        self._unwritten: set[Recording] = set()  # they have something to hand over
        self._unkept: set[Recording] = set()  # they have written since the disk was asked last
        self._unfinished: list[tuple[Recording, Callable[[bytes], File]]] = []  # to be tried again
        self._finishing = 0
        self._all_finished = asyncio.Event()
        self._all_finished.set()
        self._held = 0
        self._gathering: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._busy_since: float | None = None  # when the keeper was given a look that it isn't done with
        self._taken_over = False
        self._cleared = 0.0

    async def open(self) -> None:
        """Take over what a daemon before has left, and begin. What is wrong is told; nobody is kept from the rest."""
        try:
            async with asyncio.timeout(_OPENING):
                await self._take_over()
        except (OSError, TimeoutError) as error:
            self._available(told(error))
        self._looking = self._loop.call_later(_LOOK, self._look)

    async def close(self) -> None:
        """Finish what has ended, for three seconds at most; the rest is for the next daemon."""
        for timer in (self._gathering, self._looking):
            if timer is not None:
                timer.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CHANCE):
                await self._all_finished.wait()
        self.writer.stop()
        self._keeper.stop()
        if self._all_finished.is_set():  # else the lock stays until the process has ended: the threads aren't done
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
        words = None if begun["command"] is None else shlex.join(begun["command"])
        tags = tuple(filter(None, (record.target.subresource.value, record.target.namespace, self._node)))
        heading = Heading(title_of(record), int(record.started), words, tags)
        file = CastFile(self.directory, slot.id, heading, begun)
        recording = Recording(self, slot, file)
        slot.at_end(recording.dropped)
        try:
            await self.writer.result(partial(file.create, self._settings.min_free))
        except OSError as error:
            self._available(told(error))
            metrics.RECORDING_FAILURES.inc()
            if not self.required:
                return None
            raise unavailable(told(error)) from error
        self._available("")
        slot.log.recorded(path_of(slot.id))
        return recording

    def _begun(self, record: SessionRecord, command: Sequence[str] | None, identity: Identity | None) -> dict[str, Any]:
        whom = None if identity is None else {"user": identity.user, "groups": list(identity.groups)}
        return {**known(record, self._node, command), "began": rfc3339(record.started), "impersonated": whom}

    def started(self, recording: Recording) -> None:
        """As a Host's."""
        self._live.add(recording)
        metrics.RECORDINGS_OPEN.set(len(self._live))

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
        self._gathering = None
        waiting, self._unwritten = self._unwritten, set()
        for recording in waiting:
            recording.hand_over()

    def written(self, recording: Recording, count: int) -> None:
        """As a Host's."""
        metrics.RECORDING_BYTES.inc(count)
        if recording in self._live:
            self._unkept.add(recording)

    def finish(self, recording: Recording, work: Callable[[bytes], File]) -> None:
        """As a Host's."""
        self._live.discard(recording)
        self._unkept.discard(recording)
        self._unwritten.discard(recording)
        metrics.RECORDINGS_OPEN.set(len(self._live))
        self._finishing += 1
        self._all_finished.clear()
        self._try_to_finish(recording, work)

    def _try_to_finish(self, recording: Recording, work: Callable[[bytes], File]) -> None:
        def finished(file: File) -> None:
            self._one_less()
            metrics.RECORDINGS_FINISHED.labels("failed" if file.problem else "whole").inc()
            recording.finished(file)
            self._told_finished(recording.slot.log.record, recording.slot.id, file)

        def failed(error: Exception) -> None:
            self._one_less()
            recording.fail(f"its receipt can't be written: {told(error)}")
            if len(self._unfinished) < _MOST_UNFINISHED:
                self._unfinished.append((recording, work))

        self._keeper.do(partial(work, self._secret()), finished, failed)

    def _one_less(self) -> None:
        self._finishing -= 1
        if not self._finishing:
            self._all_finished.set()

    def _look(self) -> None:
        self._looking = self._loop.call_later(_LOOK, self._look)
        now = self.clock()
        for recording in list(self._live):
            recording.look(now)
        if self._busy_since is not None:
            if now - self._busy_since > STUCK:
                self._available(f"the disk hasn't answered for {STUCK:.0f} s")
            return
        self._busy_since = now
        unkept, self._unkept = self._unkept, set()
        self._keeper.do(partial(_keep, [(each, each.file) for each in unkept]), self._kept, self._not_kept)

    def _kept(self, problems: list[tuple[Recording, str]]) -> None:
        for recording, problem in problems:
            recording.fail(problem)
        self._keeper.do(self._check, self._checked, self._not_kept)

    def _check(self) -> int:
        self.directory.open()
        if self.directory.free() < self._settings.min_free:
            raise OSError(f"less than {self._settings.min_free} bytes are free in {self.directory.root}")
        keep = Keep(self._settings.max_age, self._settings.max_bytes)
        if not keep or time.monotonic() - self._cleared < _CLEARING:
            return 0
        self._cleared = time.monotonic()
        return clear(self.directory, keep, time.time())

    def _checked(self, removed: int) -> None:
        self._busy_since = None
        self._available("")
        if removed:
            metrics.RECORDINGS_REMOVED.inc(removed)
            logger().info("old recordings removed", count=removed)
        if not self._taken_over:
            self._keeper.do(self._takeover, self._found_unfinished, self._not_kept)
        again, self._unfinished = self._unfinished, []
        for recording, work in again:
            self._finishing += 1
            self._all_finished.clear()
            self._try_to_finish(recording, work)

    def _not_kept(self, error: Exception) -> None:
        self._busy_since = None
        self._available(told(error))

    async def _take_over(self) -> None:
        self._found_unfinished(await self._keeper.result(self._takeover))

    def _takeover(self) -> list[str]:
        self.directory.open()
        return self.directory.take_over()

    def _found_unfinished(self, sessions: list[str]) -> None:
        if self._taken_over:
            return
        self._taken_over = True
        self._available("")
        if sessions:
            logger().warning("recordings of a daemon that is gone are finished", count=len(sessions))
        for session in sessions:
            self._finish_interrupted(session)

    def _finish_interrupted(self, session: str) -> None:
        def finished(file: File | None) -> None:
            if file is not None:
                metrics.RECORDINGS_FINISHED.labels("interrupted").inc()
                logger().info("recording finished", session=session, recording=file.path, interrupted=True)
                self._told_finished(None, session, file)

        def failed(error: Exception) -> None:
            logger().error("a recording can't be finished", session=session, error=told(error))

        self._keeper.do(lambda: finish_interrupted(self.directory, session, self._secret()), finished, failed)

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


def _keep(files: Sequence[tuple[Recording, CastFile]]) -> list[tuple[Recording, str]]:
    problems = []
    for recording, file in files:
        try:
            file.sync()
        except OSError as error:
            problems.append((recording, told(error)))
    return problems
