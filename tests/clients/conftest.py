"""What the official clients are made to carry, which run in threads or processes of their own; and a browser."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from dataclasses import dataclass

import pytest
import pytest_asyncio
from support.browser import CONSOLE, Tab, chromium
from support.daemon import running_daemon


@dataclass(frozen=True)
class Bulk:
    """50 MB in which no two lines are equal: whatever is lost, doubled or swapped changes its hash."""

    script: str
    data: bytes
    sha256: str


@pytest.fixture(scope="session")
def bulk():
    script = "seq 1 7000000 | head -c 50000000"
    data = subprocess.run(["sh", "-c", script], check=True, stdout=subprocess.PIPE).stdout
    assert len(data) == 50_000_000
    return Bulk(script, data, hashlib.sha256(data).hexdigest())


@pytest.fixture(scope="session")
def wait_for_size():
    """A command that says ``ready``, and ends once its terminal is 120 columns wide and 50 rows high.

    It holds SIGWINCH back except while it waits for it, so it can't miss one.
    """
    program = (
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})\n"
        "print('ready', flush=True)\n"
        "while os.get_terminal_size(0) != (120, 50):\n"
        "    signal.sigwait({signal.SIGWINCH})\n"
        "print('resized')\n"
    )
    return [sys.executable, "-c", program]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """One Chromium for a module's tests."""
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def pages_environ():
    """What the daemon that serves the pages is started with."""
    return {"WEB_TERMINAL": "true", "ALLOWED_ORIGINS": CONSOLE}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(shared_cluster, tmp_path_factory, pages_environ):
    """One that serves the pages, for a module's tests, which leave it as it was."""
    directory = tmp_path_factory.mktemp("pages")
    kubeconfig = shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, directory, **pages_environ) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def new_tab(browser, daemon):
    """Makes tabs, each of a browser that knows nothing of the others; what their pages complain of is an error."""
    async with contextlib.AsyncExitStack() as stack:
        tabs = []

        async def make(at=None, **options):
            context = await browser.new_context(viewport={"width": 800, "height": 480}, **options)
            stack.push_async_callback(context.close)
            context.set_default_timeout(60_000)
            tab = Tab(await context.new_page(), at or daemon)
            tabs.append(tab)
            return tab

        yield make
        for tab in tabs:
            assert tab.complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def tab(new_tab):
    """One of them."""
    return await new_tab()
