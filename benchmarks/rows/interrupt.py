"""Ctrl-C in a flood: how much of it a slow reader is still shown."""

import time
from dataclasses import dataclass

from benchmarks import frames
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.session import Session, open_session
from benchmarks.targets.base import Target

SPEED = 1_000_000  # bytes a second
_PIECE = 16 * 1024
_INTERRUPT = frames.client_frame(frames.STDIN + frames.CTRL_C)


class _Reader:
    """Takes output no faster than SPEED, as a terminal that draws it. Its socket's buffers are the system's own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._began = time.perf_counter()
        self._taken = 0
        self.shown = 0
        self._end = b""  # what came last, where the tally is looked for

    def read(self) -> None:
        data = self._session.sock.recv(_PIECE)
        if not data:
            raise ConnectionResetError("the flood ended without its tally")
        self._session.buffer += data
        for opcode, payload in frames.take(self._session.buffer):
            if opcode == frames.PING:
                self._session.sock.sendall(frames.client_frame(payload, frames.PONG))
            elif opcode == frames.BINARY and payload[:1] == frames.STDOUT:
                self.shown += len(payload) - 1
                self._end = (self._end + payload[1:])[-100:]
        self._taken += len(data)
        time.sleep(max(0.0, self._began + self._taken / SPEED - time.perf_counter()))

    @property
    def told(self) -> bool:
        """Whether the source has said how much there was; if that isn't what was shown, OSError."""
        text, tally = self._end[:-1], b"in all\n"
        if not self._end.endswith(tally):
            return False
        count = int(text.rpartition(b"\n")[2].split()[0])
        if count + len(frames.tally(count)) != self.shown:
            raise ConnectionError(f"{count} bytes of output were sent, {self.shown} came with their tally")
        return True


@dataclass(frozen=True)
class Interrupt:
    """The source stops at once, so what is shown after it was in a queue: the kernels', and the target's."""

    name: str = "interrupt"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "flood-until-interrupted", 32768)
            with session.sock:
                reader = _Reader(session)
                filled = time.perf_counter() + plan.seconds
                while time.perf_counter() < filled:
                    reader.read()
                before, at = reader.shown, time.perf_counter()
                session.sock.sendall(_INTERRUPT)
                while not reader.told:
                    reader.read()
                took = time.perf_counter() - at
        return {"kib_after": (reader.shown - before) / 1024, "seconds_after": took}
