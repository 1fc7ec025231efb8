"""To NATS JetStream: each line is written to disk, sent, acknowledged, and only then forgotten; one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.audit.left_behind import LOOK, LeftBehind
from k8s_ws_proxy.audit.nats_link import NatsLink
from k8s_ws_proxy.audit.spool import Spool
from k8s_ws_proxy.errors import AuditError, AuditLineTooLong
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.rfc3339 import unix
from k8s_ws_proxy.wire.audit.chain import label_of
from k8s_ws_proxy.wire.audit.line import LONGEST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.settings import NatsSettings

MOST: Final = 8 * 1024 * 1024  # bytes of lines that wait in memory: where the disk doesn't take them
_SOONEST: Final = 0.25  # seconds until a line is sent again; twice that each time
_LATEST: Final = 30.0
_STORE_AGAIN: Final = 1.0  # seconds, where the disk didn't take a line
_LAST_CHANCE: Final = 1.0  # seconds for what waits when the daemon ends


class NatsSink:
    """Lines of the run ``daemon``, and what runs before it have left. It has a thread, with a loop of its own."""

    name: Final = "nats"

    def __init__(self, settings: NatsSettings, *, daemon: str, node: str) -> None:
        self._settings = settings
        self._own = Spool(settings.directory / daemon, self._gone)
        self._left = LeftBehind(settings.directory, daemon, self._gone)
        self._link = NatsLink(settings, f"k8s-ws-proxy {node}".strip())
        self._memory: deque[bytes] = deque()  # lines that are not on disk yet
        self._held = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stored = asyncio.Event()  # there may be something to send
        self._came = asyncio.Event()  # there may be something to store
        self._ends = asyncio.Event()  # the daemon does, and all is stored
        self._closing = False
        self._storage_trouble = self._link_trouble = ""
        self._oldest = 0.0  # Unix seconds of the first line that waits
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="audit nats", daemon=True)
        self._thread.start()

    def take(self, line: bytes) -> None:
        """As Sink's."""
        with self._lock:
            full = self._held + len(line) > MOST
            if not full:
                self._memory.append(line)
                self._held += len(line)
        if full:
            metrics.AUDIT_LOST.labels(self.name).inc()
        self._wake()

    @property
    def trouble(self) -> str:
        """As Sink's: NATS may be away as long as there is room."""
        if self._storage_trouble and (self._link_trouble or self._held > MOST - LONGEST):
            return f"{self._storage_trouble}; {self._link_trouble}".rstrip("; ")
        return "" if self._held <= MOST - LONGEST else "it doesn't take lines fast enough"

    @property
    def waiting(self) -> int:
        """As Sink's."""
        return len(self._memory) + self._own.waiting + self._left.waiting

    @property
    def oldest(self) -> float:
        """As Sink's."""
        since = [each for each in (self._waiting_since, self._left.unread_since) if each]
        return max(0.0, time.time() - min(since)) if since else 0.0

    @property
    def _waiting_since(self) -> float:
        return self._oldest if self.waiting else 0.0

    def reopen(self) -> None:
        """As Sink's: look at what others have left."""
        self._left.look_soon()
        self._wake()

    def close(self) -> None:
        """As Sink's. What isn't sent by then is sent by the next daemon."""
        self._closing = True
        self._wake()
        self._thread.join(_LAST_CHANCE + 1.0)

    def _wake(self) -> None:
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._came.set)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        storing = self._loop.create_task(self._over_and_over(self._store_all))
        sending = self._loop.create_task(self._over_and_over(self._send_all))
        await storing
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CHANCE):
                await sending
        await self._link.close()
        for spool in (self._own, *self._left.taken):
            empty = spool.is_open and not spool.waiting
            with contextlib.suppress(OSError):
                spool.remove() if empty else spool.close()

    async def _over_and_over(self, work: Callable[[], Awaitable[None]]) -> None:
        """A mistake of ours costs time, no lines."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - it is told, and tried again
                logger().error("the audit trail's way to NATS failed", exc_info=error)
                if self._closing:
                    return
                await asyncio.sleep(_LATEST)
            else:
                return

    async def _store_all(self) -> None:
        """Bring lines from memory to disk as they come, whatever NATS does."""
        while True:
            self._came.clear()
            closing = self._closing
            self._store()
            self._stored.set()
            if closing:
                self._ends.set()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STORE_AGAIN if self._memory else LOOK):
                    await self._came.wait()

    def _store(self) -> None:
        while self._memory:
            if self._own.size + self._left.size + len(self._memory[0]) > self._settings.most:
                self._not_stored("AUDIT_MAX_BUFFER is full")
                return
            try:
                if not self._own.is_open:
                    self._own.open()
                self._own.append(self._memory[0])
            except OSError as error:
                self._not_stored(error.strerror or str(error))
                return
            self._forget_in_memory()
        self._storage_trouble = ""

    def _not_stored(self, problem: str) -> None:
        if problem != self._storage_trouble:
            metrics.AUDIT_FAILURES.labels(self.name).inc()
            logger().error(
                "audit lines for NATS can't be kept on disk; they are in memory",
                directory=str(self._settings.directory),
                error=problem,
            )
        self._storage_trouble = problem

    def _forget_in_memory(self) -> None:
        with self._lock:
            self._held -= len(self._memory.popleft())

    async def _send_all(self) -> None:
        """Send lines in their order: those of runs before, then of this one, from disk, then from memory."""
        delay = 0.0
        while True:
            self._stored.clear()
            if (line := self._next()) is None:
                if self._closing:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await self._stored.wait()
                continue
            if delay and self._closing:
                return  # it was tried, and another daemon may
            if delay:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._ends.wait()
            delay = 0.0 if await self._sent(line) else min(max(_SOONEST, 2 * delay), _LATEST)

    def _next(self) -> tuple[Spool | None, bytes] | None:
        """The line that is due, and where it is: on disk, or in memory."""
        if (found := self._left.first()) is not None:
            return found
        try:
            if self._own.is_open and (data := self._own.first()) is not None:
                return self._own, data
        except OSError as error:
            self._not_sent(f"what is kept on disk can't be read: {error.strerror or error}")
        return (None, self._memory[0]) if self._memory and not self._own.waiting else None

    def _not_sent(self, problem: str) -> None:
        metrics.AUDIT_FAILURES.labels(self.name).inc()
        self._oldest = self._oldest or time.time()
        if problem != self._link_trouble:
            logger().error("audit lines don't get out to NATS; they are kept", error=problem, lines=self.waiting)
        self._link_trouble = problem

    def _gone(self, lines: int) -> None:
        metrics.AUDIT_LOST.labels(self.name).inc(lines)
        logger().error(
            "audit lines are lost to NATS: somebody has removed them from the disk",
            directory=str(self._settings.directory),
            lines=lines,
        )

    async def _sent(self, due: tuple[Spool | None, bytes]) -> bool:
        """It was, and is forgotten."""
        spool, data = due
        counter = metrics.AUDIT_WRITTEN
        try:
            label = label_of(data)
            self._oldest = unix(label.time)
            subject = self._settings.subject.replace("{event}", label.event)
            await self._link.publish(subject, data, label.id)
        except (AuditLineTooLong, ValueError) as error:  # or somebody has changed it on disk
            logger().error("an audit line is lost to NATS", bytes=len(data), error=str(error))
            counter = metrics.AUDIT_LOST
        except AuditError as error:
            self._not_sent(str(error))
            return False
        if self._link_trouble:
            logger().info("audit lines get out to NATS again")
            self._link_trouble = ""
        if spool is not None:
            spool.forget()
        elif (
            self._memory and self._memory[0] is data
        ):  # else the disk has it by now, and it is sent again: no duplicate
            self._forget_in_memory()
        counter.labels(self.name).inc()
        self._oldest = 0.0
        return True
