"""Which pod an alias means, and a list of pods that can't be read."""

from __future__ import annotations

import json

import pytest

from k8s_ws_proxy.errors import UpstreamProtocolError
from k8s_ws_proxy.kube import pods


def pod(name, node="a", phase="Running", **metadata):
    return {"metadata": {"name": name, **metadata}, "spec": {"nodeName": node}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("listed", "node", "chosen"),
    [
        pytest.param([], "a", None, id="none"),
        pytest.param([pod("x", phase="Pending"), pod("y", phase="Succeeded")], "a", None, id="none that runs"),
        pytest.param([pod("x", deletionTimestamp="2026-01-01T00:00:00Z"), pod("y")], "a", "y", id="not being deleted"),
        pytest.param([pod("x", "a"), pod("y", "b")], "b", "y", id="this node's first"),
        pytest.param([pod("y", "a"), pod("x", "b")], "", "x", id="without NODE_NAME, the lowest name"),
        pytest.param([pod("y", "b"), pod("x", "b")], "b", "x", id="then the lowest name"),
    ],
)
def test_the_one_that_is_meant(listed, node, chosen):
    assert pods.choose(listed, node) == chosen


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"items": 1}', b'{"items": [1]}'])
async def test_a_list_that_cannot_be_read(monkeypatch, body):
    async def get(_access, path):
        return (404, "application/json", b"") if path.endswith("/web") else (200, "application/json", body)

    monkeypatch.setattr(pods, "get", get)
    with pytest.raises(UpstreamProtocolError):
        await pods.resolve(None, "default", "web", label="app", node="")


async def test_no_items_at_all_is_no_match(monkeypatch):
    async def get(_access, path):
        return (
            (404, "application/json", b"") if path.endswith("/web") else (200, "", json.dumps({"items": None}).encode())
        )

    monkeypatch.setattr(pods, "get", get)
    with pytest.raises(pods.Refusal):
        await pods.resolve(None, "default", "web", label="app", node="")
