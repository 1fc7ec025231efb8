"""How a rotation tells how it goes: lines for a person, with what is waited for on the last one, or JSON lines."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k8s_ws_proxy.rotation.run import Progress

_REPEAT: Final = 30.0  # seconds between two lines that say the same, where none can be written over


class ForPerson:
    """On a terminal, what is waited for is one line that changes; elsewhere it is a line now and then."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._shown = False
        self._last = float("-inf")

    def step(self, event: str, sentence: str, **_facts: object) -> None:
        """Something was done or found."""
        del event
        self.clear()
        self._last = float("-inf")
        print(f"{_clock()}  {sentence}", flush=True)

    def waiting(self, sentence: str, **_facts: object) -> None:
        """What is waited for now."""
        if self._live:
            room = shutil.get_terminal_size().columns - 1
            line = f"{_clock()}  {sentence}"
            self.clear()
            print(line if len(line) <= room else line[: room - 1] + "…", end="", flush=True)
            self._shown = True
        elif time.monotonic() - self._last >= _REPEAT:
            self._last = time.monotonic()
            print(f"{_clock()}  {sentence}", flush=True)

    def clear(self) -> None:
        """Take the changing line away."""
        if self._shown:
            print("\r\x1b[K", end="", flush=True)
            self._shown = False


class ForMachine:
    """One JSON object a line: ``event``, ``time``, ``message``, and the facts."""

    def step(self, event: str, sentence: str, **facts: object) -> None:
        """Something was done or found."""
        print(json.dumps({"event": event, "time": _rfc3339(), "message": sentence, **facts}), flush=True)

    def waiting(self, sentence: str, **facts: object) -> None:
        """What is waited for now."""
        self.step("waiting", sentence, **facts)


@contextlib.contextmanager
def progress(*, machine: bool) -> Iterator[Progress]:
    """The one or the other, until the block is left."""
    if machine:
        yield ForMachine()
        return
    person = ForPerson()
    try:
        yield person
    finally:
        person.clear()


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _rfc3339() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
