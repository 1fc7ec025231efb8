"""What each row costs a target: CPU for one of what it does, which a busy neighbour changes less than time."""

from benchmarks.cells import Cells
from benchmarks.markdown import table
from benchmarks.rows import ALL
from benchmarks.targets import ALL as TARGETS

# Every row has one of these, apart from those where the cost of what is looked at can't be told from that of a flood.
UNITS = {
    "cpu_seconds_per_gb": "s per GB",
    "cpu_ms_per_session": "ms per session",
    "cpu_ms_per_opening": "ms per opening",
    "cpu_us_per_keystroke": "us per keystroke",
}


def page(cells: Cells) -> str:
    """A line for each row that has a cost, a column for each target that has one."""
    found = [
        (row, unit)
        for row in ALL
        for unit in UNITS
        if any(cells.table.median(row, target, unit) is not None for target in TARGETS)
    ]
    shown = [
        target for target in TARGETS if any(cells.table.median(row, target, unit) is not None for row, unit in found)
    ]
    lines = [[f"{row}, {UNITS[unit]}", *(cells.cost(row, target, unit) for target in shown)] for row, unit in found]
    return table(["", *(TARGETS[target].label for target in shown)], lines)
