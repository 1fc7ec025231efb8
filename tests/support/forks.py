"""Processes from the fork server: what asyncio.subprocess.Process is, for one that another process has started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

SERVER = Path(__file__).with_name("fork_server.py")
_THREAD_NET = "/proc/thread-self/ns/net"


class Fork:
    """One process. ``returncode`` is None until it has been waited for, as in asyncio."""

    def __init__(self, pid: int, status: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self.returncode: int | None = None
        self._status = asyncio.get_running_loop().create_task(self._end(status))

    async def _end(self, status: asyncio.StreamReader) -> int:
        self.returncode = int(await status.read())
        return self.returncode

    async def wait(self) -> int:
        """The exit status; below zero it is the signal that it died of."""
        return await asyncio.shield(self._status)

    async def communicate(self, given: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        """Send this to its stdin, and close that; all of its stdout and stderr, after its end."""
        output, errors, _ = await asyncio.gather(_rest(self.stdout), _rest(self.stderr), self._feed(given))
        await self.wait()
        return output, errors

    async def _feed(self, given: bytes | None) -> None:
        if self.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if given:
                self.stdin.write(given)
                await self.stdin.drain()
        self.stdin.close()

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

    async def start(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        limit: int = 1 << 16,
        terminal: bool = False,
        strict: bool = True,
    ) -> Fork:
        """``k8s-ws-proxy ARGUMENTS``, in the network namespace of this thread; the streams as asyncio takes them.

        ``terminal`` makes the terminal on its stdin the controlling one of a session of its own. ``strict``: a warning
        is an error.
        """
        request = {
            "arguments": arguments,
            "environ": environ,
            "directory": os.getcwd() if cwd is None else os.fspath(cwd),  # noqa: PTH109
            "terminal": terminal,
            "strict": strict,
        }
        with contextlib.ExitStack() as its:
            status, its_status = os.pipe()
            its.callback(os.close, its_status)
            its_stdin, ours_in = _stream(its, stdin, 0)
            its_stdout, ours_out = _stream(its, stdout, 1)
            its_stderr, ours_err = (its_stdout, None) if stderr == STDOUT else _stream(its, stderr, 2)
            namespace = its.enter_context(open(_THREAD_NET, "rb")).fileno()  # noqa: PTH123, ASYNC230
            fds = [its_stdin, its_stdout, its_stderr, its_status, namespace]
            socket.send_fds(self._requests, [json.dumps(request).encode()], fds)
            pid = int(self._requests.recv(64))
        fork = Fork(pid, await reader(status, 64))
        fork.stdin = None if ours_in is None else await _writer(ours_in)
        fork.stdout = None if ours_out is None else await reader(ours_out, limit)
        fork.stderr = None if ours_err is None else await reader(ours_err, limit)
        return fork


def _stream(its: contextlib.ExitStack, wanted: int | IO[bytes] | None, number: int) -> tuple[int, int | None]:
    """What the process has as descriptor ``number``, closed here with ``its``, and our end of it."""
    match wanted:
        case None:
            return number, None
        case _ if wanted == DEVNULL:
            return its.enter_context(open(os.devnull, "r+b", buffering=0)).fileno(), None  # noqa: PTH123
        case _ if wanted == PIPE:
            reading, writing = os.pipe()
            its.callback(os.close, writing if number else reading)
            return (writing, reading) if number else (reading, writing)
        case int():
            return wanted, None
        case _:
            return wanted.fileno(), None


async def _rest(stream: asyncio.StreamReader | None) -> bytes | None:
    return None if stream is None else await stream.read()


async def reader(fd: int, limit: int) -> asyncio.StreamReader:
    """What comes from a pipe. It is closed with the pipe's other end."""
    found = asyncio.StreamReader(limit)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(found), os.fdopen(fd, "rb", buffering=0)
    )
    return found


async def _writer(fd: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(fd, "wb", buffering=0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


_running: list[ForkServer] = []


def server() -> ForkServer | None:
    """The one that runs, if one does."""
    return _running[-1] if _running else None


@contextlib.contextmanager
def fork_server() -> Iterator[None]:
    """Run one; daemons and commands come from it meanwhile."""
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
