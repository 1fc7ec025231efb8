"""The way down, with sessions that do nothing."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from support.slots import EXEC, HMAC, PIPES, Clock, open_session

from k8s_ws_proxy.sessions import drain as way_down
from k8s_ws_proxy.sessions.drain import DrainDeadline
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT
from k8s_ws_proxy.wire.requests.target import AttachTarget


class Hanging:
    """Orphans that aren't hung up, however long one waits."""

    cut_short = False

    async def settle(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.cut_short = True


NEVER = {1: (3600.0, 0.0, 0.0), 2: (3600.0, 3600.0, 0.0)}


@pytest.mark.parametrize(("target", "channel"), [(EXEC, STDOUT), (AttachTarget("n", "p", None, PIPES), STDERR)])
async def test_who_still_runs_at_the_deadline_is_told_where_it_is_seen(target, channel):
    registry = Registry(quotas(9), Clock())
    session = open_session(registry, target)
    await way_down.drain(registry, 0, DrainDeadline())
    line, told_on, reason = session.told
    assert told_on == channel
    assert line == b"\r\nk8s-ws-proxy: the proxy on this node is shutting down.\r\n"
    assert reason == "the proxy on this node is shutting down"
    assert not session.aborted


async def test_without_sessions_it_is_over_at_once():
    registry = Registry(quotas(9), Clock())
    with capture_logs() as log:
        await way_down.drain(registry, 3600, DrainDeadline())
    assert [line["event"] for line in log] == ["shutting down", "shut down"]
    assert registry.draining


async def test_who_ends_in_time_is_not_told():
    registry = Registry(quotas(9), Clock())
    sessions = [open_session(registry) for _ in range(3)]
    going = asyncio.ensure_future(way_down.drain(registry, 3600, DrainDeadline()))  # noqa: TID251
    for session in sessions:
        await asyncio.sleep(0)
        assert not going.done()
        session.slot.release(session)
    await going
    assert [session.told for session in sessions] == [None] * 3


async def test_a_second_signal_ends_the_waiting():
    registry = Registry(quotas(9), Clock())
    session = open_session(registry)
    deadline = DrainDeadline()
    going = asyncio.ensure_future(way_down.drain(registry, 3600, deadline))  # noqa: TID251
    await asyncio.sleep(0)
    assert session.told is None
    deadline.more()
    await going
    assert session.told is not None


@pytest.mark.parametrize("signals", [1, 2])
async def test_further_signals_shorten_the_step_that_is_under_way(monkeypatch, signals):
    """An hour for the last words and for hanging up, and none when so many signals have come."""
    monkeypatch.setattr(way_down, "_LAST_WORDS", NEVER[signals])
    monkeypatch.setattr(way_down, "_HANG_UP", NEVER[signals])
    registry, deadline, orphans = Registry(quotas(9), Clock()), DrainDeadline(), Hanging()
    stuck = open_session(registry, ends_when_told=False)
    going = asyncio.ensure_future(way_down.drain(registry, 0, deadline, orphans))  # noqa: TID251
    while stuck.told is None:  # noqa: ASYNC110 - it is told in passing
        await asyncio.sleep(0)
    assert not stuck.aborted
    for _ in range(signals):
        deadline.more()
    await going
    assert stuck.aborted
    assert orphans.cut_short


async def test_what_the_last_words_take_too_long_is_taken_from_hanging_up(monkeypatch):
    """A node that has no time for us lets hours go by; the sum of both steps counts."""
    monkeypatch.setattr(way_down, "_LAST_WORDS", NEVER[1])
    monkeypatch.setattr(way_down, "_HANG_UP", NEVER[1])
    registry, orphans, loop = Registry(quotas(9), Clock()), Hanging(), asyncio.get_running_loop()
    stuck = open_session(registry, ends_when_told=False)
    now = loop.time
    stuck.drain = lambda *_told: loop.call_soon(monkeypatch.setattr, loop, "time", lambda: now() + 7200)
    await way_down.drain(registry, 0, DrainDeadline(), orphans)
    assert stuck.aborted
    assert orphans.cut_short


async def test_signals_that_come_before_it_begins_count(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", NEVER[2])
    registry, deadline = Registry(quotas(9), Clock()), DrainDeadline()
    stuck = open_session(registry, ends_when_told=False)
    for _ in range(3):
        deadline.more()
    await way_down.drain(registry, 3600, deadline)
    assert stuck.aborted


async def test_a_signal_never_puts_an_end_off(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", (0.0, 3600.0, 3600.0))
    registry, deadline = Registry(quotas(9), Clock()), DrainDeadline()
    stuck = open_session(registry, ends_when_told=False)
    stuck.drain = lambda *_told: asyncio.get_running_loop().call_soon(deadline.more)
    await way_down.drain(registry, 0, deadline)
    assert stuck.aborted


async def test_who_does_not_end_when_told_is_aborted(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", (0.0, 0.0, 0.0))
    registry = Registry(quotas(9), Clock())
    stuck, ends = open_session(registry, ends_when_told=False), open_session(registry)
    await way_down.drain(registry, 0, DrainDeadline())
    assert stuck.told
    assert stuck.aborted
    assert not ends.aborted
    assert registry.open_slots() == []


async def test_a_dial_under_way_is_nobody_to_tell_and_gets_no_session(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", (0.0, 0.0, 0.0))
    registry = Registry(quotas(9), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    with capture_logs() as log:
        await way_down.drain(registry, 0, DrainDeadline())
    assert registry.open_slots() == [slot]
    assert registry.ending
    assert [line["event"] for line in log] == ["shutting down", "ending sessions", "shut down"]


async def test_the_way_down_leaves_no_tasks_behind():
    registry = Registry(quotas(9), Clock())
    open_session(registry)
    before = asyncio.all_tasks()
    await way_down.drain(registry, 0, DrainDeadline())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
