"""A loop that doesn't turn, for one reason or the other."""

from __future__ import annotations

import asyncio
import sys
import time

from structlog.testing import capture_logs

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.watchdog import PERIOD, Watchdog, where


def count(cause):
    return metrics.LOOP_STALLS.labels(cause)._value.get()


def spin(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_a_loop_that_is_busy_is_noticed_and_where_it_is():
    before, watchdog = count("busy"), Watchdog(asyncio.get_running_loop())
    try:
        with capture_logs() as log:
            while count("busy") == before:
                spin(4 * PERIOD)
                await asyncio.sleep(0)
    finally:
        watchdog.stop()
    line = next(line for line in log if line["cause"] == "busy")
    assert any("spin test_watchdog.py:" in call for call in line["at"])
    assert "4 * PERIOD" not in str(line)


async def test_a_loop_that_turns_is_left_alone():
    watchdog = Watchdog(asyncio.get_running_loop())
    asked = metrics.LOOP_LAG._sum.get()
    while metrics.LOOP_LAG._sum.get() == asked:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0.01)
    watchdog.stop()
    watchdog._thread.join(10)
    assert not watchdog._thread.is_alive()


def test_where_says_names_and_nothing_else():
    secret = "what was typed"  # noqa: F841 - it must not be seen
    calls = where(sys._getframe())
    assert calls[0].startswith("test_where_says_names_and_nothing_else test_watchdog.py:")
    assert len(calls) <= 12
    assert where(None) == []
