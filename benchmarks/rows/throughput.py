"""One session, bulk, and what a gigabyte of it costs the target."""

from dataclasses import dataclass

from benchmarks import bulk, frames
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.session import open_session
from benchmarks.targets.base import Target
from benchmarks.usage import Clock

SIZES = (64, 256, 1024, 4096, 32768)
REPORT_BYTES = 1024 * 1024


def measured(window: bulk.Window) -> Measured:
    return {"mb_per_second": window.mb_per_second, **window.cpu.per("cpu_seconds_per_gb", window.count / 1e9)}


@dataclass(frozen=True)
class Stdout:
    """From the source to the client, in frames of one size."""

    size: int

    @property
    def name(self) -> str:
        return f"stdout-{self.size}"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "flood", self.size, 0)
            with session.sock:
                return measured(bulk.read(session, plan.warm_up, plan.seconds, Clock(endpoint.pid).now))


@dataclass(frozen=True)
class Stdin:
    """From the client to the source, masked, in frames of 32 KiB."""

    name: str = "stdin-32768"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "sink", REPORT_BYTES)
            block = frames.repeated(frames.stdin_frame(32768))
            with session.sock:
                return measured(bulk.write(session, block, plan.warm_up, plan.seconds, Clock(endpoint.pid).now))
