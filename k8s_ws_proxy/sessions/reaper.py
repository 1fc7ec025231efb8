"""Hangs processes up, those of one container together, and asks of others whether they have ended as was said."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import UpstreamError, UpstreamProtocolError, UpstreamRefused
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.relay.stream import StreamLost
from k8s_ws_proxy.wire.container.greeting import Answers, Nonsense, NotStarted
from k8s_ws_proxy.wire.container.orphans import MOST_AT_ONCE, Place, Process, hang_up
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.frames import FrameViolation
from k8s_ws_proxy.wire.requests.target import ExecTarget, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from k8s_ws_proxy.kube.apiserver import Apiserver

    _Where = tuple[Apiserver, Place]

_RETRIES: Final = (0.0, 1.0, 5.0, 15.0)  # seconds before each try
_AT_ONCE: Final = 32  # execs of ours under way: many sessions may end together
_LOOKS_AT_ONCE: Final = 4  # those of them that only look whether an end was true: nobody waits for these
# Seconds until it is looked whether what was told to have ended has. A runtime that restarts says so of what lives on,
# and can be asked again after some seconds.
_LOOK_AFTER: Final = 5.0
_MOST_LOOKS: Final = 2000  # processes that wait to be looked for
_ONLY_OUTPUT: Final = Streams(stdin=False, stdout=True, stderr=False, tty=False)


@dataclass(frozen=True, slots=True)
class Left:
    """What ``session``, or one of a daemon before this (None), may have left in a container.

    ``told``: the apiserver has said that it had ended.
    """

    apiserver: Apiserver
    place: Place
    process: Process
    session: str | None
    told: bool = False

    @property
    def where(self) -> _Where:
        """What one exec hangs up has this in common: the container, and as whom it is asked for."""
        return self.apiserver, self.place

    @property
    def facts(self) -> dict[str, str | None]:
        """For a line in the log."""
        facts = {**self.place._asdict(), "pid": self.process.pid}
        return facts if self.session is None else {"session": self.session, **facts}


class Reaper:
    """Sees to what sessions leave. ``patience`` in seconds, for each exec; ``over`` hears of each to forget."""

    def __init__(self, *, patience: float, over: Callable[[Left], None]) -> None:
        self._tell = over
        self._patience = patience
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._looks_at_once = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._next: dict[_Where, list[Left]] = {}  # whose task has yet to begin
        self._later: dict[_Where, tuple[asyncio.TimerHandle, list[Left]]] = {}
        self._looks = 0  # how many are in there
        self.problem = ""  # why the last hang-up that failed did
        self.left = 0  # processes that are being hung up
        self.under_way: set[asyncio.Task[None]] = set()

    def hang_up(self, left: Left) -> None:
        """See to it; there is nothing to wait for. What comes in the same turn of the loop is done together."""
        logger().debug("hanging up a process", session=left.session, pid=left.process.pid)
        self.left += 1
        if (batch := self._next.get(left.where)) is not None:
            batch.append(left)
            return
        self._next[left.where] = [left]
        self._start(self._hang_up_next(left.where), "hang up processes")

    def look_later(self, left: Left) -> None:
        """Ask in some seconds whether it has ended. If so many wait that nobody will, it is taken for granted."""
        if self._looks >= _MOST_LOOKS:
            self._tell(left)
            return
        self._looks += 1
        if left.where in self._later:
            self._later[left.where][1].append(left)
            return
        timer = asyncio.get_running_loop().call_later(_LOOK_AFTER, self._look, left.where)
        self._later[left.where] = timer, [left]

    def look_now(self) -> None:
        """There is no later."""
        for where in list(self._later):
            self._look(where)

    def _look(self, where: _Where) -> None:
        timer, batch = self._later.pop(where)
        timer.cancel()
        self._looks -= len(batch)
        self._start(self._see_to(batch, self._looks_at_once), "look whether processes have ended")

    def _start(self, seeing: Coroutine[Any, Any, None], name: str) -> None:
        task = tasks.start(seeing, name=name)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _hang_up_next(self, where: _Where) -> None:
        await self._see_to(self._next.pop(where), self._at_once)

    async def _see_to(self, batch: list[Left], turn: asyncio.Semaphore) -> None:
        parts = [batch[first : first + MOST_AT_ONCE] for first in range(0, len(batch), MOST_AT_ONCE)]
        await asyncio.gather(*(self._try(part, turn) for part in parts))

    async def _try(self, batch: list[Left], turn: asyncio.Semaphore) -> None:
        """Ask until there is an answer for each, or it has been tried often enough."""
        problem, audit_id = "", str(uuid.uuid4())
        for delay in _RETRIES:
            await asyncio.sleep(delay)
            try:
                async with turn, asyncio.timeout(self._patience):
                    await self._ask(batch, audit_id)
            except TimeoutError:
                problem = "no answer in time"
            except UpstreamError as error:
                problem = "; ".join(filter(None, (str(error), error.detail)))
            if not batch:
                return
            self.problem = problem
        for left in batch:
            self._note(left, "", problem, audit_id)

    async def _ask(self, batch: list[Left], audit_id: str) -> None:
        """Hang those of ``batch`` up that are there, and take out of it who was answered for. Raises UpstreamError."""
        apiserver, place = batch[0].where
        command = hang_up([left.process for left in batch])
        target = ExecTarget(place.namespace, place.pod, place.container, _ONLY_OUTPUT, command)
        try:
            upstream = await apiserver.dial(target.upstream_path(), audit_id=audit_id)
        except UpstreamRefused as error:
            if error.status != 404:
                raise
            self._answered(batch, ["gone"] * len(batch), audit_id)  # the pod, and everything in it
            return
        answers = Answers(len(batch))
        try:
            data = upstream.early
            while not answers.take(data):
                data = await upstream.read()
        except (EOFError, StreamLost, NotStarted, Nonsense, FrameViolation) as error:
            raise UpstreamProtocolError("The process couldn't be hung up.", detail=str(error)) from error
        else:
            # A connection that is dropped without a close may take its process along, on some runtimes with v4.
            with contextlib.suppress(StreamLost):
                upstream.stream.write(
                    frames.frame(frames.CLOSE, frames.close_payload(frames.NORMAL), secrets.token_bytes(4))
                )
            upstream.stream.end_output()
        finally:
            upstream.stream.close()
            self._answered(batch, answers.outcomes, audit_id)

    def _answered(self, batch: list[Left], outcomes: list[str], audit_id: str) -> None:
        for left, outcome in zip(batch, outcomes, strict=False):
            self._note(left, outcome, "the container's user may not signal it", audit_id)
        del batch[: len(outcomes)]

    def _note(self, left: Left, outcome: str, problem: str, audit_id: str) -> None:
        """Write down what became of it; ``outcome`` is empty where that isn't known."""
        facts = {**left.facts, "audit_id": audit_id}
        self.left -= not left.told
        if outcome or left.told:  # it is over, or taken for granted that it is
            self._tell(left)
        if left.told and outcome in ("", "gone"):
            logger().debug("a process has ended" if outcome else "a process couldn't be looked for", **facts)
        elif left.told:
            metrics.ORPHANS.labels("upstream_claims" if outcome == "hung_up" else "failed").inc()
            what = "hung up" if outcome == "hung_up" else f"left behind: {problem}"
            logger().warning("a command was said to have ended, and had not", **facts, detail=what)
        else:
            metrics.ORPHANS.labels(outcome or "failed").inc()
            if outcome == "hung_up":
                logger().info("process hung up", **facts)
            elif outcome == "gone":
                logger().debug("process was gone", **facts)
            else:
                logger().warning("a process may be left behind", **facts, detail=problem)
