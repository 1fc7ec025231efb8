"""The one place that starts background tasks: each has a name, an owner, and its errors in the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.observe.log import logger

if TYPE_CHECKING:
    from collections.abc import Coroutine

_running: set[asyncio.Task[Any]] = set()  # the loop itself keeps only weak references


def start(coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Run ``coro`` in the background of the running loop."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_done)
    return task


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger().error("background task failed", task=task.get_name(), exc_info=error)
