"""Idle sessions: what each holds, how that grows with their number, and how long opening them takes."""

import time
from dataclasses import dataclass

from benchmarks import usage
from benchmarks.idle import Idle
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.targets.base import Endpoint, Target
from benchmarks.usage import Clock


def _tree(endpoint: Endpoint) -> list[int]:
    assert endpoint.pid is not None, "no proxy has no memory"
    return usage.tree(endpoint.pid)


@dataclass(frozen=True)
class Growth:
    """Sessions that have echoed one keystroke, to thousands on one bed; the first figure is at rest."""

    name: str = "growth"

    def applies(self, target: Target) -> bool:
        return target.name != "direct"

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        seconds: list[float] = []
        kib: list[float] = []
        with lay() as endpoint, Idle(endpoint) as idle:
            pids = _tree(endpoint)
            rest = usage.memory(pids)
            spent = 0.0
            clock = Clock(endpoint.pid)
            begun = clock.now()
            for sessions in plan.growth:
                before = time.perf_counter()
                idle.grow(sessions)
                spent += time.perf_counter() - before
                seconds.append(spent)
                kib.append(float(usage.memory(pids).pss - rest.pss))
                idle.answer()
            cpu = clock.now() - begun
        at = plan.growth.index(plan.idle)
        measured: Measured = {
            "rest_rss_mib": rest.rss / 1024,
            "rest_pss_mib": rest.pss / 1024,
            "sessions": [float(sessions) for sessions in plan.growth],
            "seconds": seconds,
            "kib": kib,
            "kib_per_session": kib[at] / plan.idle,
            **cpu.per("cpu_ms_per_opening", plan.growth[-1]),
        }
        for name, total in (("kib", kib), ("seconds", seconds)):
            if total[-2] > total[-3]:
                measured[f"{name}_last_over_before"] = _slope(plan.growth, total)
        return measured


def _slope(sessions: tuple[int, ...], total: list[float]) -> float:
    """What a session of the last step added, over what one of the step before did; 1 on a straight line."""
    last = (total[-1] - total[-2]) / (sessions[-1] - sessions[-2])
    before = (total[-2] - total[-3]) / (sessions[-2] - sessions[-3])
    return last / before


@dataclass(frozen=True)
class Held:
    """Idle sessions of another kind: untouched since their 101, or come by TLS."""

    name: str
    touched: bool
    client_tls: bool

    def applies(self, target: Target) -> bool:
        return target.takes_tls if self.client_tls else target.name != "direct"

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay(client_tls=self.client_tls) as endpoint, Idle(endpoint, touched=self.touched) as idle:
            pids = _tree(endpoint)
            rest = usage.memory(pids)
            clock = Clock(endpoint.pid)
            begun = clock.now()
            idle.grow(plan.idle)
            spent = clock.now() - begun
            held = usage.memory(pids)
            idle.answer()
        return {
            "kib_per_session": (held.pss - rest.pss) / plan.idle,
            **spent.per("cpu_ms_per_opening", plan.idle),
        }
