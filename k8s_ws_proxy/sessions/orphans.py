"""What an interactive session leaves running in its container is hung up: ``REAP_ORPHANS``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from k8s_ws_proxy.errors import UpstreamError, UpstreamProtocolError, UpstreamRefused
from k8s_ws_proxy.kube.dial import Upstream, dial
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.relay.late import Late
from k8s_ws_proxy.relay.stream import StreamLost
from k8s_ws_proxy.wire import frames
from k8s_ws_proxy.wire.channels import V5
from k8s_ws_proxy.wire.frames import FrameViolation
from k8s_ws_proxy.wire.orphans import Answer, Greeting, NotStarted, Process, SaysTooMuch, hang_up, introduced
from k8s_ws_proxy.wire.target import ExecTarget, Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.kube.access import Access

_READ: Final = 32 * 1024  # bytes: a TLS record must fit
_RETRIES: Final = (0.0, 1.0, 5.0, 15.0)  # seconds before each try
_AT_ONCE: Final = 32  # execs of ours under way: many sessions may end together
# Seconds for a shell to introduce itself before its client is told that the session has begun. A runtime that has much
# to do may take longer: then the session begins with a Late stream.
_INTRODUCTION: Final = 2.0
# Seconds until it is no longer waited for at all: what was held of the session goes on, and can't be hung up. Who has
# said something else by _INTRODUCTION isn't the shell that was started.
_LATEST: Final = 5.0
_ASK_A_SILENT_ONE: Final = 15.0  # seconds: the wait for it has no other bound, and no pings
_UNFIT_FOR: Final = 600.0  # seconds for which it is remembered that a container has no shell, or none that would do
_REMEMBERED: Final = 1000  # containers of each kind
_FORBIDDEN: Final = 403
# Stands in what an admission webhook's or a ValidatingAdmissionPolicy's refusal is told as.
_ADMISSION: Final = b"dmission"
_ONLY_OUTPUT: Final = Streams(stdin=False, stdout=True, stderr=False, tty=False)

Container = tuple[str, str, str | None]
_Known = TypeVar("_Known")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that will be one if its session ends before it does. ``target`` has the pod's own name, no command."""

    orphans: Orphans
    target: ExecTarget
    process: Process

    def hang_up(self, session: str) -> None:
        """``session`` has ended."""
        self.orphans.hang_up(self, session)


@dataclass(frozen=True, slots=True)
class LateOrphan:
    """An Orphan that hasn't said yet which process it is."""

    orphans: Orphans
    target: ExecTarget
    arrival: asyncio.Task[Dialled]

    def hang_up(self, session: str) -> None:
        """``session`` has ended."""
        self.arrival.add_done_callback(lambda _: self.orphans.hang_up_late(self, session))


@dataclass(frozen=True, slots=True)
class Dialled:
    """What became of a dial: a connection, perhaps with a process to hang up; or why there is none, if anybody asks."""

    upstream: Upstream | None = None
    orphan: Orphan | LateOrphan | None = None
    error: UpstreamError | TimeoutError | None = None


class Orphans:
    """Starts interactive commands so that they can be found again, and hangs them up. ``patience`` in seconds."""

    def __init__(self, access: Access, *, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._patience = patience
        self._clock = clock
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._problem = ""  # why the last hang-up that failed did
        self._unfit: dict[Container, float] = {}  # since when
        self._fit: dict[Container, str] = {}  # what the shell said it goes by

    def concern(self, target: ExecTarget) -> bool:
        """Whether ``target`` is a terminal that somebody types into, and can be hung up as far as is known."""
        if not target.interactive or not target.streams.stdout:
            return False
        since = self._unfit.get(_container(target))
        return since is None or self._clock() - since > _UNFIT_FOR

    def dial(self, target: ExecTarget, wanted: Callable[[], bool]) -> asyncio.Task[Dialled]:
        """As kube.dial, until the command is about to start; with nobody to hang up where that can't be.

        It goes on when its caller has left, since the command may be starting by then: whoever awaits it shields it,
        and disposes of the result in any case. What couldn't be hung up isn't started for who isn't there any more:
        ``wanted`` says whether somebody is.
        """
        task = tasks.start(self._dial(target, wanted), name="dial a command that can be hung up")
        self._keep(task)
        return task

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _dial(self, target: ExecTarget, wanted: Callable[[], bool]) -> Dialled:
        try:
            async with asyncio.timeout(self._patience):
                return await self._introduced(target) or await self._plain(target, wanted)
        except (UpstreamError, TimeoutError) as error:
            return Dialled(error=error)

    async def _plain(self, target: ExecTarget, wanted: Callable[[], bool]) -> Dialled:
        if not wanted():
            return Dialled()
        upstream = await dial(self._access, target.upstream_path())
        if upstream.subprotocol != V5:
            _remember(self._unfit, _container(target), self._clock())
        return Dialled(upstream)

    async def _introduced(self, target: ExecTarget) -> Dialled | None:
        """None where it can't be, and nothing has been started."""
        # On v4 an exit status comes with the whole command line, ours: so only v5 is offered. An apiserver that doesn't
        # speak it refuses without a word, before anything has begun; but so may whatever stands between. The plain dial
        # that follows shows which it was.
        command = introduced(target.command, self._fit.get(_container(target), ""))
        try:
            upstream = await dial(self._access, target.with_command(command).upstream_path(), (V5,))
        except UpstreamRefused as error:
            if error.status == _FORBIDDEN and not error.body:
                return None
            if _ADMISSION not in error.body:
                raise
            # Whoever admits commands may have taken offence at ours: then the caller's own runs, and isn't hung up.
            logger().info("a command was refused as it would be started: it can't be hung up", **_names(target))
            _remember(self._unfit, _container(target), self._clock())
            return None
        meeting: asyncio.Task[Dialled | None] = tasks.start(self._met(upstream, target), name="wait for a shell")
        try:
            done, _ = await asyncio.wait({meeting}, timeout=min(_INTRODUCTION, self._patience / 2))
        except asyncio.CancelledError:
            meeting.cancel()
            raise
        if done:
            return meeting.result()
        logger().info("a command is slow to start", **_names(target))
        upstream.stream.keep_alive(_ASK_A_SILENT_ONE)
        late = Late(asyncio.get_running_loop(), lambda: self._wait_no_longer(arrival))
        arrival = tasks.start(self._arrival(meeting, target, late), name="wait for a slow shell")
        self._keep(arrival)
        return Dialled(replace(upstream, stream=late, early=b""), LateOrphan(self, _without_command(target), arrival))

    async def _arrival(self, meeting: asyncio.Task[Dialled | None], target: ExecTarget, late: Late) -> Dialled:
        """The rest of _dial(), for a session that has begun with ``late``."""
        try:
            if (dialled := await meeting) is None:
                async with asyncio.timeout(self._patience):
                    dialled = await self._plain(target, lambda: not late.closed)
        except (UpstreamError, TimeoutError) as error:
            dialled = Dialled(error=error)
        except BaseException:
            late.lose("the command couldn't be started")
            raise
        if dialled.upstream is None:
            late.lose("the command couldn't be started")
        else:
            late.arrive(dialled.upstream.stream, dialled.upstream.early)
        return dialled

    async def _met(self, upstream: Upstream, target: ExecTarget) -> Dialled | None:
        """Wait for the shell to introduce itself; None as above."""
        greeting = Greeting()
        try:
            await _greeted(upstream, greeting)
        except TimeoutError:
            logger().info("a command didn't say which process it is: it can't be hung up", **_names(target))
        except NotStarted as error:
            upstream.stream.close()
            if error.unfit:
                _remember(self._unfit, _container(target), self._clock())
            return None
        except BaseException:
            upstream.stream.close()
            raise
        orphan = None
        if greeting.process is not None:
            orphan = Orphan(self, _without_command(target), greeting.process)
            _remember(self._fit, _container(target), greeting.fit)
        return Dialled(replace(upstream, early=greeting.rest), orphan)

    def _wait_no_longer(self, arrival: asyncio.Task[Dialled]) -> None:
        """Its session has ended: a shell that still comes is hung up, but it must come soon."""
        asyncio.get_running_loop().call_later(self._patience, arrival.cancel)

    def hang_up_late(self, orphan: LateOrphan, session: str) -> None:
        """As hang_up(), when it is known which process it is."""
        arrival = orphan.arrival
        if arrival.cancelled() or arrival.exception() is not None:
            metrics.ORPHANS.labels("failed").inc()
            detail = "it didn't say which one it is"
            logger().warning("a process may be left behind", session=session, **_names(orphan.target), detail=detail)
        elif (found := arrival.result().orphan) is not None:
            found.hang_up(session)

    def hang_up(self, orphan: Orphan, session: str) -> None:
        """See to it that ``orphan`` is hung up; there is nothing to wait for."""
        logger().debug("hanging up a process", session=session, pid=orphan.process.pid)
        self._keep(tasks.start(self._hang_up(orphan, session), name="hang up a process"))

    async def settle(self) -> None:
        """Wait until all are hung up; where that is cut short, the log says how many are given up, and why."""
        try:
            while self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            if self._under_way:
                detail = f"no time left; {self._problem}" if self._problem else "no time left"
                logger().warning("processes may be left behind", count=len(self._under_way), detail=detail)
                given_up = list(self._under_way)
                for task in given_up:
                    task.cancel()
                await asyncio.gather(*given_up, return_exceptions=True)  # what they say must not come after the end

    async def _hang_up(self, orphan: Orphan, session: str) -> None:
        problem = ""
        for delay in _RETRIES:
            await asyncio.sleep(delay)
            try:
                async with self._at_once, asyncio.timeout(self._patience):
                    found = await self._ask(orphan)
            except TimeoutError:
                problem = self._problem = "no answer in time"
            except UpstreamError as error:
                problem = self._problem = "; ".join(filter(None, (str(error), error.detail)))
            else:
                self._note(orphan, session, found, "the container's user may not signal it")
                return
        self._note(orphan, session, "failed", problem)

    def _note(self, orphan: Orphan, session: str, found: str, problem: str = "") -> None:
        metrics.ORPHANS.labels(found).inc()
        facts = {"session": session, **_names(orphan.target)}
        if found == "failed":
            logger().warning("a process may be left behind", **facts, pid=orphan.process.pid, detail=problem)
        elif found == "hung_up":
            logger().info("process hung up", **facts, pid=orphan.process.pid)
        else:
            logger().debug("process was gone", **facts, pid=orphan.process.pid)

    async def _ask(self, orphan: Orphan) -> str:
        """Hang ``orphan`` up: ``hung_up``, ``gone`` where that isn't necessary, ``failed``. Raises UpstreamError."""
        target = replace(orphan.target, command=hang_up(orphan.process), streams=_ONLY_OUTPUT)
        try:
            upstream = await dial(self._access, target.upstream_path())
        except UpstreamRefused as error:
            if error.status == 404:  # the pod, and everything in it
                return "gone"
            raise
        try:
            answer, data = Answer(), upstream.early
            while (found := answer.take(data)) is None:
                data = await _read(upstream)
        except (EOFError, StreamLost, NotStarted, SaysTooMuch, FrameViolation) as error:
            raise UpstreamProtocolError("The process couldn't be hung up.", detail=str(error)) from error
        else:
            # A connection that is dropped without a close may take its process along, on some runtimes with v4.
            with contextlib.suppress(StreamLost):
                upstream.stream.write(
                    frames.frame(frames.CLOSE, frames.close_payload(frames.NORMAL), secrets.token_bytes(4))
                )
            upstream.stream.end_output()
            return found
        finally:
            upstream.stream.close()


async def _greeted(upstream: Upstream, greeting: Greeting) -> None:
    """Read until the greeting is over, or the connection is; the relay tells of that.

    Raises NotStarted, or TimeoutError: something else came, or nothing.
    """
    data, began = upstream.early, asyncio.get_running_loop().time()
    with contextlib.suppress(EOFError, StreamLost, FrameViolation):
        async with asyncio.timeout_at(began + _LATEST) as until:
            while not greeting.take(data):
                if greeting.strange:
                    until.reschedule(began + _INTRODUCTION)
                data = await _read(upstream)


async def _read(upstream: Upstream) -> bytes:
    """The next bytes. Raises EOFError or StreamLost.

    Others have their turn before, and a time-out its chance, however much there is to be read.
    """
    await asyncio.sleep(0)
    block = bytearray(_READ)
    while (count := upstream.stream.read_into(memoryview(block))) is None:
        await upstream.stream.readable()
    if not count:
        raise EOFError("the connection ended")
    return bytes(block[:count])


def _remember(known: dict[Container, _Known], container: Container, what: _Known) -> None:
    if len(known) >= _REMEMBERED:
        known.pop(next(iter(known)))
    known[container] = what


def _names(target: ExecTarget) -> dict[str, str | None]:
    return {"namespace": target.namespace, "pod": target.pod, "container": target.container}


def _without_command(target: ExecTarget) -> ExecTarget:
    """What is kept for a session's whole life: a command may have 128 KiB, and isn't asked for any more."""
    return replace(target, command=())


def _container(target: ExecTarget) -> Container:
    return target.namespace, target.pod, target.container
