"""A log that never ends: to a plain request beside `kubectl proxy`, and a line a message."""

from dataclasses import dataclass

from benchmarks import bulk
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.rows.throughput import measured
from benchmarks.session import open_lines, open_log
from benchmarks.targets.base import Target
from benchmarks.targets.ours import is_ours
from benchmarks.usage import Clock

# Bytes of a line, and of the chunks it comes in: a log that is read, one that is just being written, one of long lines.
SHAPES = ((100, 32768), (100, 100), (1000, 32768))


@dataclass(frozen=True)
class LogBody:
    """The apiserver's own path, by plain HTTP, as kubectl reads it."""

    line: int
    chunk: int

    @property
    def name(self) -> str:
        return f"log-{self.line}-{self.chunk}"

    def applies(self, target: Target) -> bool:
        return is_ours(target) or target.name in {"kubectl", "direct"}

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_log(endpoint, f"lines-{self.line}-{self.chunk}")
            with session.sock:
                return measured(bulk.read(session, plan.warm_up, plan.seconds, Clock(endpoint.pid).now))


@dataclass(frozen=True)
class LogLines:
    """`/proxy/logs`, which only we have: WebSocket framing is added to each line."""

    line: int
    chunk: int

    @property
    def name(self) -> str:
        return f"log-lines-{self.line}-{self.chunk}"

    def applies(self, target: Target) -> bool:
        return is_ours(target)

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_lines(endpoint, f"lines-{self.line}-{self.chunk}")
            with session.sock:
                return measured(bulk.read(session, plan.warm_up, plan.seconds, Clock(endpoint.pid).now))
