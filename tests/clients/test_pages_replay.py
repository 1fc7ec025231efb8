"""The page that plays recordings, in a real Chromium: of a session that was recorded by a real daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support.browser import Tab
from support.sessions import call, issue, presented

from k8s_ws_proxy.wire.framing.channels import RESIZE, STDOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
SCRIPT = (
    "echo 'the first words'; sleep 1; echo '<img src=x onerror=alert(1)>'; echo 'needle one'; sleep 1;"
    " printf '\\033[31mneed\\033[0mle two\\n'; exit 4"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def pages_environ(root):
    return {"WEB_TERMINAL": "true", "RECORDING_DIR": str(root), "NODE_NAME": "node-a"}


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser, daemon):
    context = await browser.new_context(viewport={"width": 1000, "height": 600})
    yield Tab(await context.new_page(), daemon)
    await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(daemon):
    """A session's id, which has ended and has its receipt."""
    told = await issue(daemon, command=["sh", "-c", SCRIPT], record=True, who={"User": "jane"})
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.send(RESIZE, b'{"Width":80,"Height":24}')
        await ws.send(RESIZE, b'{"Width":100,"Height":30}')
        assert (await ws.finish()).exit_code == 4
    await daemon.event("session ended", session=told["sessionId"])
    await daemon.event("recording finished", session=told["sessionId"])
    return told["sessionId"]


async def show(tab, session, **more):
    answer = await call(tab.daemon, "POST", f"/proxy/recordings/{session}/ticket")
    assert answer.status == 201, answer
    told = json.loads(answer.body)
    tab.daemon.confidential.add(told["ticket"])
    await tab.show(told, "replay", **more)


async def shown(tab, text):
    await tab.page.wait_for_function("(text) => document.querySelector('#player').textContent.includes(text)", arg=text)


async def test_it_is_played_and_searched_beside_its_receipt(tab, recorded):
    dialogs = []
    tab.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await show(tab, recorded)
    assert "the receipt was written for" in await tab.state("Loaded")
    assert tab.page.url == f"{tab.daemon.url}/replay/"
    receipt = dict(
        zip(
            await tab.page.locator("#receipt dt").all_inner_texts(),
            await tab.page.locator("#receipt dd").all_inner_texts(),
            strict=True,
        )
    )
    assert receipt["User"] == "jane"
    assert (receipt["Exit code"], receipt["How it ended"]) == ("4", "command_ended")
    assert receipt["Node"] == "node-a"
    await tab.page.locator("#searched").fill("NEEDLE")
    await expect(tab.page.locator("#found")).to_have_text("2 found")
    await tab.page.locator("#forwards").click()
    await shown(tab, "needle one")
    await tab.page.locator("#forwards").click()
    await expect(tab.page.locator("#found")).to_have_text("2 of 2")
    await shown(tab, "needle two")
    await tab.page.locator("#speed").select_option("5")
    await tab.page.locator("#idle").select_option("0")
    await expect(tab.page.locator("#found")).to_have_text("2 found")
    await expect(tab.page.locator("#player .ap-marker")).to_have_count(1)  # where its size changed
    assert await tab.page.locator("#player img, #player script").count() == 0
    assert (dialogs, tab.complaints) == ([], [])


async def test_a_ticket_shows_it_once(tab, recorded):
    await show(tab, recorded)
    await tab.state("Loaded")
    await tab.page.reload()
    await tab.state("No ticket")


# What a browser says where the connection breaks in the middle of a body.
BROKEN_OFF = "Response.prototype.arrayBuffer = () => Promise.reject(new TypeError('network error'));"


async def test_a_download_that_breaks_off_says_so_and_offers_the_way_back(tab, recorded):
    await tab.page.add_init_script(BROKEN_OFF)
    await show(tab, recorded, back=f"{tab.daemon.url}/watch/")
    await tab.state("Broken off")
    await expect(tab.page.locator("#again")).to_be_visible()
    assert tab.complaints == []


async def test_what_is_no_recording_is_not_played(tab, recorded):
    async def other(route):
        await route.fulfill(body="<html>\n", content_type="application/x-asciicast")

    await tab.page.route("**/proxy/recordings/*", other)
    await show(tab, recorded)
    await tab.state("Not readable")
    assert await tab.page.locator("#player > *").count() == 0
    assert tab.complaints == []


async def test_a_page_that_fails_says_so(tab, recorded):
    await tab.page.add_init_script("Response.prototype.arrayBuffer = () => Promise.resolve('no buffer');")
    await show(tab, recorded)
    assert "in this page" in await tab.state("Failed")


async def test_one_whose_session_goes_on_is_shown_as_far_as_it_went(tab):
    told = await issue(tab.daemon, command=["sh", "-c", "echo so far; exec cat"], record=True)
    async with presented(tab.daemon, told["path"], told["ticket"]) as ws:
        await ws.until(STDOUT, b"so far")
        while b"so far" not in (await call(tab.daemon, "GET", f"/proxy/recordings/{told['sessionId']}")).body:
            pass  # it is on its way to the disk
        await show(tab, told["sessionId"])
        assert "goes on" in await tab.state("Loaded")
        await tab.page.locator("#searched").fill("so far")
        await expect(tab.page.locator("#found")).to_have_text("1 found")
        assert await tab.page.locator("#receipt dt").count() == 0


async def test_one_that_was_changed_says_so(tab, recorded, root):
    (file,) = [path for path in root.rglob("*") if recorded in path.name and "cast" in path.name]
    whole = file.read_bytes()
    try:
        file.write_bytes(whole.replace(b"first words", b"other words"))
        await show(tab, recorded)
        assert "not the recording" in await tab.state("Changed")
    finally:
        file.write_bytes(whole)


async def test_who_cannot_see_it_well(tab, recorded):
    await show(tab, recorded)
    await tab.state("Loaded")
    await tab.page.evaluate(AXE.read_text("utf-8"))
    # The player's own controls are asciinema-player's to mend.
    found = await tab.page.evaluate("axe.run({ exclude: [['#player']] })")
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == []
