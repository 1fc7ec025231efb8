"""Admission, and what a slot lasts for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.slots import EXEC, HMAC, Clock, Session, value

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry, Termination


def refused(registry, target=EXEC, size=0):
    with pytest.raises(Refusal) as refusal:
        registry.admit(HMAC, target, "10.0.0.1", size)
    return refusal.value.reason


def test_as_many_are_admitted_as_there_may_be():
    registry = Registry(quotas(2), Clock())
    first, second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    assert refused(registry) is Reason.TOO_MANY_SESSIONS
    assert value(metrics.SESSIONS_OPEN) == 2
    first.release()
    third = registry.admit(HMAC, EXEC, "10.0.0.1")
    assert set(registry.open_slots()) == {second, third}
    assert len({slot.log.record.id for slot in (first, second, third)}) == 3


def test_a_slot_given_back_twice_is_one_slot():
    registry = Registry(quotas(2), Clock())
    first, _second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    first.release()
    first.release()
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_SESSIONS


async def test_a_slot_is_kept_as_long_as_what_it_outlasts():
    """The command may be starting, though its client is gone."""
    registry = Registry(quotas(1), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    dial = asyncio.get_running_loop().create_future()
    slot.outlast(dial)
    told = []
    slot.at_end(told.append)
    slot.release()
    assert registry.open_slots() == [slot]
    assert told == []
    dial.set_exception(AssertionError("a mistake"))
    await registry.emptied()
    assert told == [False]
    dial.exception()


async def test_what_it_outlasts_is_over_already():
    registry = Registry(quotas(1), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    dial = asyncio.get_running_loop().create_future()
    slot.outlast(dial)
    dial.set_result(None)
    slot.release()
    assert registry.open == 0


@pytest.mark.parametrize("status_seen", [True, False])
async def test_who_asked_hears_of_the_end_once_and_whether_it_was_said_how(status_seen):
    registry = Registry(quotas(1), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    told = []
    slot.at_end(told.append)
    session = Session(slot)
    session.relay.status_seen = status_seen
    slot.opened(session)
    slot.ended(session)
    slot.release(session)
    assert told == [status_seen]
    assert registry.open == 0


def test_a_namespace_has_a_share_of_its_own():
    registry = Registry(quotas(9, per_namespace=1), Clock())
    other = replace(EXEC, namespace="other")
    first = registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_IN_NAMESPACE
    registry.admit(HMAC, other, "10.0.0.1")
    assert refused(registry, other) is Reason.TOO_MANY_IN_NAMESPACE
    first.release()
    first.release()
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_IN_NAMESPACE


def test_as_many_are_dialled_at_once_as_may_be():
    registry = Registry(quotas(9, handshakes=2), Clock())
    first, second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    assert refused(registry) is Reason.TOO_MANY_HANDSHAKES
    first.opened(Session(first))
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_HANDSHAKES
    second.release()
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_HANDSHAKES


def test_what_requests_hold_while_they_are_dialled_is_bounded_together():
    """Twelve bytes of memory for each of a request's target, 16 MiB in all; one alone always fits."""
    registry = Registry(quotas(999), Clock())
    first = registry.admit(HMAC, EXEC, "10.0.0.1", 1024 * 1024)
    assert refused(registry, size=1024 * 1024) is Reason.TOO_MANY_HANDSHAKES
    registry.admit(HMAC, EXEC, "10.0.0.1", 300 * 1024)
    first.opened(Session(first))
    registry.admit(HMAC, EXEC, "10.0.0.1", 1024 * 1024)
    assert refused(registry, size=128 * 1024) is Reason.TOO_MANY_HANDSHAKES


def test_on_the_way_down_nobody_is_admitted_and_this_is_said_first():
    registry = Registry(quotas(1), Clock())
    registry.admit(HMAC, EXEC, "10.0.0.1")
    registry.draining = True
    assert refused(registry) is Reason.SHUTTING_DOWN


async def test_waiting_for_the_last_one():
    registry = Registry(quotas(2), Clock())
    await registry.emptied()
    first, second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    waiting = asyncio.ensure_future(registry.emptied())  # noqa: TID251
    for slot in (first, second):
        await asyncio.sleep(0)
        assert not waiting.done()
        slot.release()
    await waiting


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("carol", "", "ended by carol"),
        ("carol", "enough", "ended by carol: enough"),
        ("\x1b]0;x\x07" + "n" * 80, "", "ended by ?]0;x?" + "n" * 58),
    ],
)
def test_who_ended_a_session_is_told_in_nothing_that_a_terminal_obeys(name, reason, told):
    assert Termination(Principal(Mode.CLIENT_CERT, "x", user=name), reason).sentence == told
