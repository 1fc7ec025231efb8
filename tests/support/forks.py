"""Daemons from the fork server: what asyncio.subprocess.Process is, for one that another process has started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SERVER = Path(__file__).with_name("fork_server.py")


class Fork:
    """One process. ``returncode`` is None until it has been waited for, as in asyncio."""

    def __init__(self, pid: int, stderr: asyncio.StreamReader, status: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._status = asyncio.get_running_loop().create_task(self._end(status))

    async def _end(self, status: asyncio.StreamReader) -> int:
        self.returncode = int(await status.read())
        return self.returncode

    async def wait(self) -> int:
        """The exit status; below zero it is the signal that it died of."""
        return await asyncio.shield(self._status)

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(15)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(9)


class ForkServer:
    """The server of this process; there is one for all of a worker's tests."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    async def start(self, arguments: Sequence[str], environ: Mapping[str, str], *, limit: int) -> Fork:
        """A process with nothing on its stdin, our stdout, and a pipe for its stderr."""
        request = {"arguments": arguments, "environ": environ, "directory": os.getcwd()}  # noqa: PTH109
        stderr, its_stderr = os.pipe()
        status, its_status = os.pipe()
        with open(os.devnull) as nothing:  # noqa: PTH123, ASYNC230
            socket.send_fds(
                self._requests, [json.dumps(request).encode()], [nothing.fileno(), 1, its_stderr, its_status]
            )
        os.close(its_stderr)
        os.close(its_status)
        pid = int(self._requests.recv(64))
        return Fork(pid, await reader(stderr, limit), await reader(status, 64))


async def reader(fd: int, limit: int) -> asyncio.StreamReader:
    """What comes from a pipe. It is closed with the pipe's other end."""
    found = asyncio.StreamReader(limit)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(found), os.fdopen(fd, "rb", buffering=0)
    )
    return found


_running: list[ForkServer] = []


def server() -> ForkServer | None:
    """The one that runs, if one does."""
    return _running[-1] if _running else None


@contextlib.contextmanager
def fork_server() -> Iterator[None]:
    """Run one; daemons come from it meanwhile."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environ = {"PATH": os.environ["PATH"]}
    program = [sys.executable, "-P", "-W", "error", str(SERVER), str(its.fileno())]
    with ours, subprocess.Popen(program, env=environ, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL):
        its.close()
        _running.append(ForkServer(ours))
        try:
            yield
        finally:
            _running.pop()
            ours.close()
