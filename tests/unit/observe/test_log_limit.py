"""Lines that anybody can cause."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from k8s_ws_proxy.observe.log_limit import AT_ONCE, LogLimit


async def test_a_second_has_so_many_lines_and_one_for_the_rest(monkeypatch):
    timers = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda _seconds, told: timers.append(told))
    limit = LogLimit("more of them")
    assert sum(limit.allows("bad_path") for _ in range(AT_ONCE + 5)) == AT_ONCE
    assert limit.allows("expired"), "another reason has lines of its own"
    assert len(timers) == 1
    with capture_logs() as log:
        timers.pop()()
    assert log == [{"event": "more of them", "reason": "bad_path", "count": 5, "log_level": "warning"}]
    assert limit.allows("bad_path"), "in the next second"
