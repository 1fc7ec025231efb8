"""results.json, and the page that is read."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks import musts
from benchmarks.medians import Table
from benchmarks.rows.logs import SHAPES
from benchmarks.rows.throughput import SIZES
from benchmarks.rows.watched import WATCHERS
from benchmarks.targets import ALL

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE / "page.md"
# What a figure alone can't say: profiles, reasons. Written by hand, carried into the page whole.
_NOTES = _HERE / "notes.md"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines)


class _Page:
    """The page's tables, one method each."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results
        self._plan = results["plan"]
        self._table = Table(results["rounds"])

    def _by_target(self, *columns: tuple[str, str, str]) -> str:
        """A line for each target; a column is its title, a row of measurements and a figure of that."""
        lines = []
        for name, target in ALL.items():
            figures = [self._table.median(row, name, figure) for _, row, figure in columns]
            if any(figure is not None for figure in figures):
                lines.append([target.label, *map(_number, figures)])
        return _markdown(["", *(title for title, _, _ in columns)], lines)

    def warning(self) -> str:
        said = []
        if self._results["quick"]:
            said.append("**A quick run, for development: not for comparison.**")
        if self._results["load_before"] > 0.5:
            load = self._results["load_before"]
            said.append(f"**The machine was busy before the run began (load {load:.1f}): read the ratios only.**")
        said += [f"- Went wrong: {failure}" for failure in self._results["failures"]]
        return "\n".join(said)

    def musts(self) -> str:
        lines = [[m.what, m.demand, m.figure, m.verdict] for m in musts.all_of(self._table)]
        return _markdown(["what", "must", "measured", "met"], lines)

    def losses(self) -> str:
        demanded = musts.all_of(self._table)
        lines = [f"- {m.what}: {m.figure}, must be {m.demand}." for m in demanded if m.met is False]
        if unknown := sum(must.met is None for must in demanded):
            lines.append(f"- {unknown} of {len(demanded)} figures were not measured in this run.")
        return "\n".join(lines) or "In none of the rows above."

    def notes(self) -> str:
        return _NOTES.read_text().strip() if _NOTES.exists() else ""

    def throughput(self) -> str:
        return self._bulk("mb_per_second")

    def cost(self) -> str:
        return self._bulk("cpu_seconds_per_gb")

    def _bulk(self, figure: str) -> str:
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
        return _markdown(["", *(f"{count:,}" for count in sessions)], lines)

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
        return self._by_target(("median, ms", "keystroke", "median_ms"), ("p99, ms", "keystroke", "p99_ms"))

    def interrupt(self) -> str:
        return self._by_target(("KiB", "interrupt", "kib_after"), ("seconds", "interrupt", "seconds_after"))

    def versions(self) -> str:
        return _markdown(["", ""], [[name, text] for name, text in self._results["versions"].items()])

    def text(self) -> str:
        plain = {name: f"{value:,}" for name, value in self._plan.items() if isinstance(value, int | float)}
        tables = ("musts", "losses", "notes", "throughput", "cost", "logs", "fifty", "memory", "growth", "watched")
        drawn = {
            name: getattr(self, name)()
            for name in ("warning", *tables, "opening", "keystroke", "interrupt", "versions")
        }
        text = Template(_PAGE.read_text()).substitute(plain | drawn)
        while "\n\n\n" in text:
            text = text.replace("\n\n\n", "\n\n")
        return text


def write(results: dict[str, Any], folder: Path) -> None:
    """The figures and the page. Lists stand on one line each, so that a change of the file can be read."""
    (folder / "README.md").write_text(_Page(results).text())
    (folder / "results.json").write_text(_lines(results) + "\n")


def read(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
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
