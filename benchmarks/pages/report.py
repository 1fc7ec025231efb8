"""The page that is read, and its figures beside it."""

from pathlib import Path
from string import Template
from typing import Any

from benchmarks import markdown, quantiles
from benchmarks.cells import BASE
from benchmarks.markdown import number
from benchmarks.medians import Table
from benchmarks.pages import musts
from benchmarks.pages.rows import BARE

FIGURES = "pages.json"
PAGE = "pages.md"
_TEMPLATE = Path(__file__).with_name("page.md")
_BUSY = 0.5  # load


class _Page:
    """Its tables, one method each."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results
        self._table = Table(results["rounds"])

    def warning(self) -> str:
        said = []
        if self._results["quick"]:
            said.append("**A quick run: one round, and less of everything.**")
        if (load := self._results["load_before"]) > _BUSY:
            said.append(f"**The machine was busy before the run began (load {load:.1f}): these are upper bounds.**")
        said += [f"- Went wrong: {failure}" for failure in self._results["failures"]]
        return "\n".join(said)

    def musts(self) -> str:
        lines = [[m.what, m.demand, m.figure, m.verdict] for m in musts.all_of(self._table)]
        return markdown.table(["what", "must", "measured, at the worst", "met"], lines)

    def losses(self) -> str:
        lost = [musts.loss(must) for must in musts.all_of(self._table) if must.met is False]
        return "\n".join(["Not met:", "", *lost]) if lost else ""

    def wire(self) -> str:
        rows = {"a first terminal": "first", "the same, opened again": "again", "all three pages": "whole"}
        lines = [
            [what, *(self._kb(f"{name}{kind}") for kind in ("_bytes", "_plain_bytes"))] for what, name in rows.items()
        ]
        return markdown.table(["", "kB", "kB unpacked"], lines)

    def _kb(self, name: str) -> str:
        size = self._table.median("wire", BASE, name)
        return number(None if size is None else size / 1000)

    def paint(self) -> str:
        rows = {
            "first paint": "first_paint_ms",
            "the session is open": "open_ms",
        }
        lines = [[what, *self._spread("paint", BASE, name, 0.5, 0.9)] for what, name in rows.items()]
        return markdown.table(["", "median, ms", "p90, ms", "longest, ms"], lines)

    def keystroke(self) -> str:
        rows = {"keystroke to glyph": BASE, "a byte there and back by a bare WebSocket": BARE}
        lines = [[what, *self._spread("keystroke", name, "took_ms", 0.5, 0.9, 0.99)] for what, name in rows.items()]
        return markdown.table(["", "median, ms", "p90, ms", "p99, ms", "longest, ms"], lines)

    def ratio(self) -> str:
        ratios = sorted(self._table.ratios("keystroke", BASE, BARE, "median_ms"))
        if not ratios:
            return "-"
        return f"{number(quantiles.at(ratios, 0.5))} ({number(ratios[0])} to {number(ratios[-1])})"

    def heap(self) -> str:
        rows = {
            "JavaScript's heap": "dirty",
            "what is left of it after a collection": "heap",
            "array buffers beside it": "buffers",
        }
        lines = [
            [what, *(self._median("heap", f"{name}_{when}_mb") for when in ("before", "after"))]
            for what, name in rows.items()
        ]
        return markdown.table(["", "before, MB", "after, MB"], lines)

    def speed(self) -> str:
        return self._median("heap", "mb_per_second")

    def flood(self) -> str:
        rows = {
            "Ctrl-C until the page says that it has ended": "ctrl_c_ms",
            "longest time between two frames, of each flood": "frame_ms",
            "how long after the flood's begin that began": "frame_at_ms",
        }
        lines = [[what, *self._spread("flood", BASE, name, 0.5, 0.9)] for what, name in rows.items()]
        for what, name in (("longest task, of each flood", "task_ms"), ("longest task, by its CPU", "task_cpu_ms")):
            lines.append([what, *self._quantiles(self._table.values("task", BASE, name), 0.5, 0.9)])
        return markdown.table(["", "median, ms", "p90, ms", "longest, ms"], lines)

    def _median(self, row: str, name: str) -> str:
        return number(self._table.median(row, BASE, name))

    def _spread(self, row: str, target: str, name: str, *shares: float) -> list[str]:
        return self._quantiles(self._table.samples(row, target, name), *shares)

    def _quantiles(self, samples: list[float], *shares: float) -> list[str]:
        if not samples:
            return ["-"] * (len(shares) + 1)
        return [*(number(quantiles.at(samples, share)) for share in shares), number(max(samples))]

    def versions(self) -> str:
        return markdown.table(["", ""], [[name, text] for name, text in self._results["versions"].items()])

    def text(self) -> str:
        plan = self._results["plan"]
        all_rounds = {f"{name}_in_all": plan["rounds"] * plan[name] for name in ("paints", "keystrokes", "floods")}
        said = plan | all_rounds | {"flood": f"{plan['flood'] / 1e6:g}", "seconds": f"{plan['seconds']:g}"}
        said |= {name: f"{self._results[name]:.1f}" for name in ("load_before", "load_after", "minutes")}
        said["begin"] = self._results["begin"][:10]
        tables = ("musts", "losses", "wire", "paint", "keystroke", "ratio", "heap", "speed", "flood", "versions")
        drawn = {name: getattr(self, name)() for name in ("warning", *tables)}
        text = Template(_TEMPLATE.read_text("utf-8")).substitute(
            said | {f"table_{name}": each for name, each in drawn.items()}
        )
        while "\n\n\n" in text:
            text = text.replace("\n\n\n", "\n\n")
        return text


def write_page(results: dict[str, Any], folder: Path) -> None:
    (folder / PAGE).write_text(_Page(results).text(), "utf-8")
