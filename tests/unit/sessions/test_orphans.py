"""Where a command can't be started so that it can be hung up, it is started plainly: if somebody still waits for it."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
from support.framing import closing

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.kube.dial import Upstream
from k8s_ws_proxy.relay.late import Late
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.sessions import orphans
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.wire.framing.channels import V5
from k8s_ws_proxy.wire.requests.target import ExecTarget, Streams

SHELL = ExecTarget("default", "web", "app", Streams(stdin=True, stdout=True, stderr=False, tty=True), ("top",))


class Apiserver:
    """Whatever is started ends at once, so that no shell introduces itself; ``leaves`` is called at the first dial."""

    def __init__(self, leaves=lambda: None):
        self.paths = []
        self._leaves = leaves

    async def dial(self, path, *_subprotocols, **_audit_id):
        self.paths.append(path)
        if len(self.paths) == 1:
            self._leaves()
        return Upstream(SimpleNamespace(close=lambda: None), None, closing(1000))


class SlowToStart:
    """It accepts a command, of which nothing is heard."""

    async def dial(self, *_path, **_audit_id):
        ours, self.theirs = socket.socketpair()
        return Upstream(Stream(ours, asyncio.get_running_loop()), V5, b"")


def never():
    """When nobody waits any more, in the loop's time."""
    return asyncio.get_running_loop().time() + 600


@pytest.fixture
def slot():
    return Registry(quotas(1), lambda: 0.0).admit(Principal(Mode.HMAC, "2025"), SHELL, "10.0.0.1")


async def test_somebody_waits(slot):
    apiserver = Apiserver()
    upstream = await orphans.Orphans(apiserver, patience=60).dial(apiserver, SHELL, slot, never())
    assert upstream is not None
    assert apiserver.paths[1:] == [SHELL.upstream_path()]


async def test_the_client_has_left(slot):
    apiserver = Apiserver(leaves=lambda: waiting.cancel())  # noqa: PLW0108 - it is made below
    ours = orphans.Orphans(apiserver, patience=60)
    waiting = asyncio.ensure_future(ours.dial(apiserver, SHELL, slot, never()))  # noqa: TID251
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await ours.settle()
    assert len(apiserver.paths) == 1, "nothing is started for nobody"


async def test_who_waits_no_longer_than_that_has_a_session_before(slot):
    """guacd gives up soon, and the apiserver may have taken most of its time: it has answered all the same."""
    apiserver = SlowToStart()
    ours = orphans.Orphans(apiserver, patience=60)
    until = asyncio.get_running_loop().time() + 0.45
    async with asyncio.timeout_at(until):
        stream, early = await ours.dial(apiserver, SHELL, slot, until)
    assert (type(stream), early) == (Late, b"")
    apiserver.theirs.close()
    await ours.settle()
    stream.close()
