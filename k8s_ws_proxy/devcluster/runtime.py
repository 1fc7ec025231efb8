"""A container's side of the fence as the cluster sees it: its process 1, its environment, and what runs in
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import init
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k8s_ws_proxy.devcluster.observed import Observed
    from k8s_ws_proxy.devcluster.world import Container, Pod

_SIGKILL_EXIT = 137
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Started:
    """A process that runs in a container, or has run."""

    def __init__(self, number: int) -> None:
        self.number = number
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        """The process id, or the OSError with which it could not be started."""
        self.exit: asyncio.Future[int] = loop.create_future()
        """0 to 255; a signal counts as 128 + its number."""


class Runtime:
    """One container: it comes up with the first process that is started in it."""

    def __init__(self, pod: Pod, container: Container, directory: Path, observed: Observed) -> None:
        self._pod = pod
        self._container = container
        self._home = directory / "home"
        self._tmux = directory / container.name
        self._bin = directory / f"{container.name}-bin"
        self._observed = observed
        self._stopped = False
        self._numbers = 0
        self._started: dict[int, Started] = {}
        self._control: socket.socket | None = None
        self._program: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def environment(self, *, tty: bool) -> dict[str, str]:
        """What a new process finds: nothing of ours, and TERM only on a terminal, as container runtimes do."""
        environment = {
            "PATH": str(self._bin) if self._container.hidden else _PATH,
            "HOME": str(self._home),
            "HOSTNAME": self._pod.name,
            "TMUX_TMPDIR": str(self._tmux),
        }
        return {**environment, "TERM": "xterm"} if tty else environment

    async def start(self, argv: Sequence[str], fds: Sequence[int], *, tty: bool) -> Started:
        """Start `argv` on three descriptors (standard input, output, error), which stay the caller's.

        Raises OSError, with the errno of the failed exec, if it can't be started.
        """
        async with self._lock:
            if self._stopped:
                raise ProcessLookupError(errno.ESRCH, "the container is gone")
            control = self._control or await self._boot()
            self._numbers += 1
            started = Started(self._numbers)
            self._started[started.number] = started
            self._count(1)
            request = {
                "id": started.number,
                "argv": list(argv),
                "env": self.environment(tty=tty),
                "cwd": str(self._home),
                "tty": tty,
            }
            await _send(control, request, fds)
        await started.pid
        return started

    async def signal(self, started: Started, number: int) -> None:
        """Send a signal to the process's group, if the process has not ended."""
        async with self._lock:
            if self._control is not None and not started.exit.done():
                await _send(self._control, {"id": started.number, "signal": number})

    async def stop(self) -> None:
        """As `kill`, and whatever is started from now on fails."""
        self._stopped = True
        await self.kill()

    async def kill(self) -> None:
        """Kill everything in the container, orphans included; every process still running ends with 137."""
        async with self._lock:
            if self._control is None or self._program is None or self._listener is None:
                return
            self._control.close()
            self._control = None
            await self._listener
            await self._program.wait()

    async def _boot(self) -> socket.socket:
        await asyncio.to_thread(self._make_directories)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", init.__file__),
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
            )
        assert self._program.stdout is not None
        name = f"devcluster {self._pod.namespace}/{self._pod.name}/{self._container.name}"
        self._listener = tasks.start(self._listen(self._program.stdout), name=name)
        self._control = ours
        return ours

    def _make_directories(self) -> None:
        for directory in (self._home, self._tmux):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._container.hidden:
            self._bin.mkdir(exist_ok=True)
            for name, target in programs(_PATH).items():
                if name not in self._container.hidden:
                    with contextlib.suppress(FileExistsError):
                        (self._bin / name).symlink_to(target)

    async def _listen(self, replies: asyncio.StreamReader) -> None:
        async for line in replies:
            self._hear(json.loads(line))
        if self._control is not None:  # it ended without being asked to: the next process brings up another
            self._control.close()
            self._control = None
        for started in self._started.values():
            if not started.pid.done():
                started.pid.set_exception(ProcessLookupError(errno.ESRCH, "the container is gone"))
            started.exit.set_result(_SIGKILL_EXIT)
        self._count(-len(self._started))
        self._started.clear()

    def _hear(self, reply: Mapping[str, int]) -> None:
        started = self._started[reply["id"]]
        if "pid" in reply:
            started.pid.set_result(reply["pid"])
            return
        del self._started[reply["id"]]
        if "errno" in reply:
            started.pid.set_exception(OSError(reply["errno"], os.strerror(reply["errno"])))
            started.exit.cancel()
        else:
            started.exit.set_result(reply["exit"])
        self._count(-1)

    def _count(self, by: int) -> None:
        self._observed.running += by
        self._observed.changed()


def programs(path: str) -> dict[str, str]:
    """Every program that `path` reaches, by name: the first of each name, as a shell would find it."""
    found: dict[str, str] = {}
    for directory in path.split(":"):
        if Path(directory).is_dir():
            for entry in os.scandir(directory):
                found.setdefault(entry.name, entry.path)
    return found


async def _send(control: socket.socket, request: Mapping[str, object], fds: Sequence[int] = ()) -> None:
    """One request, with its descriptors on its first byte."""
    line = json.dumps(request).encode() + b"\n"
    loop = asyncio.get_running_loop()
    while True:
        try:
            sent = socket.send_fds(control, [line], fds) if fds else control.send(line)
            break
        except BlockingIOError:
            await _writable(loop, control)
    await loop.sock_sendall(control, line[sent:])


async def _writable(loop: asyncio.AbstractEventLoop, control: socket.socket) -> None:
    ready = loop.create_future()
    loop.add_writer(control, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_writer(control)


def remove_tree(directory: Path) -> None:
    """Delete the directory and all that processes left in it. Blocks."""
    shutil.rmtree(directory, ignore_errors=True)
