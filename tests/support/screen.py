"""A person at a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import termios

from support.command import start_command


@contextlib.asynccontextmanager
async def programs(screen, home, **environ):
    """Starts the command line's ``words`` on the screen; what was started is gone afterwards."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SHARED_SECRET_FILE": str(home / "secret"),
        **environ,
    }
    started = []

    async def start(*words, **streams):
        # The terminal is the controlling one, as after a login: the kernel then sends SIGWINCH by itself.
        process = await start_command(*words, environ=environ, terminal=True, **screen.streams | streams)
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Screen:
    """A person at a terminal: types, and reads what is shown."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        self._more = asyncio.Event()
        os.set_blocking(self.master, False)
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self):
        with contextlib.suppress(OSError):
            self.shown += os.read(self.master, 65536)
        self._more.set()

    async def until(self, pattern):
        """Read on until the pattern is shown; what was shown up to it is done with."""
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            self._more.clear()
            await self._more.wait()
        self.shown = self.shown[found.end() :]
        return found

    def type(self, text):
        os.write(self.master, text)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def streams(self):
        """The three standard streams of a process that runs on it."""
        return dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)

    @property
    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    @property
    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.slave)

    def cook(self):
        """As a shell leaves the terminal that takes it while a program is stopped."""
        termios.tcsetattr(self.slave, termios.TCSANOW, self.before)

    async def paste(self, text):
        """Type more than the terminal takes at once."""
        while text:
            try:
                text = text[os.write(self.master, text) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)  # epoll calls a pty's master writable when it isn't
