"""A directory of recordings as daemons leave it, and a daemon that shows it."""

from __future__ import annotations

import contextlib
import shutil

import pytest
import pytest_asyncio
from support.archive import Recordings
from support.daemon import running_daemon

from k8s_ws_proxy.recordings.directory import DAEMONS


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture
def made(root):
    """Nothing is in it but what its daemon keeps there."""
    for path in (*root.glob("[0-9]*"), root / DAEMONS / "one"):
        shutil.rmtree(path, ignore_errors=True)
    return Recordings(root)


@pytest.fixture(scope="module")
def shared_environ(root):
    return {"RECORDING_DIR": str(root), "NODE_NAME": "node-a", "ALLOWED_ORIGINS": "https://console.example"}


@pytest.fixture
def daemon(shared_daemon):
    return shared_daemon


@pytest_asyncio.fixture(loop_scope="module")
async def start(shared_cluster, tmp_path, root):
    async with contextlib.AsyncExitStack() as stack:
        kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")

        async def start_(**environ):
            environ = {"RECORDING_DIR": str(root), **environ}
            return await stack.enter_async_context(running_daemon(kubeconfig, tmp_path, **environ))

        yield start_
