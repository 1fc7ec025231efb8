"""Three pictures: throughput by frame size, memory by sessions, latency as a distribution."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import quantiles
from benchmarks.medians import Table
from benchmarks.rows.throughput import SIZES
from benchmarks.targets import ALL

mpl.use("Agg")

_COLOURS = dict(zip(ALL, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
_STYLES = {"ours": "-", "direct": ":"}


def _line(axes: Axes, target: str, xs: list[float], ys: list[float], marker: str = "") -> None:
    style = _STYLES.get(target, "--")
    width = 2.4 if target == "ours" else 1.4
    axes.plot(xs, ys, style, marker=marker, color=_COLOURS[target], label=ALL[target].label, linewidth=width)


def _save(axes: Axes, title: str, x: str, y: str, file: Path) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, which="major", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    plt.savefig(file, dpi=120, metadata={"Software": None})
    plt.close("all")


def _axes() -> Axes:
    _, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    return axes


def throughput(table: Table, file: Path) -> None:
    axes = _axes()
    for target in ALL:
        found = [(size, table.median(f"stdout-{size}", target, "mb_per_second")) for size in SIZES]
        known = [(float(size), speed) for size, speed in found if speed is not None]
        if known:
            xs, ys = map(list, zip(*known, strict=True))
            _line(axes, target, xs, ys, "o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.set_ylim(bottom=0)
    _save(axes, "One session, stdout", "bytes in a frame", "MB/s", file)


def memory(table: Table, file: Path) -> None:
    axes = _axes()
    for target in ALL:
        sessions = table.curve("growth", target, "sessions")
        held = [kib / 1024 for kib in table.curve("growth", target, "kib")]
        if held:
            _line(axes, target, sessions, held, "o")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _save(axes, "Idle sessions", "sessions open", "MiB of PSS over none open", file)


def latency(table: Table, row: str, title: str, file: Path) -> None:
    """The share that took at least so long: tails are what one looks for."""
    axes = _axes()
    shares = [1 - share for share in quantiles.CURVE]
    for target in ALL:
        curve = table.curve(row, target, "quantiles_ms")
        if curve:
            _line(axes, target, curve, shares)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([1, 0.5, 0.1, 0.01, 0.001], ["all", "half", "1 in 10", "1 in 100", "1 in 1,000"])
    _save(axes, title, "ms", "took at least that long", file)


def draw(table: Table, folder: Path) -> None:
    throughput(table, folder / "throughput.png")
    memory(table, folder / "memory.png")
    latency(table, "keystroke", "A keystroke's echo, beside a flood", folder / "keystroke.png")
    latency(table, "opening", "Opening a session", folder / "opening.png")
