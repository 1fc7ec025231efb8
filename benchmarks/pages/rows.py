"""What is measured of the pages in each round, each in a browser that knows nothing of the others."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.browser import SHELL

from benchmarks import quantiles
from benchmarks.cells import BASE
from benchmarks.pages import tasks
from benchmarks.pages.bed import Bed
from benchmarks.pages.chromium import Profile, ScriptError, Tab
from benchmarks.pages.wire import Received, received
from benchmarks.rows.base import Measured

BARE = "bare"
_IN_PAGE = Path(__file__).with_name("in_page.js").read_text("utf-8")
_PAGES = ("terminal", "watch", "replay")
_INTERRUPTED = "exit code 130"  # 128 and SIGINT


@dataclass(frozen=True)
class Plan:
    """How much of everything in a round."""

    rounds: int
    paints: int
    keystrokes: int
    flood: int  # bytes
    floods: int
    seconds: float  # until Ctrl-C


FULL = Plan(rounds=5, paints=4, keystrokes=60, flood=100_000_000, floods=3, seconds=3.0)
QUICK = Plan(rounds=1, paints=1, keystrokes=5, flood=1_000_000, floods=1, seconds=0.2)

Row = Callable[[Bed, Plan], dict[str, Measured]]


@contextmanager
def _tab(bed: Bed) -> Iterator[Tab]:
    with bed.browser.profile() as profile, profile.tab(_IN_PAGE) as tab:
        yield tab


def _fetched(profile: Profile, url: str) -> Received:
    with profile.tab(_IN_PAGE) as tab:
        tab.call("Network.enable")
        tab.go(url)
        return received(tab.told("Network."))


def wire(bed: Bed, _plan: Plan) -> dict[str, Measured]:
    with bed.browser.profile() as profile:
        first, again = (_fetched(profile, bed.terminal(*SHELL)) for _ in range(2))
    with bed.browser.profile() as profile:
        whole = sum((_fetched(profile, f"{bed.daemon}/{name}/") for name in _PAGES), Received(0, 0))
    measured: Measured = {}
    for name, fetched in {"first": first, "again": again, "whole": whole}.items():
        measured |= {f"{name}_bytes": float(fetched.wire), f"{name}_plain_bytes": float(fetched.plain)}
    return {BASE: measured}


def paint(bed: Bed, plan: Plan) -> dict[str, Measured]:
    seen = []
    for _ in range(plan.paints):
        with _tab(bed) as tab:
            tab.go(bed.terminal(*SHELL))
            seen.append(tab.evaluate("bench.begun()"))
    return {BASE: _lists(seen, "first_paint_ms", "open_ms")}


def keystroke(bed: Bed, plan: Plan) -> dict[str, Measured]:
    """Both from the same page, in turn. Its policy lets it connect to nobody but the daemon, and is off for this."""
    with _tab(bed) as tab:
        tab.call("Page.setBypassCSP", enabled=True)
        tab.go(bed.terminal(*SHELL))
        took = tab.evaluate(f"bench.keystrokes({plan.keystrokes}, {bed.bare!r})")
    samples = {BASE: _rounded(took["page"]), BARE: _rounded(took["bare"])}
    return {name: {"took_ms": each, "median_ms": quantiles.at(each, 0.5)} for name, each in samples.items()}


def heap(bed: Bed, plan: Plan) -> dict[str, Measured]:
    with _tab(bed) as tab:
        tab.go(bed.terminal("sh", "-c", f"echo begun; read go; yes 0123456789 | head -c {plan.flood}"))
        tab.evaluate("bench.opened")
        before = _held(tab)
        took = tab.evaluate("bench.flood()")
        after = _held(tab)
    speed = plan.flood / took / 1e3
    return {BASE: {**_named(before, "before"), **_named(after, "after"), "mb_per_second": speed}}


def flood(bed: Bed, plan: Plan) -> dict[str, Measured]:
    """`frame_at_ms` is how far into the flood the longest time between two frames began."""
    return {BASE: _lists([_flooded(bed, plan) for _ in range(plan.floods)], "ctrl_c_ms", "frame_ms", "frame_at_ms")}


def task(bed: Bed, plan: Plan) -> dict[str, Measured]:
    """In a flood of its own: a trace of it costs something, too."""
    with _tab(bed) as tab:
        _await_flood(bed, tab)
        with tasks.traced(bed.browser) as events:
            _interrupted(tab, plan)
    return {BASE: tasks.longest(events)}


def _flooded(bed: Bed, plan: Plan) -> dict[str, Any]:
    with _tab(bed) as tab:
        _await_flood(bed, tab)
        return _interrupted(tab, plan)


def _await_flood(bed: Bed, tab: Tab) -> None:
    """It comes at Enter."""
    tab.go(bed.terminal("sh", "-c", "echo begun; read go; yes"))
    tab.evaluate("bench.opened")


def _interrupted(tab: Tab, plan: Plan) -> dict[str, Any]:
    seen: dict[str, Any] = tab.evaluate(f"bench.interrupted({plan.seconds * 1000})")
    if _INTERRUPTED not in seen["said"]:
        raise ScriptError(f"the flood was to be interrupted, but: {seen['said']}")
    return seen


def _lists(seen: list[dict[str, Any]], *names: str) -> Measured:
    return {name: _rounded(each[name] for each in seen) for name in names}


def _rounded(times: Iterable[float]) -> list[float]:
    """A page's clock goes by tenths of a millisecond."""
    return [round(float(each), 1) for each in times]


def _held(tab: Tab) -> dict[str, float]:
    """Bytes of JavaScript's heap as it is, and once it is collected; and of array buffers, which are beside it."""
    dirty = tab.call("Runtime.getHeapUsage")
    tab.call("HeapProfiler.enable")
    tab.call("HeapProfiler.collectGarbage")
    tab.call("HeapProfiler.disable")
    usage = tab.call("Runtime.getHeapUsage")
    return {"dirty": dirty["usedSize"], "heap": usage["usedSize"], "buffers": usage["backingStorageSize"]}


def _named(held: dict[str, float], when: str) -> dict[str, float]:
    return {f"{name}_{when}_mb": size / 1e6 for name, size in held.items()}


ALL: dict[str, Row] = {
    "wire": wire,
    "paint": paint,
    "keystroke": keystroke,
    "heap": heap,
    "flood": flood,
    "task": task,
}
