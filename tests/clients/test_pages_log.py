"""A log that was issued, in a real Chromium: lines as they are, and nobody to type to."""

from __future__ import annotations

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support import writers
from support.caller import proxy_exec, run
from support.sessions import issue

from k8s_ws_proxy.devcluster import DevCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster():
    async with DevCluster(writers.world()) as running:
        yield running


async def show(tab, pod):
    told = await issue(tab.daemon, subresource="log", pod=pod, container=pod)
    await tab.show(told)


async def test_lines_come_one_below_the_other_and_go_on(tab):
    await show(tab, "waits")
    assert "logs" in await tab.state("Open")
    await tab.shows_row("one")
    await tab.shows_row("two")
    await tab.type("typed\r")
    ended = await run(tab.daemon, proxy_exec("touch", "end", pod="waits", container="waits", tty="false"))
    assert ended.exit_code == 0
    assert await tab.state("Ended") == "■ Ended There is no more output."
    await tab.shows_row("three")
    assert await tab.rows() == ["one", "two", "three"]


async def test_whatever_its_bytes_are(tab):
    """Channels, where there are some: 0 to 4, 253 to 255."""
    await show(tab, "wild")
    await tab.state("Ended")
    await tab.shows("no newline at the end")
    assert all("Parsing error" in each for each in tab.complaints)  # DEL, of which xterm.js tells the console
    tab.complaints = []


async def test_one_that_there_is_none_of(tab):
    await show(tab, "nobody")
    assert "not found" in await tab.state("Pod gone")
    await expect(tab.page.locator("#bar")).to_be_hidden()


async def test_leaving_it_ends_nothing_and_so_nobody_is_asked(tab):
    asked = []

    async def leave(dialog):
        asked.append(dialog.type)
        await dialog.accept()

    tab.page.on("dialog", leave)
    await show(tab, "silent")
    await tab.state("Open")
    await tab.type("typed")
    await tab.page.goto("about:blank")
    assert asked == []
