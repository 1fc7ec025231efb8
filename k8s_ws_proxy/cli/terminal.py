"""The person's own terminal: raw while the session lasts, and as it was before, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal:
    """The terminal behind a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Every key goes to the other side, until the block is left."""
        before = termios.tcgetattr(self._fd)
        try:
            self.make_raw()
            yield
        finally:
            self._restore(before)

    def make_raw(self) -> None:
        """Take the terminal, also again after a stop: the shell has used it in between.

        Not from the background, where the terminal is somebody else's.
        """
        if self._in_foreground():
            tty.setraw(self._fd, termios.TCSANOW)  # at once: waiting for stopped output could take for ever

    def size(self) -> tuple[int, int] | None:
        """Columns and rows; None where the terminal doesn't know."""
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:
            return None
        return (size.columns, size.lines) if size.columns and size.lines else None

    def _restore(self, before: list[object]) -> None:
        # From the background this would stop us (SIGTTOU), and the terminal would stay raw.
        handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            with contextlib.suppress(termios.error):  # it was hung up
                termios.tcsetattr(self._fd, termios.TCSANOW, before)  # type: ignore[arg-type]  # what tcgetattr gave
        finally:
            signal.signal(signal.SIGTTOU, handler)

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal: nobody will stop us
