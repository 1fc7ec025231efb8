"""`k8s-ws-proxy uninstall`, against the embedded cluster, with the rights that the chart's hook has and no more."""

from __future__ import annotations

import asyncio
import dataclasses
import os

import pytest
from support.command import start_command

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.foreign import DaemonSet, ForeignPod
from k8s_ws_proxy.devcluster.http import Response
from k8s_ws_proxy.devcluster.resources import DAEMONSETS, PODS
from k8s_ws_proxy.devcluster.status import Failed
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, User, grant

NAME = "k8s-ws-proxy"
LABELS = {"app.kubernetes.io/name": NAME}
BY_HELM = {"meta.helm.sh/release-name": NAME, "meta.helm.sh/release-namespace": "default"}  # on all that it installs
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
        state.add_daemonset(DaemonSet(name, labels=LABELS, annotations=BY_HELM))
    for name, owner in (("proxy-a", NAME), ("proxy-b", NAME), ("other-a", "another")):
        state.add_pod(ForeignPod(name, labels=LABELS, daemonset=owner))
    return state


@pytest.fixture
async def uninstall(cluster, tmp_path):
    """Starts the command."""

    async def start(*words):
        return await start_command(
            *("uninstall", "--namespace", "default", *words),
            environ={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KUBECONFIG": str(cluster.write_kubeconfig(tmp_path / "kubeconfig", "hook")),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            strict=False,
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
    status, _, errors = await ended(await uninstall("--timeout", "2s", *(["--go-on"] if go_on else [])))
    assert status == (0 if go_on else 4)
    assert "1 pods of the DaemonSet default/k8s-ws-proxy are still there after 2 s: proxy-b." in errors


async def test_where_there_is_no_daemon_set_there_is_nothing_to_do(cluster, uninstall):
    assert await ended(await uninstall()) == (
        0,
        "there is no DaemonSet default/k8s-ws-proxy: nothing to do\n",
        "",
    )
    assert [seen.method for seen in cluster.observed.seen] == ["GET", "GET"]


async def test_run_again_it_waits_for_the_pods_that_are_still_there(state, uninstall):
    first = await uninstall()
    while await first.stdout.readline() != b"2 of its pods are still there\n":
        pass
    first.terminate()
    status, _, errors = await ended(first)
    assert status == 143
    assert "run it again, and it goes on from here" in errors
    again = await uninstall()
    assert await again.stdout.readline() == b"2 of its pods are still there\n"
    for name in ("proxy-a", "proxy-b"):
        state.remove_pod("default", name)
    status, output, errors = await ended(again)
    assert (status, errors) == (0, "")
    assert output.endswith("its pods are gone\n")


async def test_run_again_after_a_right_lacked_it_names_it_once_more(cluster, state, uninstall):
    cluster.faults.deny("list", "pods")
    for _ in range(2):
        status, _, errors = await ended(await uninstall("--go-on"))
        assert status == 1
        assert "not allowed to list pods" in errors


async def test_what_helm_has_not_installed_is_left_alone(cluster, uninstall):
    """`helm template | kubectl apply` runs the hook's Job at once."""
    cluster.state.add_daemonset(DaemonSet(NAME, labels=LABELS))
    status, output, errors = await ended(await uninstall("--go-on"))
    assert (status, errors) == (0, "")
    assert output.startswith("the DaemonSet default/k8s-ws-proxy wasn't installed by helm, nor by Argo CD")
    assert cluster.state.store.get(DAEMONSETS, "default", NAME)
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


FAILS = Response(503, b'{"kind": "Status", "message": "etcd is away"}')


async def test_while_the_apiserver_fails_it_is_asked_again(cluster, state, uninstall):
    for verb, what in (("delete", "daemonsets.apps"), ("list", "pods")):
        cluster.faults.refuse_request(verb, what, FAILS)
    for name in ("proxy-a", "proxy-b"):
        state.remove_pod("default", name)
    status, output, errors = await ended(await uninstall())
    assert (status, errors) == (0, "")
    assert output.count("etcd is away: asking again\n") == 2
    assert output.endswith("its pods are gone\n")


@pytest.mark.parametrize(("verb", "what"), [("delete", "daemonsets.apps"), ("list", "pods")])
@pytest.mark.parametrize("go_on", [True, False])
async def test_where_it_fails_until_the_time_is_over_that_is_said(cluster, state, uninstall, verb, what, go_on):
    """Where the DaemonSet is there still, nothing has been begun that could be gone on with."""
    cluster.faults.refuse_request(verb, what, FAILS, times=99)
    status, _, errors = await ended(await uninstall("--timeout", "2s", *(["--go-on"] if go_on else [])))
    assert "etcd is away" in errors
    if verb == "delete":
        assert status == 1
        assert state.store.get(DAEMONSETS, "default", NAME)
    else:
        assert status == (0 if go_on else 4)
        assert "whether the pods of the DaemonSet default/k8s-ws-proxy are gone isn't known after 2 s" in errors


async def test_what_was_seen_before_it_failed_is_told(cluster, state, uninstall):
    process = await uninstall("--timeout", "2s")
    while await process.stdout.readline() != b"2 of its pods are still there\n":
        pass
    cluster.faults.refuse_request("list", "pods", FAILS, times=99)
    status, _, errors = await ended(process)
    assert status == 4
    assert "2 pods of the DaemonSet default/k8s-ws-proxy were there when the apiserver last answered" in errors
    assert "proxy-a, proxy-b" in errors


@pytest.mark.parametrize("timeout", ["0s", "soon", "-1s"])
async def test_a_time_that_is_none_is_wrong_usage(uninstall, timeout):
    status, _, errors = await ended(await uninstall(f"--timeout={timeout}"))
    assert status == 2
    assert "no duration" in errors
