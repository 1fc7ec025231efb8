"""What daemons that are gone have left in the directory: taken over, then finished one by one.

It is looked for again and again: in an upgrade the new daemon on a node begins while the old one still has sessions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.recordings.cast_file import told
from k8s_ws_proxy.recordings.interrupted import finish_interrupted
from k8s_ws_proxy.wire.recording.receipt import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.recordings.directory import Directory
    from k8s_ws_proxy.recordings.interrupted import Finished
    from k8s_ws_proxy.worker import Worker


_MOST_PASSED: Final = 64  # looks between two attempts at one: four minutes


@dataclass(slots=True)
class _Trouble:
    """How often one couldn't be finished, at which look it is tried again, and why it wasn't, as the log knows."""

    times: int = 0
    due: int = 0
    problem: str = ""


class Leftovers:
    """Is told to go on now and then. ``worker`` may be busy with one of them for long: it has to do nothing urgent.

    ``secret`` gives the key for receipts, ``finished`` is told of each session and what was found of it.
    """

    def __init__(
        self,
        directory: Directory,
        worker: Worker,
        *,
        secret: Callable[[], bytes],
        finished: Callable[[str, Finished], None],
    ) -> None:
        self._directory = directory
        self._worker = worker
        self._secret = secret
        self._finished = finished
        self._busy = False
        self._waiting: deque[str] = deque()
        self._looks = 0
        self._troubles: dict[str, _Trouble] = {}  # of those that are tried again
        self._told: set[str] = set()  # whose entry couldn't be taken away yet
        self._problems: list[str] = []  # of which the log knows
        self.looked = asyncio.Event()
        """The directory has answered once, be it that it can't be read."""
        self.problem = ""
        """Why nothing could be taken over last time."""

    @property
    def idle(self) -> bool:
        """The thread has nothing of it to do."""
        return not self._busy

    def go_on(self) -> None:
        """Take over what there is by now, and finish it; what couldn't be before, ever more seldom."""
        if not self._busy:
            self._busy = True
            self._worker.do(self._take, self._found, self._not_taken)

    def _take(self) -> tuple[list[str], list[str]]:
        self._directory.open()
        return self._directory.take_over()

    def _found(self, found: tuple[list[str], list[str]]) -> None:
        sessions, problems = found
        self.problem = ""
        self._looks += 1
        due = (session for session, trouble in self._troubles.items() if trouble.due <= self._looks)
        self._waiting = deque([*due, *sessions])
        if sessions:
            logger().warning("recordings of a daemon that is gone are finished", count=len(sessions))
        if problems and problems != self._problems:
            logger().error("what a daemon has left can't be taken over", problems=problems[:10], count=len(problems))
        self._problems = problems
        self.looked.set()
        self._next()

    def _not_taken(self, error: Exception) -> None:
        self._busy, self.problem = False, told(error)
        self.looked.set()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._waiting:
            session = self._waiting.popleft()
            work = partial(finish_interrupted, self._directory, session, self._secret())
            self._worker.do(work, partial(self._one_finished, session), partial(self._not_finished, session))

    def _one_finished(self, session: str, found: Finished | None) -> None:
        if found is not None and session not in self._told:
            interrupted, file = found.ending == INTERRUPTED, found.file
            outcome = "interrupted" if interrupted else "failed" if file.problem else "whole"
            metrics.RECORDINGS_FINISHED.labels(outcome).inc()
            logger().info("recording finished", session=session, recording=file.path, interrupted=interrupted)
            self._finished(session, found)
        self._told.add(session)
        forgotten, failed = partial(self._forgotten, session), partial(self._not_finished, session)
        self._worker.do(partial(self._directory.forget, session), forgotten, failed)

    def _forgotten(self, session: str, _: None) -> None:
        self._told.discard(session)
        self._troubles.pop(session, None)
        self._next()

    def _not_finished(self, session: str, error: Exception) -> None:
        trouble = self._troubles.pop(session, None) or _Trouble()
        again, problem = isinstance(error, OSError), told(error)
        if problem != trouble.problem:
            logger().error("a recording can't be finished", session=session, error=problem, again=again)
        if again:  # else it will never be anything else
            self._troubles[session] = trouble
            trouble.due = self._looks + min(1 << min(trouble.times, 30), _MOST_PASSED)
            trouble.times, trouble.problem = trouble.times + 1, problem
        self._next()
