"""A figure of a target as the page shows it: with a mark where nothing can be told by it, or why there is none."""

from typing import Any

from benchmarks import noise
from benchmarks.markdown import number
from benchmarks.medians import Table

# What the others are held against.
BASE = "ours"
_SHARE = "cpu_system_share"


class Cells:
    """The cells of all tables."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.table = Table(results["rounds"])
        self._left_out = results.get("left_out", {})
        self._failures = results["failures"]

    def figure(self, row: str, target: str, name: str) -> str:
        """A median, marked where it can't be told from ours."""
        value = self.table.median(row, target, name)
        if value is None:
            return self._why_none(row, target)
        marked = target != BASE and self.table.is_noise(row, target, BASE, name)
        return f"{number(value)} {noise.MARK}" if marked else number(value)

    def cost(self, row: str, target: str, name: str) -> str:
        """The same of a cost, and the kernel's share of it."""
        text = self.figure(row, target, name)
        share = self.table.median(row, target, _SHARE)
        if share is None or self.table.median(row, target, name) is None:
            return text
        return f"{text} ({share:.0%})"

    def is_there(self, target: str) -> bool:
        """Whether the target was in this run, or should have been."""
        return target in self._left_out or any(target in columns for columns in self.table.rounds.values())

    def _why_none(self, row: str, target: str) -> str:
        if target in self._left_out:
            return "left out"
        failed = any(failure.startswith(f"{row}, {target}, ") for failure in self._failures)
        return "failed" if failed else "-"
