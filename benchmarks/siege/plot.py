"""One picture: by attack, the longest wait of a probe, and memory at the worst."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.siege.bed import LIMIT_MIB
from benchmarks.siege.report import Siege, Table

mpl.use("Agg")

_THICK = 0.27


def _bars(axes: Axes, table: Table, at: int, label: str, colour: str, of: Callable[[Siege], float | None]) -> None:
    found = [(place + (at - 1) * _THICK, of(siege)) for place, siege in enumerate(table.sieges)]
    known = [(place, figure) for place, figure in found if figure is not None]
    if known:
        places, figures = zip(*known, strict=True)
        axes.barh(places, figures, _THICK, label=label, color=colour)


def draw(table: Table, file: Path) -> None:
    def before(siege: Siege, figure: Callable[[Siege], float]) -> float | None:
        earlier = table.earlier(siege.attack)
        return figure(earlier) if earlier else None

    def under(siege: Siege) -> float:
        return siege.figure("under", "probe_ms")

    height = 1.5 + 0.34 * len(table.sieges)
    _, (waits, memory) = plt.subplots(1, 2, sharey=True, figsize=(11, height), layout="constrained")
    _bars(waits, table, 0, "without an attack", "0.7", lambda siege: siege.figure("without", "probe_ms"))
    _bars(waits, table, 1, "under attack", "tab:blue", under)
    _bars(waits, table, 2, "under attack, before", "tab:red", lambda siege: before(siege, under))
    waits.set(xscale="log", xlabel="ms", title="longest wait of /healthz")
    waits.set_yticks(range(len(table.sieges)), [siege.attack.name for siege in table.sieges])
    waits.invert_yaxis()
    _bars(memory, table, 0, "without an attack", "0.7", lambda siege: siege.figure("without", "peak_mib"))
    _bars(memory, table, 1, "under attack", "tab:blue", lambda siege: siege.peak)
    _bars(memory, table, 2, "under attack, before", "tab:red", lambda siege: before(siege, lambda of: of.peak))
    memory.axvline(LIMIT_MIB, color="black", linestyle=":", label="the chart's limit")
    memory.set(xscale="log", xlabel="MiB", title="memory at the worst")
    for axes in (waits, memory):
        axes.grid(visible=True, axis="x", alpha=0.3)
    memory.legend(loc="lower right")
    plt.savefig(file, dpi=110, metadata={"Software": None})
    plt.close("all")
