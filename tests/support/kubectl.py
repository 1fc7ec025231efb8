"""kubectl, as it is released: a process on pipes, or on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
from pathlib import Path

KUBECTL = Path(sys.executable).with_name("kubectl")


async def start(kubeconfig, home, *arguments, before=(), environ=None, **streams):
    """A kubectl that knows nothing but ``kubeconfig``; what it caches goes to ``home``."""
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(kubeconfig),
        "TERM": "xterm",
        **(environ or {}),
    }
    return await asyncio.create_subprocess_exec(*before, KUBECTL, *arguments, env=environment, **streams)


class Terminal:
    """The master of a pty that kubectl runs on."""

    def __init__(self, columns, rows):
        self.master, self.slave = os.openpty()
        self.text = b""
        self.reader = None
        self.resize(columns, rows)

    async def open(self):
        """Begin to read; the slave is the program's alone from now on."""
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self.reader), os.fdopen(self.master, "rb", 0))
        os.close(self.slave)

    def resize(self, columns, rows):
        """The window changes."""
        termios.tcsetwinsize(self.master, (rows, columns))

    def type(self, text):
        """Press keys."""
        os.write(self.master, text)

    async def until(self, wanted):
        """Wait until ``wanted`` has been shown."""
        while wanted not in self.text:
            data = await self.reader.read(4096)
            assert data, self.text
            self.text += data

    async def rest(self):
        """All that is shown until the program ends."""
        with contextlib.suppress(OSError):  # EIO is how a pty says that it is over
            while data := await self.reader.read(4096):
                self.text += data
        return self.text


@contextlib.asynccontextmanager
async def on_terminals(home):
    """Starts kubectl on terminals of its own; all are gone after the block."""
    programs = []

    async def open_one(kubeconfig, *arguments, columns=80, rows=24):
        terminal = Terminal(columns, rows)
        streams = {"stdin": terminal.slave, "stdout": terminal.slave, "stderr": terminal.slave}
        program = await start(kubeconfig, home, *arguments, before=("setsid", "--ctty"), **streams)
        programs.append(program)
        await terminal.open()
        return program, terminal

    try:
        yield open_one
    finally:
        for program in programs:
            if program.returncode is None:
                program.kill()
                await program.wait()
