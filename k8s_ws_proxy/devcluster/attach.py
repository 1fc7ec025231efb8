"""A container's own process, and everyone attached to it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import codec, session, status
from k8s_ws_proxy.devcluster.logfile import LogFile
from k8s_ws_proxy.devcluster.websocket import MAX_DATA, ClientLeft
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from k8s_ws_proxy.devcluster.descriptors import Source
    from k8s_ws_proxy.devcluster.process import Process
    from k8s_ws_proxy.devcluster.subresources import StreamTarget
    from k8s_ws_proxy.devcluster.websocket import WebSocket


class MainProcess:
    """Output goes to a log, and to everyone who is attached, at the pace of the slowest.

    It is started when somebody first wants to attach to it or to read its log. If it has ended, the next attach starts
    it anew, as a restart policy would have it, with a new log in `directory`.
    """

    def __init__(self, start: Callable[[], Awaitable[Process]], name: str, directory: Path) -> None:
        self._start = start
        self._name = name
        self._directory = directory
        self._logs: list[LogFile] = []
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._run: asyncio.Task[None] | None = None
        self._attached: dict[WebSocket, StreamTarget] = {}

    async def attach(self, socket: WebSocket, target: StreamTarget) -> None:
        """Carry one client until it leaves or the process ends. A status never tells the exit code: the
        kubelet
        reports Success when an attached container has ended.
        """
        with contextlib.suppress(ClientLeft):
            await session.announce(socket, target)
            try:
                async with self._lock:
                    process, run = await self._running()
                    self._attached[socket] = target
            except OSError as exc:
                failure = status.internal_error(f"error attaching to container: {exc.strerror}")
                await session.finish(socket, failure)
                return
            taking = session.take_input(socket, target, process, _leave_open)
            client = tasks.start(taking, name=f"{self._name} input")
            try:
                await asyncio.wait((client, run), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._attached.pop(socket, None)
                client.cancel()
                await asyncio.wait((client,))
            if run.done():
                await session.finish(socket, status.SUCCESS)

    async def log(self, *, previous: bool = False) -> LogFile | None:
        """What the last run wrote, or the one before it; None if there was none.

        Raises OSError if the process was never started, and can't be.
        """
        async with self._lock:
            if not self._logs:
                await self._running()
        return self._logs[-1] if not previous else self._logs[-2] if len(self._logs) > 1 else None

    async def ended(self) -> None:
        """Return when the process runs no more and its streams are closed."""
        async with self._lock:
            if self._run is not None:
                await self._run

    async def _running(self) -> tuple[Process, asyncio.Task[None]]:
        if self._process is None or self._run is None or self._run.done():
            log = await LogFile.create(self._directory / f"{len(self._logs)}.log")
            try:
                self._process = await self._start()
            except BaseException:
                await log.end()
                raise
            self._logs.append(log)
            self._run = tasks.start(self._share(self._process, log), name=self._name)
        return self._process, self._run

    async def _share(self, process: Process, log: LogFile) -> None:
        await asyncio.gather(
            self._pump(codec.STDOUT, process.stdout, log), self._pump(codec.STDERR, process.stderr, log)
        )
        await process.wait()
        process.close()
        await log.end()

    async def _pump(self, channel: int, source: Source | None, log: LogFile) -> None:
        while source is not None and (data := await source.read(MAX_DATA)):
            await log.write(channel, data)
            wanted = [
                socket
                for socket, target in self._attached.items()
                if (target.stdout if channel == codec.STDOUT else target.stderr)
            ]
            await asyncio.gather(*(self._send(socket, channel, data) for socket in wanted))
            await asyncio.sleep(0)  # a busy stream lets the others in

    async def _send(self, socket: WebSocket, channel: int, data: bytes) -> None:
        try:
            await socket.send(channel, data)
        except ClientLeft:
            self._attached.pop(socket, None)


def _leave_open() -> None:
    """Ending stdin on attach ends the client's side only: the container's own stdin stays open."""
