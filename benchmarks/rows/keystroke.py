"""A keystroke and its echo, beside idle sessions and one that is flooded."""

import time
from dataclasses import dataclass

from benchmarks import quantiles
from benchmarks.bulk import Flood
from benchmarks.idle import Idle
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.session import Session, open_session
from benchmarks.targets.base import Target

# The typist's rhythm: long enough that each keystroke finds every process wherever the flood has put it.
_GAP_SECONDS = 0.004


def echoes(session: Session, count: int, *, gap: float = 0.0) -> list[float]:
    """From before the write of each to after the read of its whole echo, in ms; ``gap`` seconds between them."""
    took = []
    for _ in range(count):
        if gap:
            time.sleep(gap)
        before = time.perf_counter()
        session.keystroke()
        took.append((time.perf_counter() - before) * 1e3)
    return took


@dataclass(frozen=True)
class Keystroke:
    """From before the write to after the read of the whole echo."""

    name: str = "keystroke"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint, Idle(endpoint) as idle:
            idle.grow(plan.beside)
            session = open_session(endpoint, "echo")
            with session.sock, Flood(endpoint, 32768):
                took = echoes(session, plan.keystrokes, gap=_GAP_SECONDS)
            idle.answer()
        return {
            "median_ms": quantiles.at(took, 0.5),
            "p99_ms": quantiles.at(took, 0.99),
            "quantiles_ms": quantiles.curve(took),
        }
