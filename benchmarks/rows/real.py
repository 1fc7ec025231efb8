"""Bulk as a real apiserver has it: messages of 8 to 32 KiB, each flushed alone, at a steady 150 MB/s.

A flood as fast as it can is read in whole blocks, which is when a relay costs least.
"""

from dataclasses import dataclass

from benchmarks import bulk, frames
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.rows.throughput import REPORT_BYTES, measured
from benchmarks.session import open_session
from benchmarks.targets.base import Target
from benchmarks.usage import Clock

MB_PER_SECOND = 150


@dataclass(frozen=True)
class RealOut:
    """From the source to the client."""

    name: str = "real-out"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "paced", MB_PER_SECOND)
            with session.sock:
                return measured(bulk.read(session, plan.warm_up, plan.seconds, Clock(endpoint.pid).now))


@dataclass(frozen=True)
class RealIn:
    """From the client to the source, masked."""

    name: str = "real-in"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "sink", REPORT_BYTES)
            block = b"".join(frames.burst(frames.stdin_frame))
            clock = Clock(endpoint.pid)
            with session.sock:
                return measured(
                    bulk.write(session, block, plan.warm_up, plan.seconds, clock.now, mb_per_second=MB_PER_SECOND)
                )
