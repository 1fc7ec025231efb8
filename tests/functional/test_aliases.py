"""Pod aliases by label, clause by clause (docs/reference/settings.md, "Pod aliases")."""

from __future__ import annotations

import dataclasses

import pytest
from support.caller import PIPES, ask, proxy_exec, refusal_of, run

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, Container, Phase, Pod

LABEL = "app.example/name"


def pod(name, value, node="dev-node", phase=Phase.RUNNING):
    return Pod(name, (Container("main"),), labels={LABEL: value}, node=node, phase=phase)


WORLD = dataclasses.replace(
    DEFAULT_WORLD,
    pods=(
        *DEFAULT_WORLD.pods,
        pod("db-0", "db"),
        pod("cache-b", "cache"),
        pod("cache-a", "cache"),
        pod("queue-a", "queue"),
        pod("queue-b", "queue", node="this-node"),
        pod("queue-c", "queue", node="this-node"),
        pod("literal", "other"),
        pod("another", "literal"),
        pod("job-0", "job", phase=Phase.COMPLETED),
        pod("job-1", "job", node="", phase=Phase.PENDING),
    ),
)


@pytest.fixture
async def cluster():
    async with DevCluster(world=WORLD) as running:
        yield running


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        pytest.param("literal", "literal", id="the literal pod name first"),
        pytest.param("db", "db-0", id="else the pod with the label"),
        pytest.param("queue", "queue-b", id="one on NODE_NAME before others"),
        pytest.param("cache", "cache-a", id="then the lowest name"),
    ],
)
async def test_the_pod_that_is_meant(start, segment, expected):
    daemon = await start(POD_ALIAS_LABEL=LABEL, NODE_NAME="this-node")
    ended = await run(daemon, proxy_exec("hostname", pod=segment, container=None, **PIPES))
    assert ended.exit_code == 0, ended
    line = await daemon.event("session opened")
    assert line["pod"] == expected
    assert line.get("alias") == (None if segment == expected else segment)


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param("nobody", id="nothing has the label"),
        pytest.param("job", id="none of them runs"),
        pytest.param("a." * 40 + "a", id="longer than a label's value"),
    ],
)
async def test_no_match_is_404_and_no_guess(start, segment):
    daemon = await start(POD_ALIAS_LABEL=LABEL, NODE_NAME="this-node")
    target = proxy_exec("true", pod=segment, container=None)
    answer = await ask(daemon, target)
    assert (answer.status, refusal_of(answer, target)[1]) == (404, "no_running_pod")
    line = await daemon.event("request refused", reason="no_running_pod")
    assert line["level"] == "warning"
    assert segment in line["detail"]


async def test_without_the_setting_a_segment_is_only_a_name(start):
    daemon = await start()
    ended = await run(daemon, proxy_exec("true", pod="db", container=None))
    assert ended.code == 1011
    assert ended.status["message"] == 'pods "db" not found'
