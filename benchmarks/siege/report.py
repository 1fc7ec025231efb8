"""The table of a siege, and its place in docs/reliability.md."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.siege.attacks import ALL
from benchmarks.siege.attacks.base import NOBODY, Attack
from benchmarks.siege.bed import LIMIT_MIB

MORE_MS = 100.0  # that anybody may wait longer while somebody without a credential attacks
PROBE_MS = 200.0  # that a probe may wait while somebody with one does
BEGIN, END = "<!-- made by `make siege` -->\n", "<!-- until here -->\n"
_HEAD = (
    "what is done",
    "who types, ms: without, under",
    "`/healthz`, ms: without, under",
    "memory, MiB",
    "lost",
    "before: who types, `/healthz`, memory, lost",
    "holds",
)


class Siege:
    """One attack's rounds; figures are medians of them."""

    def __init__(self, attack: Attack, measured: list[dict[str, Any] | None]) -> None:
        self.attack = attack
        self._rounds = [each for each in measured if each is not None]

    @property
    def known(self) -> bool:
        return bool(self._rounds)

    def figure(self, half: str, name: str) -> float:
        return median(each[half][name] for each in self._rounds)

    def more(self, name: str) -> float:
        """The median of what each round added."""
        return median(each["under"][name] - each["without"][name] for each in self._rounds)

    @property
    def peak(self) -> float:
        """Of all rounds: being killed for memory once is enough."""
        return max(each["under"]["peak_mib"] for each in self._rounds)

    @property
    def lost(self) -> int:
        """Of all rounds, at the end or within; the watchers without an attack had to be whole for that, too."""
        return int(sum(max(each["lost"], each["under"]["lost"], each["without"]["lost"]) for each in self._rounds))

    @property
    def holds(self) -> bool:
        if self.attack.access == NOBODY:
            waits = all(self.more(name) <= MORE_MS for name in ("typist_ms", "probe_ms"))
        else:
            waits = self.figure("under", "probe_ms") < PROBE_MS
        return waits and self.peak < LIMIT_MIB and not self.lost


class Table:
    """A run, and one of another state of the code beside it if there is one."""

    def __init__(self, results: dict[str, Any], before: dict[str, Any] | None) -> None:
        self.results = results
        self.before = before
        found = [Siege(ALL[name], measured) for name, measured in results["attacks"].items()]
        self.unknown = [siege.attack.name for siege in found if not siege.known]
        self.sieges = [siege for siege in found if siege.known]

    def earlier(self, attack: Attack) -> Siege | None:
        siege = Siege(attack, (self.before or {}).get("attacks", {}).get(attack.name, []))
        return siege if siege.known else None

    @property
    def holds(self) -> bool:
        return not self.unknown and all(siege.holds for siege in self.sieges)

    def summary(self) -> str:
        failed = [siege.attack.name for siege in self.sieges if not siege.holds]
        said = f"{len(self.sieges) - len(failed)} of {len(self.results['attacks'])} attacks are held off."
        if failed:
            said += f" Not: {', '.join(failed)}."
        if self.unknown:
            said += f" Not measured: {', '.join(self.unknown)}."
        return said

    def text(self) -> str:
        lines = [self.summary(), "", *self._conditions(), ""]
        lines += [_row(_HEAD), "|---" * len(_HEAD) + "|", *self._rows()]
        lines += ["", "![The longest wait of a probe, and memory at the worst, by attack](siege/siege.png)"]
        return "\n".join(lines) + "\n"

    def _conditions(self) -> Iterator[str]:
        of = ", ".join(f"{name} {text}" for name, text in self.results["versions"].items())
        yield f"Medians of {self.results['rounds']} rounds, {self.results['seconds']:g} seconds each half: {of}."
        load = self.results["load_before"]
        if load > 0.5:
            yield f"The machine was busy before the run began (load {load:.1f}), which makes waits longer."
        if self.before:
            yield f"*Before* is {self.before['versions']['k8s-ws-proxy']}, {self.before['rounds']} round(s)."

    def _rows(self) -> Iterator[str]:
        access = None
        for siege in self.sieges:
            if siege.attack.access != access:
                access = siege.attack.access
                yield _row((f"**with {access}**", *[""] * (len(_HEAD) - 1)))
            earlier = self.earlier(siege.attack)
            yield _row(
                (
                    siege.attack.text,
                    *(
                        f"{siege.figure('without', name):.0f}, {siege.figure('under', name):,.0f}"
                        for name in ("typist_ms", "probe_ms")
                    ),
                    f"{siege.peak:.0f}",
                    f"{siege.lost}" if siege.lost else "nobody",
                    _in_short(earlier) if earlier else "",
                    "yes" if siege.holds else "**no**",
                )
            )


def _in_short(siege: Siege) -> str:
    waits = (f"{siege.figure('under', name):,.0f}" for name in ("typist_ms", "probe_ms"))
    return ", ".join((*waits, f"{siege.peak:,.0f}", f"{siege.lost}" if siege.lost else "nobody"))


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def write(table: Table, page: Path) -> None:
    """Between the two marks of the page; a page without them is made of nothing else."""
    text = page.read_text() if page.exists() else BEGIN + END
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(head + BEGIN + "\n" + table.text() + "\n" + END + tail)
