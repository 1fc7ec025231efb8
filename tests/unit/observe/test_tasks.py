"""Background tasks: named, kept, and logged when they fail."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from k8s_ws_proxy.observe import tasks


async def test_a_task_has_a_name_and_is_kept_until_it_is_done():
    gate = asyncio.Event()
    task = tasks.start(gate.wait(), name="waits")
    assert task.get_name() == "waits"
    assert task in tasks._running
    gate.set()
    assert await task is True
    await asyncio.sleep(0)
    assert task not in tasks._running


async def test_a_task_that_fails_is_logged_with_its_name():
    async def fail():
        raise ValueError("broken")

    with capture_logs() as logged:
        task = tasks.start(fail(), name="breaks")
        await asyncio.wait([task])
        await asyncio.sleep(0)
    (line,) = logged
    assert (line["event"], line["log_level"], line["task"]) == ("background task failed", "error", "breaks")
    assert str(line["exc_info"]) == "broken"
    assert task not in tasks._running


async def test_a_task_that_is_cancelled_is_nobodys_mistake():
    with capture_logs() as logged:
        task = tasks.start(asyncio.Event().wait(), name="waits")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert logged == []
    assert task not in tasks._running
