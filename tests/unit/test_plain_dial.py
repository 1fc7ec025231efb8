"""Where a command can't be started so that it can be hung up, it is started plainly: if somebody still waits for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.framing import closing

from k8s_ws_proxy.kube.dial import Upstream
from k8s_ws_proxy.sessions import orphans
from k8s_ws_proxy.wire.target import ExecTarget, Streams

SHELL = ExecTarget("default", "web", "app", Streams(stdin=True, stdout=True, stderr=False, tty=True), ("top",))


@pytest.fixture
def dials(monkeypatch):
    """The paths that were dialled: whatever is started ends at once, so that no shell introduces itself."""
    paths = []

    async def dial(_access, path, *_subprotocols):
        paths.append(path)
        return Upstream(SimpleNamespace(close=lambda: None), None, closing(1000))

    monkeypatch.setattr(orphans, "dial", dial)
    return paths


async def test_somebody_waits(dials):
    dialled = await orphans.Orphans(None, patience=60).dial(SHELL, lambda: True)
    assert dialled.upstream is not None
    assert dials[1:] == [SHELL.upstream_path()]


async def test_the_client_has_left(dials):
    dialled = await orphans.Orphans(None, patience=60).dial(SHELL, lambda: False)
    assert dialled == orphans.Dialled()
    assert len(dials) == 1, "nothing is started for nobody"
