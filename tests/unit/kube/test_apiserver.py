"""As whom the apiserver is asked: by the headers that it sees."""

from __future__ import annotations

import dataclasses

import pytest

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, DevCluster, User
from k8s_ws_proxy.kube.access import Access
from k8s_ws_proxy.kube.apiserver import Apiserver
from k8s_ws_proxy.wire.requests.impersonation import Identity

ALICE = Identity("alice@example.com", ("ops", "CN=dev,OU=eng"))
POD = "/api/v1/namespaces/default/pods/shell"


@pytest.fixture
async def cluster():
    alice = User("alice", ALICE.user, DEFAULT_WORLD.user("proxy").grants)
    async with DevCluster(dataclasses.replace(DEFAULT_WORLD, users=(*DEFAULT_WORLD.users, alice))) as running:
        yield running


@pytest.fixture
async def apiserver(cluster, tmp_path):
    access = Access({"KUBECONFIG": str(cluster.write_kubeconfig(tmp_path / "kubeconfig", "admin"))})
    await access.reread()
    return Apiserver(access)


def seen_as(cluster):
    headers = cluster.observed.seen[-1].headers
    return [(name, value) for name, value in headers if name.lower().startswith("impersonate")]


async def ask(apiserver, how):
    match how:
        case "get":
            assert (await apiserver.get(POD))[0] == 200
        case "download":
            stream, _ = await apiserver.download(f"{POD}/log?container=shell")
            block = memoryview(bytearray(64 * 1024))
            while (count := stream.read_into(block)) != 0:
                if count is None:
                    await stream.readable()
            stream.close()
        case "dial":
            (await apiserver.dial(f"{POD}/exec?command=true&stdout=true&container=shell")).stream.close()


@pytest.mark.parametrize("how", ["get", "download", "dial"])
async def test_each_group_has_a_header_and_the_proxy_itself_has_none(cluster, apiserver, how):
    await ask(apiserver, how)
    assert seen_as(cluster) == []
    await ask(apiserver.acting_for(ALICE), how)
    assert [(name.lower(), value) for name, value in seen_as(cluster)] == [
        ("impersonate-user", "alice@example.com"),
        ("impersonate-group", "ops"),
        ("impersonate-group", "CN=dev,OU=eng"),
    ]
    await ask(apiserver, how)
    assert seen_as(cluster) == []
