"""Asking who may: what follows where nobody answers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import UpstreamTimeout
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.web.rights import Rights
from k8s_ws_proxy.wire.requests.impersonation import Identity

ALICE = Principal(Mode.RFC9421, "secret", user="alice")


async def suspected(*, left, within):
    """Whether an apiserver counts as down that didn't answer in what was ``left`` of the ``within`` seconds."""
    told = []

    async def never(_):
        await asyncio.get_running_loop().create_future()

    rights = Rights(
        SimpleNamespace(handshake_timeout=within),
        SimpleNamespace(identity_of=lambda _: Identity("alice")),
        SimpleNamespace(allows=never),
        SimpleNamespace(timed_out=lambda: told.append("timed out")),
        Registry(quotas(1), lambda: 0.0),
    )
    with pytest.raises(UpstreamTimeout):
        await rights.why_not_read(ALICE, "default", asyncio.get_running_loop().time() + left)
    return bool(told)


async def test_an_apiserver_that_had_its_time_is_suspected():
    assert await suspected(left=0.02, within=0.02)


async def test_one_that_a_slow_caller_left_no_time_is_not():
    assert not await suspected(left=0.02, within=10.0)
