"""The official Python client's own way to a log, through the proxy: two headers added, nothing else."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from kubernetes import client as api
from support import writers

from k8s_ws_proxy.devcluster import DevCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

BULK = writers.Bulk(10_000_000)
PATH = "/api/v1/namespaces/default/pods/{}/log"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster():
    async with DevCluster(writers.world(BULK.pod("bulk"))) as running:
        yield running


@pytest.fixture
def daemon(shared_daemon):
    return shared_daemon


@pytest.fixture
def read(daemon):
    """``read_namespaced_pod_log`` in a thread."""

    async def read_(pod, **options):
        configuration = api.Configuration(host=daemon.url)

        def ask():
            with api.ApiClient(configuration) as connection:
                for name, value in daemon.headers(PATH.format(pod)).items():
                    connection.set_default_header(name, value)
                return api.CoreV1Api(connection).read_namespaced_pod_log(pod, "default", **options)

        return await asyncio.to_thread(ask)

    return read_


async def test_a_log_followed_to_its_end_and_its_last_lines(read):
    assert await read("four", follow=True) == "one\ntwo\nthree\nfour\n"
    assert await read("four", tail_lines=2) == "three\nfour\n"
    assert await read("four", since_seconds=3600, limit_bytes=6) == "one\ntw"


async def test_ten_megabytes_as_a_stream(read):
    response = await read("bulk", follow=True, _preload_content=False)
    content = await asyncio.to_thread(response.read)
    assert writers.sha256(content) == BULK.sha256


async def test_a_refusal_is_the_clients_own_exception(read):
    with pytest.raises(api.ApiException) as refused:
        await read("nope")
    assert refused.value.status == 404
    assert 'pods \\"nope\\" not found' in refused.value.body
