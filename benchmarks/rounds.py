"""The run: for each row, round after round, all targets in turn."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import certs, smoke
from benchmarks.process import EndedError
from benchmarks.rows.base import Lay, Measured, Plan, Row
from benchmarks.targets.base import Endpoint, Target, laid
from benchmarks.targets.ours import Ours

# row -> target -> one entry for each round; None where that round went wrong, so that rounds stay side by side.
Rounds = dict[str, dict[str, list[Measured | None]]]


@dataclass
class Results:
    """All that was measured, and all that went wrong."""

    rounds: Rounds = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"rounds": self.rounds, "failures": self.failures}


def _lay(target: Target, made: certs.Certs, folder: Path) -> Lay:
    def lay(*, client_tls: bool = False) -> AbstractContextManager[Endpoint]:
        return laid(target, made, folder, client_tls=client_tls)

    return lay


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _brief(measured: Measured) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in measured.items() if isinstance(value, float))


def run(rows: Sequence[Row], targets: Sequence[Target], plan: Plan) -> Results:
    """Measure. A target that does not pass bytes on truly is left out, and said so."""
    results = Results()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # nginx's workers are nobody; they read nothing here, but pass through.
        folder.chmod(0o755)
        made = certs.make(folder)
        lays = {target.name: _lay(target, made, folder) for target in targets}
        truthful = [target for target in targets if _is_truthful(target, lays[target.name], results)]
        for row in rows:
            _run_row(
                row, [target for target in truthful if row.applies(target) and _shows(target, row)], lays, plan, results
            )
    return results


def _shows(target: Target, row: Row) -> bool:
    """Whether the row has anything to say of it: what is recorded differs from ours in a few only."""
    return not isinstance(target, Ours) or target.shows(row.name)


def _is_truthful(target: Target, lay: Lay, results: Results) -> bool:
    try:
        with lay() as endpoint:
            smoke.check(endpoint)
    except (OSError, EndedError, smoke.WrongError, ValueError) as exc:
        results.failures.append(f"{target.name}: left out: {exc!r}")
        _say(results.failures[-1])
        return False
    return True


def _run_row(row: Row, targets: list[Target], lays: dict[str, Lay], plan: Plan, results: Results) -> None:
    columns = results.rounds.setdefault(row.name, {target.name: [] for target in targets})
    for number in range(plan.rounds):
        # Each round begins with another target, so that none always follows the same one.
        first = number % len(targets) if targets else 0
        for target in targets[first:] + targets[:first]:
            before = time.monotonic()
            try:
                measured: Measured | None = row.measure(lays[target.name], plan)
            except (OSError, EndedError) as exc:
                measured = None
                results.failures.append(f"{row.name}, {target.name}, round {number + 1}: {exc!r}")
                _say(results.failures[-1])
            columns[target.name].append(measured)
            took = time.monotonic() - before
            said = _brief(measured) if measured else "failed"
            _say(f"{row.name} {number + 1}/{plan.rounds} {target.name} ({took:.1f} s): {said}")


def load() -> float:
    """How busy the machine is without us: read before the run."""
    return os.getloadavg()[0]
