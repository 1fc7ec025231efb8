"""Fifty sessions at once, bulk, after one alone on the same bed."""

from dataclasses import dataclass

from benchmarks import bulk
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.session import open_session
from benchmarks.targets.base import Target
from benchmarks.usage import Clock

SESSIONS = 50


@dataclass(frozen=True)
class Fifty:
    """Whether the sum holds up, and whether all get their share of it."""

    name: str = "fifty"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "flood", 32768, 0)
            with session.sock:
                one = bulk.read(session, plan.warm_up, plan.seconds, Clock(None).now).mb_per_second
            each, spent = bulk.read_many(endpoint, SESSIONS, plan.warm_up, plan.seconds)
        return {
            "one_mb_per_second": one,
            "sum_mb_per_second": sum(each),
            "sum_over_one": sum(each) / one,
            "least_over_mean": min(each) / (sum(each) / SESSIONS),
            **spent.per("cpu_seconds_per_gb", sum(each) * plan.seconds / 1e3),
        }
