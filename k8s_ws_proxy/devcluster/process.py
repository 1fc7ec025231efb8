"""A process on a pty or on pipes, with its streams as sources and sinks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
from contextlib import ExitStack
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.descriptors import Sink, Source, close_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.devcluster.runtime import Runtime, Started


class Process:
    """What exec or attach talks to. Of a stream that was not asked for there is neither a source nor a sink."""

    def __init__(
        self,
        runtime: Runtime,
        started: Started,
        *,
        stdin: Sink | None,
        stdout: Source | None,
        stderr: Source | None = None,
        terminal: int = -1,
    ) -> None:
        self._runtime = runtime
        self._started = started
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._terminal = terminal
        started.exit.add_done_callback(self._ended)

    @property
    def tty(self) -> bool:
        """Whether it runs on a terminal."""
        return self._terminal >= 0

    async def wait(self) -> int:
        """The exit code, 0 to 255, once it has ended; a signal counts as 128 + its number."""
        return await asyncio.shield(self._started.exit)

    def resize(self, columns: int, rows: int) -> None:
        """Set the terminal's size, each 0 to 65535. Without a terminal, or after its end, nothing happens."""
        if self.tty:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetwinsize(self._terminal, (rows, columns))

    def end_stdin(self) -> None:
        """No more input: end of file on a pipe. A terminal has no such thing (docs/observed.md, "Frames")."""
        if self.stdin is not None and not self.tty:
            self.stdin.close()

    async def kill(self) -> None:
        """SIGKILL for it and its process group."""
        await self._runtime.signal(self._started, signal.SIGKILL)

    def close(self) -> None:
        """Let go of its streams, when it has ended. A second time does nothing."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def close_at_exit(self) -> None:
        """Let go of its streams as soon as it ends, and not before: a lost terminal would hang it up."""
        self._started.exit.add_done_callback(lambda _: self.close())

    def _ended(self, _: object) -> None:
        for source in (self.stdout, self.stderr):
            if source is not None:
                source.writer_ended()


async def start_on_terminal(runtime: Runtime, argv: Sequence[str]) -> Process:
    """Start `argv` in a new session whose controlling terminal is a new pty, of size 0 0.

    Raises OSError if it can't be started.
    """
    master, slave = os.openpty()
    with ExitStack() as on_failure:
        on_failure.callback(close_all, master)
        try:
            started = await runtime.start(argv, (slave, slave, slave), tty=True)
        finally:
            os.close(slave)
        on_failure.pop_all()
    return Process(runtime, started, stdin=Sink(os.dup(master)), stdout=Source(os.dup(master)), terminal=master)


async def start_on_pipes(runtime: Runtime, argv: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool) -> Process:
    """Start `argv` in a new session with a pipe for each stream that is wanted, and /dev/null for the others.

    Raises OSError if it can't be started.
    """
    null = os.open(os.devnull, os.O_RDWR)
    with ExitStack() as on_failure, ExitStack() as theirs:
        theirs.callback(close_all, null)
        ours: list[int | None] = []
        fds: list[int] = []
        for wanted, is_input in ((stdin, True), (stdout, False), (stderr, False)):
            if not wanted:
                ours.append(None)
                fds.append(null)
                continue
            reading, writing = os.pipe()
            ours.append(writing if is_input else reading)
            fds.append(reading if is_input else writing)
            on_failure.callback(close_all, writing if is_input else reading)
            theirs.callback(close_all, reading if is_input else writing)
        started = await runtime.start(argv, fds, tty=False)
        on_failure.pop_all()
    to_process, from_process, errors = ours
    return Process(
        runtime,
        started,
        stdin=None if to_process is None else Sink(to_process),
        stdout=None if from_process is None else Source(from_process),
        stderr=None if errors is None else Source(errors),
    )
