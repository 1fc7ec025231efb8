"""results.json, and the page that is read."""

import json
from pathlib import Path
from string import Template
from typing import Any

from benchmarks import before_after, costs, markdown, musts, noise
from benchmarks.cells import Cells
from benchmarks.rows.base import FIRST
from benchmarks.rows.logs import SHAPES
from benchmarks.rows.real import MB_PER_SECOND
from benchmarks.rows.throughput import SIZES
from benchmarks.rows.watched import WATCHERS
from benchmarks.targets import ALL

FIGURES = "results.json"
_HERE = Path(__file__).resolve().parent
_PAGE = _HERE / "page.md"
# What a figure alone can't say: profiles, reasons. Written by hand, carried into the page whole.
_NOTES = _HERE / "notes.md"
_BEFORE_AFTER = """\
Both in this run, round by round side by side; the versions are at the end of the page. The ratio is the median of
those of each round."""


class _Page:
    """The page's tables, one method each."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results
        self._plan = results["plan"]
        self._cells = Cells(results)
        self._table = self._cells.table

    def _by_target(self, *columns: tuple[str, str, str]) -> str:
        """A line for each target; a column is its title, a row of measurements and a figure of that."""
        lines = []
        for name, target in ALL.items():
            figures = [self._cells.figure(row, name, figure) for _, row, figure in columns]
            if self._cells.is_there(name) and set(figures) != {"-"}:
                lines.append([target.label, *figures])
        return markdown.table(["", *(title for title, _, _ in columns)], lines)

    def warning(self) -> str:
        said = []
        if self._results["quick"]:
            said.append("**A quick run, for the working day: less of everything, and not for comparison with others.**")
        if self._results["load_before"] > 0.5:
            load = self._results["load_before"]
            said.append(f"**The machine was busy before the run began (load {load:.1f}): read the ratios only.**")
        if skipped := self._results.get("skipped", 0):
            said.append(f"- There was no time for {skipped} measurements.")
        for name, why in self._results.get("left_out", {}).items():
            said.append(f"- {ALL[name].label} was left out: {why}")
        said += [f"- Went wrong: {failure}" for failure in self._results["failures"]]
        return "\n".join(said)

    def musts(self) -> str:
        lines = [[m.what, m.demand, m.figure, m.verdict] for m in musts.all_of(self._table)]
        return markdown.table(["what", "must", "measured", "met"], lines)

    def losses(self) -> str:
        demanded = musts.all_of(self._table)
        lines = [f"- {m.what}: {m.figure}, must be {m.demand}{_doubt(m)}." for m in demanded if m.met is False]
        if unknown := sum(must.met is None for must in demanded):
            lines.append(f"- {unknown} of {len(demanded)} figures were not measured in this run.")
        return "\n".join(lines) or "In none of the rows above."

    def notes(self) -> str:
        return _NOTES.read_text().strip() if _NOTES.exists() else ""

    def before_after(self) -> str:
        figures = before_after.page(self._table)
        return f"## Before and after\n\n{_BEFORE_AFTER}\n\n{figures}" if figures else ""

    def real(self) -> str:
        return self._by_target(
            ("out, MB/s", "real-out", "mb_per_second"),
            ("out, CPU s per GB", "real-out", "cpu_seconds_per_gb"),
            ("in, MB/s", "real-in", "mb_per_second"),
            ("in, CPU s per GB", "real-in", "cpu_seconds_per_gb"),
        )

    def whole(self) -> str:
        columns = [("median, ms", "echo-hi", "median_ms"), ("p99, ms", "echo-hi", "p99_ms")]
        return self._by_target(*columns, ("CPU ms per session", "echo-hi", "cpu_ms_per_session"))

    def cost(self) -> str:
        return costs.page(self._cells)

    def throughput(self) -> str:
        figure = "mb_per_second"
        outward = [(f"{size:,} B", f"stdout-{size}", figure) for size in SIZES]
        return self._by_target(*outward, ("stdin, 32,768 B", "stdin-32768", figure))

    def logs(self) -> str:
        columns = []
        for line, chunk in SHAPES:
            for name, word in (("log", "body"), ("log-lines", "WebSocket")):
                columns.append((f"{line} B in {chunk:,} B, {word}", f"{name}-{line}-{chunk}", "mb_per_second"))
        return self._by_target(*columns)

    def fifty(self) -> str:
        return self._by_target(
            ("one alone, MB/s", "fifty", "one_mb_per_second"),
            ("sum of fifty, MB/s", "fifty", "sum_mb_per_second"),
            ("sum ÷ one", "fifty", "sum_over_one"),
            ("least ÷ mean", "fifty", "least_over_mean"),
        )

    def memory(self) -> str:
        return self._by_target(
            ("at rest, RSS, MiB", "growth", "rest_rss_mib"),
            ("at rest, PSS, MiB", "growth", "rest_pss_mib"),
            ("session, touched, KiB", "growth", "kib_per_session"),
            ("untouched, KiB", "held-untouched", "kib_per_session"),
            ("TLS from the client, touched, KiB", "held-tls", "kib_per_session"),
        )

    def growth(self) -> str:
        sessions = self._plan["growth"]
        lines = []
        for name, target in ALL.items():
            seconds = self._table.curve("growth", name, "seconds")
            held = self._table.curve("growth", name, "kib")
            cells = [f"{s:.2f} s, {k / 1024:.1f} MiB" for s, k in zip(seconds, held, strict=True)]
            if cells:
                lines.append([target.label, *cells])
        return markdown.table(["", *(f"{count:,}" for count in sessions)], lines)

    def watched(self) -> str:
        columns = []
        for number in WATCHERS:
            columns.append((f"{number} watching, MB/s", f"watched-{number}", "mb_per_second"))
            columns.append((f"{number}, CPU s per GB", f"watched-{number}", "cpu_seconds_per_gb"))
        return self._by_target(*columns, ("KiB for each", "held-watchers", "kib_per_watcher"))

    def opening(self) -> str:
        columns = [("median, ms", "opening", "median_ms"), ("p99, ms", "opening", "p99_ms")]
        return self._by_target(*columns, ("per second per core", "opening", "per_core_second"))

    def keystroke(self) -> str:
        columns = []
        for row, word in (("keystroke", "beside a flood"), ("typing", "without")):
            columns += [(f"{word}: median, ms", row, "median_ms"), (f"{word}: p99, ms", row, "p99_ms")]
        return self._by_target(*columns, ("CPU us", "typing", "cpu_us_per_keystroke"))

    def interrupt(self) -> str:
        return self._by_target(("KiB", "interrupt", "kib_after"), ("seconds", "interrupt", "seconds_after"))

    def versions(self) -> str:
        return markdown.table(["", ""], [[name, text] for name, text in self._results["versions"].items()])

    def text(self) -> str:
        plain = {name: f"{value:,}" for name, value in self._plan.items() if isinstance(value, int | float)}
        plain |= {"minutes": _minutes(self._results.get("minutes")), "mark": noise.MARK}
        plain |= {"first": str(FIRST), "pace": str(MB_PER_SECOND)}
        tables = (
            "musts",
            "losses",
            "notes",
            "before_after",
            "real",
            "whole",
            "throughput",
            "cost",
            "logs",
            "fifty",
            "memory",
            "growth",
            "watched",
        )
        drawn = {
            name: getattr(self, name)()
            for name in ("warning", *tables, "opening", "keystroke", "interrupt", "versions")
        }
        text = Template(_PAGE.read_text()).substitute(plain | drawn)
        while "\n\n\n" in text:
            text = text.replace("\n\n\n", "\n\n")
        return text


def _doubt(must: musts.Must) -> str:
    return f" ({noise.MARK}: the rounds don't agree)" if must.is_noise else ""


def _minutes(minutes: float | None) -> str:
    return "?" if minutes is None else f"{minutes:.0f}"


def write_figures(results: dict[str, Any], folder: Path, name: str = FIGURES) -> None:
    """Lists stand on one line each, so that a change of the file can be read."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.new"
    unfinished.write_text(_lines(results) + "\n")
    unfinished.replace(folder / name)


def write_page(results: dict[str, Any], folder: Path) -> None:
    (folder / "README.md").write_text(_Page(results).text())


def read(folder: Path, name: str = FIGURES) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / name).read_text())
    return results


def _lines(value: Any, depth: int = 0) -> str:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return _items(value, depth)
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    inner = " " * (depth + 1)
    body = ",\n".join(f"{inner}{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items())
    return "{\n" + body + "\n" + " " * depth + "}"


def _items(values: list[Any], depth: int) -> str:
    inner = " " * (depth + 1)
    return "[\n" + ",\n".join(inner + json.dumps(value) for value in values) + "\n" + " " * depth + "]"
