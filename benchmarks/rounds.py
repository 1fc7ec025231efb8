"""The run: round after round, each row on all targets in turn."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import certs, smoke
from benchmarks.rows.base import Lay, Measured, Plan, Rounds, Row
from benchmarks.targets.base import Endpoint, Target, laid
from benchmarks.targets.ours import Ours

# Seconds in which a single measurement is over, the longest on a busy machine included: past it something hangs.
_HANGS = 300.0


@dataclass
class Results:
    """All that was measured, and all that went wrong."""

    rounds: Rounds = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # target -> why
    skipped: int = 0  # measurements for which there was no time

    def as_json(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "failures": self.failures,
            "left_out": self.left_out,
            "skipped": self.skipped,
        }


class Run:
    """Measures; whatever one measurement ends with, the next one is begun. `keep` is called after each round."""

    def __init__(self, plan: Plan, keep: Callable[[Results], None]) -> None:
        self._plan = plan
        self._keep = keep
        self._until: float | None = None
        self.results = Results()

    def measure(self, rows: Sequence[Row], targets: Sequence[Target]) -> Results:
        """A target that does not pass bytes on truly is left out, and said so."""
        if self._plan.at_most:
            self._until = time.monotonic() + self._plan.at_most
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            folder = Path(name)
            # nginx's workers are nobody; they read nothing here, but pass through.
            folder.chmod(0o755)
            made = certs.make(folder)
            lays = {target.name: _lay(target, made, folder) for target in targets}
            truthful = [target for target in targets if self._is_truthful(target, lays[target.name])]
            columns = [(row, [target for target in truthful if _measures(row, target)]) for row in rows]
            for row, measured in columns:
                self.results.rounds[row.name] = {target.name: [] for target in measured}
            for number in range(self._plan.rounds):
                for row, measured in columns:
                    # Each round begins with another target, so that none always follows the same one.
                    first = number % len(measured) if measured else 0
                    for target in measured[first:] + measured[:first]:
                        self._measure_one(row, target, lays[target.name], number + 1)
                self._keep(self.results)
        return self.results

    def _is_truthful(self, target: Target, lay: Lay) -> bool:
        try:
            with _time_limit(_HANGS), lay() as endpoint:
                smoke.check(endpoint)
        except Exception as exc:  # noqa: BLE001 -- the others are measured whatever it is
            self.results.left_out[target.name] = repr(exc)
            say(f"{target.name}: left out: {exc!r}")
            return False
        return True

    def _measure_one(self, row: Row, target: Target, lay: Lay, number: int) -> None:
        column = self.results.rounds[row.name][target.name]
        before = time.monotonic()
        if self._until is not None and before > self._until:
            self.results.skipped += 1
            column.append(None)
            return
        try:
            with _time_limit(_HANGS):
                measured: Measured | None = row.measure(lay, self._plan)
        except Exception as exc:  # noqa: BLE001 -- see above
            measured = None
            self.results.failures.append(f"{row.name}, {target.name}, round {number}: {exc!r}")
            say(self.results.failures[-1])
        column.append(measured)
        took = time.monotonic() - before
        said = brief(measured) if measured else "failed"
        say(f"{row.name} {number}/{self._plan.rounds} {target.name} ({took:.1f} s): {said}")


def load() -> float:
    """How busy the machine is without us: read before the run."""
    return os.getloadavg()[0]


def _measures(row: Row, target: Target) -> bool:
    """Whether the row has anything to say of it: what is recorded differs from ours in a few only."""
    return row.applies(target) and (not isinstance(target, Ours) or target.shows(row.name))


def _lay(target: Target, made: certs.Certs, folder: Path) -> Lay:
    def lay(*, client_tls: bool = False) -> AbstractContextManager[Endpoint]:
        return laid(target, made, folder, client_tls=client_tls)

    return lay


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError in the block once so long is over."""

    def over(*_: object) -> None:
        raise TimeoutError(f"not over in {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def brief(measured: Measured) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in measured.items() if isinstance(value, float))
