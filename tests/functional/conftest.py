"""An embedded cluster in the test's own event loop, and the daemon before it as a process of its own."""

from __future__ import annotations

import contextlib

import pytest
import pytest_asyncio
from support.caller import HANG_UP, Lines
from support.daemon import running_daemon

from k8s_ws_proxy.devcluster import DevCluster


@pytest.fixture
async def cluster():
    async with DevCluster() as running:
        yield running


@pytest.fixture
def kubeconfig(cluster, tmp_path):
    return cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")


@pytest.fixture
async def start(request, kubeconfig, tmp_path):
    """Starts daemons with the environment that is given; they are gone after the test."""
    usual = {"READY_CONNECTIONS": "0"} if request.node.get_closest_marker("none_ready") else {}
    async with contextlib.AsyncExitStack() as stack:

        async def start_(**environ):
            return await stack.enter_async_context(running_daemon(kubeconfig, tmp_path, **{**usual, **environ}))

        yield start_


@pytest.fixture
async def daemon(start):
    return await start()


@pytest.fixture
def lines(daemon):
    """What the daemon logs during the test."""
    return Lines(daemon)


@pytest_asyncio.fixture(loop_scope="module")
async def shared_lines(shared_daemon):
    """What the module's daemon logs during the test."""
    return await Lines.begin(shared_daemon)


@pytest.fixture
def dials(cluster):
    """The targets of the sessions that the daemon has asked the cluster for during the test."""
    before = len(cluster.observed.seen)
    return lambda: [
        seen.target
        for seen in cluster.observed.seen[before:]
        if seen.target != "/version" and HANG_UP not in seen.target
    ]


@pytest.fixture
def asked(cluster):
    """How many execs of its own the daemon has had during the test, to hang up or to look."""
    before = len(cluster.observed.seen)
    return lambda: sum(HANG_UP in seen.target for seen in cluster.observed.seen[before:])
