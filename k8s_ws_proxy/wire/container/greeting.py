"""What is read of the two shells of ``container/orphans.py``: who a command is, and what became of one. Bytes in."""

from __future__ import annotations

import re
from typing import Any, Final

from k8s_ws_proxy.wire.container.orphans import UNFIT, Process
from k8s_ws_proxy.wire.framing import channels, frames

LONGEST_GREETING: Final = 65_536  # bytes before the line: whoever says more isn't the shell that was started
# Bytes that a hang-up may say, framing included; a line each of MOST_AT_ONCE processes is a tenth of it.
LONGEST_ANSWER: Final = 4_096

_LINE: Final = re.compile(rb"k8s-ws-proxy: process ([0-9]{1,10}) ([0-9]{1,20}) ([0-9]{0,20})\r?\n")
# Runtimes name the program that they don't find: `exec: "sh": executable file not found in $PATH`, or as crun puts it,
# "executable file `sh` not found in $PATH".
_NO_SHELL: Final = re.compile(r"""["'`/]sh["'`].*(not found|no such file)""", re.IGNORECASE | re.DOTALL)
_LONGEST_LINE: Final = 80  # bytes of what _LINE finds
_OUTCOMES: Final = {b"gone": "gone", b"hung up": "hung_up", b"failed": "failed"}
_LONGEST_OUTCOME: Final = max(map(len, _OUTCOMES))


class NotStarted(Exception):
    """The shell ended before it had become the command. ``unfit``: it is certain that it can start none here."""

    def __init__(self, *, unfit: bool = False) -> None:
        super().__init__("the shell ended")
        self.unfit = unfit


class Nonsense(Exception):
    """What answers isn't the shell that hangs up."""


class Greeting:
    """What the apiserver sends until the shell has introduced itself. Bytes in, the process out.

    ``rest`` is then what the caller is to get: all that came but the line, and what the shell said before it (bash
    complains of a locale that isn't there).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()  # what isn't there as a whole message
        self._passed = bytearray()  # whole messages that are the caller's
        self._line = bytearray()
        self.process: Process | None = None
        self.fit = ""  # when the first process of the container started, in ticks; the shell is fit for that one

    @property
    def rest(self) -> bytes:
        """Whole messages, and perhaps the beginning of one."""
        said = frames.frame(frames.BINARY, bytes((channels.STDOUT,)) + bytes(self._line)) if self._line else b""
        return bytes(self._passed + said + self._buffer)

    @property
    def strange(self) -> bool:
        """Something else was said. A shell may: then its line comes right after it."""
        return bool(self._line)

    def take(self, data: bytes) -> bool:
        """Whether it is over: ``process`` is known, or never will be. Raises NotStarted, or FrameViolation."""
        self._buffer += data
        pos = 0
        try:
            while (head := frames.parse_header(self._buffer, pos, len(self._buffer), masked=False)) is not None:
                body, after = pos + head.size, pos + head.size + head.length
                if after > len(self._buffer):
                    break
                channel, payload = self._buffer[body:after][:1], bytes(self._buffer[body + 1 : after])
                if head.opcode == frames.CLOSE or channel == bytes((channels.STATUS,)):
                    raise NotStarted(unfit=_unfit(channels.parse_status(payload)))
                before, pos = pos, after
                said = head.opcode == frames.BINARY and head.fin and channel == bytes((channels.STDOUT,))
                if not said or not payload:
                    self._passed += self._buffer[before:after]
                elif self._introduced(payload):
                    return True
        finally:
            del self._buffer[:pos]
        return len(self._line) + len(self._passed) + len(self._buffer) > LONGEST_GREETING

    def _introduced(self, said: bytes) -> bool:
        before = len(self._line)
        self._line += said
        # The line ends in what has just come, so it can't begin much before that.
        if (found := _LINE.search(self._line, max(0, before - _LONGEST_LINE))) is None:
            return False
        pid, started, self.fit = (field.decode() for field in found.groups())
        self.process = Process(pid, started)
        del self._line[: found.end()]
        return True


def _unfit(status: dict[str, Any] | None) -> bool:
    """Whether the end of a shell says that there is none, or none that will do; anything else may pass."""
    if status is None:
        return False
    code = channels.exit_code(status)
    return code == UNFIT or (code is None and _NO_SHELL.search(str(status.get("message", ""))) is not None)


class Answers:
    """What hang_up() says of ``count`` processes. ``outcomes`` are those said so far: gone, hung_up or failed each.

    Whoever speaks isn't to be trusted: it is the container's ``sh``, and may say anything, for ever.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0
        self._buffer = bytearray()  # what isn't there as a whole message
        self._line = bytearray()  # what isn't there as a whole line
        self.outcomes: list[str] = []

    def take(self, data: bytes) -> bool:
        """Whether all has been said. Raises NotStarted, FrameViolation, or Nonsense."""
        part = data[: LONGEST_ANSWER - self._taken]
        self._taken += len(part)
        self._buffer += part
        pos = 0
        while (head := frames.parse_header(self._buffer, pos, len(self._buffer), masked=False)) is not None:
            body, after = pos + head.size, pos + head.size + head.length
            if after > len(self._buffer):
                break
            pos = after
            channel, payload = self._buffer[body:after][:1], self._buffer[body + 1 : after]
            if head.opcode == frames.CLOSE or channel == bytes((channels.STATUS,)):
                raise NotStarted
            if channel == bytes((channels.STDOUT,)) and head.opcode in (frames.BINARY, frames.TEXT):
                self._hear(payload)
                if len(self.outcomes) == self._count:
                    return True
        del self._buffer[:pos]
        if self._taken == LONGEST_ANSWER:
            raise Nonsense(f"it says more than {LONGEST_ANSWER} bytes")
        return False

    def _hear(self, payload: bytearray) -> None:
        *lines, self._line = (self._line + payload).split(b"\n")
        for line in lines[: self._count - len(self.outcomes)]:
            if (outcome := _OUTCOMES.get(bytes(line))) is None:
                raise Nonsense("it says something else than what became of a process")
            self.outcomes.append(outcome)
        if len(self._line) > _LONGEST_OUTCOME and len(self.outcomes) < self._count:
            raise Nonsense("it says something else than what became of a process")
