"""Orders that cost their time: how many are taken apart at once."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.web import issuing
from k8s_ws_proxy.web.caller import MAX_BODY
from k8s_ws_proxy.web.issuing import Issuing
from k8s_ws_proxy.web.turns import Turns

LONG = {"subresource": "exec", "namespace": "default", "pod": "web", "command": ["a"] * 12_000}


@pytest.fixture
def taken(monkeypatch):
    """What was taken apart, in this order; nothing is issued."""
    bodies = []

    def take(body):
        bodies.append(body)
        raise Refusal(Reason.BAD_BODY, "That was all.")

    monkeypatch.setattr(issuing, "parse_order", take)
    return bodies


def order(issuer, body):
    async def read():
        return body

    request = SimpleNamespace(read=read, version=(1, 1), content=SimpleNamespace(is_eof=lambda: True))
    issue = issuer.issue(request, None, asyncio.get_running_loop().time() + 60)
    return asyncio.ensure_future(issue)  # noqa: TID251


async def test_of_long_ones_at_most_one_is_taken_apart_in_a_turn_and_short_ones_are_not_held_up(taken):
    parts = dict.fromkeys(("policy", "rights", "directory", "recorded", "apiserver"))
    registry, turns = SimpleNamespace(draining=False), Turns()
    issuer = Issuing(None, None, registry=registry, turns=turns, public_url="", **parts)
    long, short = json.dumps(LONG).encode(), b"{}"
    assert len(long) <= MAX_BODY
    going = [order(issuer, body) for body in [long] * 10 + [short] * 10]
    most, before = 0, 0
    while len(taken) < 20:
        await asyncio.sleep(0)
        now = taken.count(long)
        most, before = max(most, now - before), now
        if short in taken:
            assert taken.count(short) == 10
    assert most == 1
    assert taken.index(short) < 3, "nobody waits for what is long"
    await asyncio.wait(going)
    assert {each.exception().reason for each in going} == {Reason.BAD_BODY}
