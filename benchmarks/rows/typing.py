"""Keystrokes with nothing beside them but idle sessions: what each costs the target."""

from dataclasses import dataclass

from benchmarks import quantiles
from benchmarks.idle import Idle
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.rows.keystroke import echoes
from benchmarks.session import open_session
from benchmarks.targets.base import Target
from benchmarks.usage import Clock


@dataclass(frozen=True)
class Typing:
    """There and back, the next one right after the echo: so nothing else of what a target does has a share in it."""

    name: str = "typing"

    def applies(self, target: Target) -> bool:  # noqa: ARG002 -- to all
        return True

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint, Idle(endpoint) as idle:
            idle.grow(plan.beside)
            session = open_session(endpoint, "echo")
            with session.sock:
                session.keystroke()
                clock = Clock(endpoint.pid)
                begun = clock.now()
                took = echoes(session, plan.keystrokes)
                spent = clock.now() - begun
            idle.answer()
        return {
            "median_ms": quantiles.at(took, 0.5),
            "p99_ms": quantiles.at(took, 0.99),
            **spent.per("cpu_us_per_keystroke", plan.keystrokes),
        }
