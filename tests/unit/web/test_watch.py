"""Joining a session that comes to its end in that moment."""

from __future__ import annotations

import pytest
from support.watched import Watched

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.web.plan import PlanParts
from k8s_ws_proxy.web.upgrade import Offer
from k8s_ws_proxy.web.watch import WatchPlan
from k8s_ws_proxy.wire.framing.channels import STATUS

OFFER = Offer("dGhlIHNhbXBsZSBub25jZQ==", "v5.channel.k8s.io")


@pytest.fixture
async def session():
    running = Watched()
    yield running
    running.close()


@pytest.mark.parametrize("mode", WatchMode)
async def test_one_that_has_ended_while_its_turn_was_waited_for_is_not_joined(session, mode):
    parts = PlanParts(None, None, None, None, session.budget)
    plan = WatchPlan(parts, None, OFFER, session.slot, mode, session.watching)
    assert (await plan.dial(session.slot)).head.startswith(b"HTTP/1.1 101 ")
    await session.upstream.say(STATUS, b'{"metadata":{},"status":"Success"}')
    await session.client.message()
    with pytest.raises(Refusal, match="or is ending") as refused:
        await plan.dial(session.slot)
    assert refused.value.reason is Reason.NOT_A_TERMINAL
