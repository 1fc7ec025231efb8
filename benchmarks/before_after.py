"""This state beside the one before, of one run on one machine: every figure that both have."""

from statistics import median

from benchmarks import noise
from benchmarks.cells import BASE
from benchmarks.markdown import number, table
from benchmarks.medians import Table
from benchmarks.rows.base import Measured

BEFORE = "before"
# Not good or bad in itself.
_NO_FIGURES = {"cpu_system_share"}


def page(measured: Table) -> str:
    """A line for each figure; the ratio is the median of those of each round. Nothing where there was no before."""
    lines = []
    for row, columns in measured.rounds.items():
        for name in _names(columns.get(BASE, [])):
            ratios = measured.ratios(row, BASE, BEFORE, name)
            if not ratios:
                continue
            before, after = (number(measured.median(row, target, name)) for target in (BEFORE, BASE))
            mark = noise.MARK if noise.is_noise(ratios, 1.0) else ""
            lines.append([row, name.replace("_", " "), before, after, number(median(ratios)), mark])
    return table(["", "", "before", "after", "after ÷ before", ""], lines) if lines else ""


def _names(column: list[Measured | None]) -> list[str]:
    """The scalar figures of a row, in the order in which they are measured."""
    names: dict[str, None] = {}
    for measured in column:
        names |= {name: None for name, value in (measured or {}).items() if not isinstance(value, list)}
    return [name for name in names if name not in _NO_FIGURES]
