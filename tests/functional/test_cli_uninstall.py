"""`k8s-ws-proxy uninstall`, against the embedded cluster, with the rights that the chart's hook has and no more."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys

import pytest

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.foreign import DaemonSet, ForeignPod
from k8s_ws_proxy.devcluster.http import Response
from k8s_ws_proxy.devcluster.resources import DAEMONSETS, PODS
from k8s_ws_proxy.devcluster.status import Failed
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, User, grant

NAME = "k8s-ws-proxy"
LABELS = {"app.kubernetes.io/name": NAME}
HOOK = User(
    "hook",
    "system:serviceaccount:default:k8s-ws-proxy-uninstall",
    (
        grant("daemonsets.apps", "get delete", names=NAME, namespace="default"),
        grant("pods", "list", namespace="default"),
    ),
)


@pytest.fixture
async def cluster():
    async with DevCluster(dataclasses.replace(DEFAULT_WORLD, users=(*DEFAULT_WORLD.users, HOOK))) as running:
        yield running


@pytest.fixture
def state(cluster):
    """With two pods of the DaemonSet, and one that has its labels and another owner."""
    state = cluster.state
    for name in (NAME, "another"):
        state.add_daemonset(DaemonSet(name, labels=LABELS))
    for name, owner in (("proxy-a", NAME), ("proxy-b", NAME), ("other-a", "another")):
        state.add_pod(ForeignPod(name, labels=LABELS, daemonset=owner))
    return state


@pytest.fixture
async def uninstall(cluster, tmp_path):
    """Starts the command."""

    async def start(*words):
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "k8s_ws_proxy", "uninstall", "--namespace", "default", *words),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KUBECONFIG": str(cluster.write_kubeconfig(tmp_path / "kubeconfig", "hook")),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    return start


async def ended(process):
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


def there(state, name):
    try:
        return state.store.get(PODS, "default", name)
    except Failed:
        return None


async def test_it_waits_until_the_pods_are_gone(state, uninstall):
    process = await uninstall()
    told = [(await process.stdout.readline()).decode() for _ in range(2)]
    assert told == [
        "deleted the DaemonSet default/k8s-ws-proxy: its pods drain, and hang up what their sessions left\n",
        "2 of its pods are still there\n",
    ]
    with pytest.raises(Failed):
        state.store.get(DAEMONSETS, "default", NAME)
    assert "deletionTimestamp" in there(state, "proxy-a")["metadata"]
    state.remove_pod("default", "proxy-a")
    while (line := await process.stdout.readline()) != b"1 of its pods are still there\n":
        assert line == b"2 of its pods are still there\n"
    state.remove_pod("default", "proxy-b")
    status, output, errors = await ended(process)
    assert (status, errors) == (0, "")
    assert output.endswith("its pods are gone\n")
    assert "deletionTimestamp" not in there(state, "other-a")["metadata"]


@pytest.mark.parametrize("go_on", [True, False])
async def test_a_pod_that_stays_is_named_when_the_time_is_over(state, uninstall, go_on):
    state.remove_pod("default", "proxy-a")
    status, _, errors = await ended(await uninstall("--timeout", "100ms", *(["--go-on"] if go_on else [])))
    assert status == (0 if go_on else 4)
    assert "1 pods of the DaemonSet default/k8s-ws-proxy are still there after 0.1 s: proxy-b." in errors


async def test_where_there_is_no_daemon_set_there_is_nothing_to_do(cluster, uninstall):
    assert await ended(await uninstall()) == (
        0,
        "there is no DaemonSet default/k8s-ws-proxy: nothing to do\n",
        "",
    )
    assert [seen.method for seen in cluster.observed.seen] == ["GET"]


@pytest.mark.parametrize(
    ("verb", "what"), [("get", "daemonsets.apps"), ("delete", "daemonsets.apps"), ("list", "pods")]
)
async def test_a_right_that_lacks_is_named(cluster, state, uninstall, verb, what):
    cluster.faults.refuse_request(verb, what, Response(403, b'{"kind": "Status", "message": "no"}'), times=9)
    status, _, errors = await ended(await uninstall())
    assert status == 1
    assert f"not allowed to {verb}" in errors
    assert what in errors


@pytest.mark.parametrize("timeout", ["0s", "soon", "-1s"])
async def test_a_time_that_is_none_is_wrong_usage(uninstall, timeout):
    status, _, errors = await ended(await uninstall(f"--timeout={timeout}"))
    assert status == 2
    assert "no duration" in errors
