"""A loop that doesn't turn, for one reason or the other."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe import watchdog as watchdog_
from k8s_ws_proxy.observe.watchdog import PERIOD, Watchdog, where


def count(cause):
    return metrics.LOOP_STALLS.labels(cause)._value.get()


def spin(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize(("share", "cause"), [(0.0, "busy"), (1.1, "waiting")])
async def test_a_loop_that_stands_still_is_noticed_and_where(monkeypatch, share, cause):
    """How much of the time it was on a processor says whose doing it was; here others may need the processors, too."""
    monkeypatch.setattr(watchdog_, "_BUSY", share)
    before, watchdog = count(cause), Watchdog(asyncio.get_running_loop())
    try:
        with capture_logs() as log:
            while count(cause) == before:
                spin(4 * PERIOD)
                await asyncio.sleep(0)
    finally:
        watchdog.stop()
    line = next(line for line in log if line["cause"] == cause)
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
