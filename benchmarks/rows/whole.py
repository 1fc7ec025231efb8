"""Whole sessions, one after another: what an `echo hi` costs, from the connect to the closes of both sides."""

import time
from dataclasses import dataclass

from benchmarks import quantiles
from benchmarks.rows.base import FIRST, Lay, Measured, Plan
from benchmarks.session import run_echo_hi
from benchmarks.targets.base import Target
from benchmarks.usage import Clock


@dataclass(frozen=True)
class Whole:
    """Opened, its 101, output, status, closed on both sides; nobody types, as with `kubectl exec POD -- echo hi`."""

    name: str = "echo-hi"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        took = []
        with lay() as endpoint:
            for _ in range(FIRST):
                run_echo_hi(endpoint)
            clock = Clock(endpoint.pid)
            begun = clock.now()
            for _ in range(plan.opened):
                before = time.perf_counter()
                run_echo_hi(endpoint)
                took.append((time.perf_counter() - before) * 1e3)
            spent = clock.now() - begun
        return {
            "median_ms": quantiles.at(took, 0.5),
            "p99_ms": quantiles.at(took, 0.99),
            **spent.per("cpu_ms_per_session", plan.opened),
        }
