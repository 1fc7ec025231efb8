"""The longest task of a page's main thread, by a trace in Chromium's Trace Event Format."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.pages.chromium import Chromium
from benchmarks.rows.base import Measured

MARKS = ("flood begins", "flood ends")  # in_page.js
_CATEGORIES = ["disabled-by-default-devtools.timeline", "blink.user_timing"]
_TASK = "RunTask"


@contextmanager
def traced(browser: Chromium) -> Iterator[list[dict[str, Any]]]:
    """The list has all that was traced once the block is left."""
    events: list[dict[str, Any]] = []
    wanted = {"includedCategories": _CATEGORIES, "excludedCategories": ["*"]}
    browser.call("Tracing.start", transferMode="ReportEvents", traceConfig=wanted)
    yield events
    browser.call("Tracing.end")
    browser.await_told("Tracing.tracingComplete")
    for told in browser.told("Tracing.dataCollected"):
        events += told["params"]["value"]


def longest(events: Iterable[dict[str, Any]]) -> Measured:
    """By the clock, and by the thread's own CPU, which is less where it had to wait for a processor.

    Between two marks that the page has set, on the thread that has.
    """
    events = sorted(events, key=lambda event: float(event.get("ts", 0)))
    begin, end = ([event for event in events if event["name"] == name][-1] for name in MARKS)
    tasks = [
        event
        for event in events
        if event["name"] == _TASK
        and (event["pid"], event["tid"]) == (begin["pid"], begin["tid"])
        and begin["ts"] <= event["ts"] <= end["ts"]
    ]
    found: Measured = {}
    for name, kind in (("task_ms", "dur"), ("task_cpu_ms", "tdur")):
        if lasted := [event[kind] / 1000 for event in tasks if kind in event]:
            found[name] = max(lasted)
    return found
