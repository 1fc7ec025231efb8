"""What is remembered of the processes that a session left, when nobody can be asked about them."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.errors import UpstreamProtocolError
from k8s_ws_proxy.sessions import reaper
from k8s_ws_proxy.sessions.reaper import Left, Reaper
from k8s_ws_proxy.wire.container.orphans import Place, Process

PLACE = Place("default", "web-0", "app")


class Unreachable:
    """An apiserver that nothing can be asked of."""

    asked = 0

    async def dial(self, _path, *, audit_id):  # noqa: ARG002 - as the real one
        self.asked += 1
        raise UpstreamProtocolError("no")


@pytest.mark.parametrize("told", [True, False])
async def test_who_was_said_to_have_ended_is_forgotten_although_nobody_answers(monkeypatch, told):
    """The rest isn't: the next daemon may be answered."""
    monkeypatch.setattr(reaper, "_RETRIES", (0.0, 0.0))
    apiserver, over = Unreachable(), []
    left = Left(apiserver, PLACE, Process("1", "1000"), "session", told)
    one = Reaper(patience=60.0, over=over.append)
    with capture_logs():
        if told:
            one.look_later(left)
            one.look_now()
        else:
            one.hang_up(left)
        while one.under_way:
            await asyncio.wait(one.under_way)
    assert apiserver.asked == 2
    assert over == ([left] if told else [])
