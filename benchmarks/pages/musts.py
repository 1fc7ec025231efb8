"""What is demanded of the pages, held against the worst that was seen."""

from collections.abc import Iterator
from statistics import median

from benchmarks.cells import BASE
from benchmarks.markdown import number
from benchmarks.medians import Table
from benchmarks.musts import Must

_KIB = 1024


def all_of(table: Table) -> list[Must]:
    return list(_all_of(table))


def _all_of(table: Table) -> Iterator[Must]:
    def at_most(what: str, limit: float, unit: str, seen: list[float]) -> Must:
        return Must(what, limit, at_most=True, unit=unit, rounds=seen, always=True)

    whole = [size / _KIB for size in table.values("wire", BASE, "whole_bytes")]
    interrupted, frames = (table.samples("flood", BASE, name) for name in ("ctrl_c_ms", "frame_ms"))
    yield at_most("all three pages, over the wire", 600, "KiB", whole)
    yield at_most("first paint", 300, "ms", table.samples("paint", BASE, "first_paint_ms"))
    yield at_most("Ctrl-C in a flood, until the page says that it has ended", 500, "ms", interrupted)
    yield at_most("from one frame to the next, in a flood", 100, "ms", frames)


def loss(must: Must) -> str:
    """How far from being met it is."""
    within = f"{sum(each <= must.limit for each in must.rounds)} of {len(must.rounds)} are within that"
    half = f"the median is {number(median(must.rounds))} {must.unit}"
    return f"- {must.what}: {must.figure} at the worst, must be {must.demand}. {within}; {half}."
