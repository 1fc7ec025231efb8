"""Opening sessions one after another: from connect to the 101, and what each costs the target."""

import time
from dataclasses import dataclass

from benchmarks import quantiles
from benchmarks.rows.base import FIRST, Lay, Measured, Plan
from benchmarks.session import open_session
from benchmarks.targets.base import Target
from benchmarks.usage import Clock


@dataclass(frozen=True)
class Opening:
    """Without a proxy this is a whole TLS handshake at the client: what kubectl pays for each exec."""

    name: str = "opening"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        took, held = [], []
        with lay() as endpoint:
            held += [open_session(endpoint, "idle") for _ in range(FIRST)]
            clock = Clock(endpoint.pid)
            begun = clock.now()
            for _ in range(plan.opened):
                before = time.perf_counter()
                session = open_session(endpoint, "idle")
                took.append((time.perf_counter() - before) * 1e3)
                held.append(session)
            spent = clock.now() - begun
            for session in held:
                session.close()
        measured: Measured = {
            "median_ms": quantiles.at(took, 0.5),
            "p99_ms": quantiles.at(took, 0.99),
            "quantiles_ms": quantiles.curve(took),
            **spent.per("cpu_ms_per_opening", plan.opened),
        }
        if spent.seconds:
            measured["per_core_second"] = plan.opened / spent.seconds
        return measured
