"""Opening sessions one after another: from connect to the 101, and what each costs the target."""

import time
from dataclasses import dataclass

from benchmarks import quantiles
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.rows.throughput import cpu_clock
from benchmarks.session import open_session
from benchmarks.targets.base import Target

# The first ones import, fill caches and have no TLS session to resume.
_FIRST = 20


@dataclass(frozen=True)
class Opening:
    """Without a proxy this is a whole TLS handshake at the client: what kubectl pays for each exec."""

    name: str = "opening"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        took, held = [], []
        with lay() as endpoint:
            held += [open_session(endpoint, "idle") for _ in range(_FIRST)]
            cpu = cpu_clock(endpoint)
            cpu_before = cpu()
            for _ in range(plan.opened):
                before = time.perf_counter()
                session = open_session(endpoint, "idle")
                took.append((time.perf_counter() - before) * 1e3)
                held.append(session)
            spent = cpu() - cpu_before
            for session in held:
                session.close()
        measured: Measured = {
            "median_ms": quantiles.at(took, 0.5),
            "p99_ms": quantiles.at(took, 0.99),
            "quantiles_ms": quantiles.curve(took),
        }
        if spent:
            measured["per_core_second"] = plan.opened / spent
        return measured
