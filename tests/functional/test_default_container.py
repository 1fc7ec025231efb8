"""No container is named, and the pod has several: the one that kubectl would enter."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support import guacd
from support.caller import PIPES, TTY, api_exec, ask, opened, proxy_exec, run, with_query
from support.logs import get_log
from support.pki import Pki

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, Container, Pod
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT

ANNOTATION = "kubectl.kubernetes.io/default-container"
WORD = 'Defaulted container "one" out of: one, two'


def pod(name, named=None):
    containers = tuple(Container(each, ("/bin/sh", "-c", f"echo log of {each}; sleep 600")) for each in ("one", "two"))
    return Pod(name, containers, annotations={ANNOTATION: named} if named else {})


WORLD = dataclasses.replace(
    DEFAULT_WORLD, pods=(*DEFAULT_WORLD.pods, pod("says", "two"), pod("silent"), pod("wrong", "three"))
)
WHICH = ("sh", "-c", "echo here")


@pytest.fixture
async def cluster():
    async with DevCluster(world=WORLD) as running:
        yield running


def entered(cluster):
    """Which containers the apiserver was asked for, by exec, attach and log; None where none was named."""
    asked = [seen.target for seen in cluster.observed.seen if "/pods/" in seen.target and "?" in seen.target]
    return [target.partition("container=")[2].partition("&")[0] or None for target in asked]


def reads(cluster):
    return [seen.target for seen in cluster.observed.seen if seen.target.rpartition("/")[0].endswith("/pods")]


def exec_of(path, name):
    if path == "proxy":
        return proxy_exec(*WHICH, pod=name, container=None, **PIPES)
    return api_exec(*WHICH, pod=name, stdout="true", stderr="true")


@pytest.mark.parametrize("path", ["proxy", "api"])
@pytest.mark.parametrize(
    ("name", "container", "word"), [("says", "two", ""), ("silent", "one", WORD), ("wrong", "one", WORD)]
)
async def test_it_is_entered_and_told(daemon, cluster, path, name, container, word):
    ended = await run(daemon, exec_of(path, name))
    assert ended.exit_code == 0
    assert ended.text(STDOUT) == "here\n"
    assert ended.text(STDERR) == (f"{word}\n" if word else "")
    assert entered(cluster)[-1] == container
    assert (await daemon.event("session opened"))["container"] == container


async def test_on_a_terminal_it_is_told_there(daemon):
    ended = await run(daemon, proxy_exec(*WHICH, pod="silent", container=None, **TTY))
    assert ended.text(STDOUT) == f"{WORD}\r\nhere\r\n"


async def test_without_a_channel_for_it_nothing_is_said(daemon):
    ended = await run(daemon, api_exec(*WHICH, pod="silent", stdout="true"))
    assert (ended.text(STDOUT), ended.text(STDERR)) == ("here\n", "")


async def test_it_is_remembered_for_a_while(daemon, cluster):
    for _ in range(3):
        assert (await run(daemon, exec_of("proxy", "says"))).exit_code == 0
    assert reads(cluster) == ["/api/v1/namespaces/default/pods/says"]
    assert [each for each in entered(cluster) if each is None] == [None], "the refusal is asked for once"


async def test_where_the_pod_has_one_or_it_is_named_nothing_is_asked(daemon, cluster):
    assert (await run(daemon, exec_of("proxy", "web"))).exit_code == 0
    assert (await run(daemon, proxy_exec(*WHICH, pod="says", container="one", **PIPES))).exit_code == 0
    assert reads(cluster) == []


async def test_without_the_right_to_get_pods_the_apiserver_s_refusal_is_told(daemon, cluster):
    cluster.faults.deny("get", "pods")
    answer = await ask(daemon, exec_of("api", "says"))
    assert answer.status == 400
    assert json.loads(answer.body)["message"].startswith("a container name must be specified for pod says")


async def test_attach_and_logs_alike(daemon, cluster):
    answer = await get_log(daemon, "/api/v1/namespaces/default/pods/says/log?tailLines=5")
    assert answer.status == 200
    assert entered(cluster) == [None, "two"]
    async with opened(daemon, with_query("/proxy/attach/default/silent", stdin="false", tty="false")) as ws:
        await ws.until(STDERR, WORD.encode())
    assert entered(cluster) == [None, "two", None, "one"]


async def test_guacd_sees_the_word_on_its_terminal(start, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(**pki.environ(), GUACD_SUBJECTS="guacd")
    tls = pki.servers.client(pki.callers.leaf("guacd"))
    async with guacd.connected(daemon.ports["https"], tls, guacd.request("true", pod="silent", container=None)) as seen:
        await seen.finish()
    assert seen.drawn == f"{WORD}\r\n".encode()
