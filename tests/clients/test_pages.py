"""The pages in a real Chromium, before a real daemon: what a person does, and what they get to see."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support.browser import SHELL, Tab, chromium
from support.daemon import running_daemon
from support.sessions import call, issue, listed

from k8s_ws_proxy.web.browser_pages import BUILT

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A row that says a terminal's size, such as one of this window has.
SIZE = """() => [...document.querySelectorAll('.xterm-rows > div')].some(
  (row) => /^\\d+ \\d+$/.test(row.textContent.trimEnd()) && Number(row.textContent.split(' ')[1]) > 120)"""
AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
CONSOLE = "https://console.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(shared_cluster, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pages")
    kubeconfig = shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, directory, WEB_TERMINAL="true", ALLOWED_ORIGINS=CONSOLE) as running:
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
    return await new_tab()


async def test_the_ticket_is_taken_out_of_the_address_and_the_history(tab):
    told = await tab.open()
    assert tab.page.url == f"{tab.daemon.url}/terminal/"
    assert told["ticket"] not in await tab.page.content()
    assert await tab.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    await tab.page.reload()
    assert "once" in await tab.state("No ticket")


async def test_keys_colours_and_wide_characters(tab):
    await tab.open()
    await tab.type("printf '\\e[38;2;1;2;3mtrue\\e[0m\\e[38;5;208mmany\\e[0m 漢字|👍|é|\\n'\r")
    await tab.shows_row("truemany 漢字|👍|é|")
    style = (
        "(text) => getComputedStyle([...document.querySelectorAll('.xterm-rows span')]"
        ".findLast((each) => each.textContent === text)).color"
    )
    assert await tab.page.evaluate(style, "many") != await tab.page.evaluate(style, "true")
    await tab.type("cat\r")
    await tab.type("abc")
    await tab.press("Backspace")
    await tab.press("Control+d")
    await tab.press("Control+c")
    await tab.shows("^C")
    await tab.type("echo onf")
    await tab.press("ArrowLeft")
    await tab.press("Alt+b")
    await tab.type("echo ")
    await tab.press("Control+e")
    await tab.page.keyboard.insert_text("日本")
    await tab.press("Enter")
    await tab.shows("echo onf日本")
    await tab.type("exit 3\r")
    assert "exit code 3" in await tab.state("Ended")
    assert await tab.page.locator("#leave").is_hidden()


async def test_a_megabyte_that_is_pasted_arrives_by_hash(tab):
    digits = random.Random(1)
    text = "\n".join(f"{digits.getrandbits(256):064x}" for _ in range(16_000))
    await tab.open("sh", "-c", f"stty raw -echo; echo ready; head -c {len(text)} | sha256sum")
    await tab.shows("ready")
    await tab.paste(text)
    await tab.shows(hashlib.sha256(text.replace("\n", "\r").encode()).hexdigest())
    await tab.state("Ended")


async def test_ten_lines_are_pasted_as_one_where_the_shell_asks_for_that(tab):
    await tab.open()
    await tab.type("bind 'set enable-bracketed-paste on'\r")
    await tab.type("echo told\r")
    await tab.shows_row("told")
    await tab.paste("\n".join(f"echo line {number}" for number in range(10)))
    await tab.shows("line 9")
    assert "line 9" not in await tab.rows()
    await tab.press("Enter")
    await tab.shows_row("line 9")


async def test_the_terminal_is_as_large_as_the_window(tab):
    await tab.open()
    await tab.type("while :; do stty size; read -t 0.1; done\r")
    await tab.shows("read -t")
    await tab.page.set_viewport_size({"width": 1200, "height": 700})
    await tab.page.wait_for_function(SIZE)


async def test_what_is_selected_is_copied_and_what_was_is_found(new_tab):
    tab = await new_tab(permissions=["clipboard-read", "clipboard-write"])
    await tab.open()
    await tab.type("seq -f 'number %g' 1 300; echo done\r")
    await tab.shows_row("done")
    await tab.press("Control+Shift+F")
    await tab.type("number 17")
    await expect(tab.page.locator("#found")).to_have_text("1 of 11")
    await tab.press("Enter")
    await expect(tab.page.locator("#found")).to_have_text("2 of 11")
    await tab.press("Escape")
    await tab.press("Control+Shift+C")
    await tab.page.wait_for_function("() => navigator.clipboard.readText().then((text) => text === 'number 17')")


async def test_a_flood_is_ended_by_ctrl_c(tab):
    await tab.open("sh", "-c", "echo begun; yes 0123456789")
    await tab.shows("0123456789")
    await tab.press("Control+c")
    assert "exit code 130" in await tab.state("Ended")
    assert any("^C" in row for row in await tab.rows())


async def test_what_cannot_be_shown_is_left_out_and_the_end_is_not(tab):
    await tab.open("sh", "-c", "yes 0123456789abcdef | head -c 12000000; echo the end; exit 7")
    assert "exit code 7" in await tab.state("Ended")
    await tab.shows("the end")


async def test_who_leaves_the_page_is_hung_up(tab):
    await tab.open("sh", "-c", "echo $$; exec sleep 1000")
    await tab.page.goto("about:blank")
    await tab.daemon.event("session ended", reason="client_left")
    await tab.daemon.event("process hung up")


async def test_who_says_so_ends_it_and_is_shown_the_way_on(tab):
    told = await issue(tab.daemon, command=SHELL)
    await tab.show(told, name="default/shell", recorded="1", replay=f"{CONSOLE}/recordings/1")
    await tab.state("Open")
    assert await tab.page.locator("#facts li").all_inner_texts() == ["default/shell", "● recorded"]
    assert await tab.page.locator("#recording").is_hidden()
    await tab.page.locator("#leave").click()
    assert "You have closed" in await tab.state("Closed")
    assert await tab.page.locator("#recording").get_attribute("href") == f"{CONSOLE}/recordings/1"
    assert await tab.page.locator("#again").is_hidden(), "nobody said where"


async def test_somebody_ends_it_and_says_why(tab):
    told = await tab.open()
    answer = await call(tab.daemon, "DELETE", f"/proxy/sessions/{told['sessionId']}?reason=lunch%20%3Cb%3E")
    assert answer.status == 202
    said = await tab.state("Terminated")
    assert "lunch <b>" in said


async def test_there_is_no_such_pod(tab):
    told = await issue(tab.daemon, pod="nobody", container="nobody")
    await tab.show(told)
    assert "not found" in await tab.state("Pod gone")


async def test_a_ticket_that_was_used_is_refused_and_a_new_session_offered(new_tab):
    first = await new_tab()
    told = await first.open()
    second = await new_tab()
    await second.show(told, back=f"{CONSOLE}/pods?a=1%26b=2")
    await second.state("Ticket refused")
    again = second.page.locator("#again")
    assert await again.get_attribute("href") == f"{CONSOLE}/pods?a=1&b=2"
    assert await again.get_attribute("rel") == "noopener noreferrer"
    assert [("stream" in each and "failed" in each) or "401" in each for each in second.complaints] == [True, True]
    second.complaints = []


async def test_the_server_goes_down_and_is_away(new_tab, shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true", DRAIN_TIMEOUT="0s") as own:
        tab = await new_tab(own)
        late = await new_tab(own)
        await late.page.goto(f"{own.url}/terminal/")
        waiting = await issue(own)
        await tab.open()
        await own.terminate()
        assert "new session can be opened" in await tab.state("Server restarts")
    # What the browser still has of a page asks in vain.
    script = await late.page.locator("script").get_attribute("src")
    files = {
        "/terminal/": (BUILT / "terminal.html").read_text(),
        **{f"/assets/{path.name}": path.read_text() for path in (BUILT / "assets").iterdir()},
    }
    assert script.removeprefix("..") in files

    async def from_cache(route):
        path = urlsplit(route.request.url).path
        if path in files:
            kind = {"js": "text/javascript", "css": "text/css"}.get(path.rpartition(".")[2], "text/html")
            await route.fulfill(body=files[path], content_type=kind)
        else:
            await route.abort()

    await late.page.route("**/*", from_cache)
    await late.page.goto("about:blank")
    await late.show(waiting)
    assert "no answer" in await late.state("Server away")
    late.complaints = []


async def test_two_watch_and_one_of_them_types(new_tab):
    owner, onlooker, peer = [await new_tab() for _ in range(3)]
    told = await owner.open()
    await owner.type("echo shown before\r")
    await owner.shows_row("shown before")
    for tab, mode in ((onlooker, "observe"), (peer, "peer")):
        answer = await call(tab.daemon, "POST", f"/proxy/sessions/{told['sessionId']}/ticket", {"mode": mode})
        assert answer.status == 201, answer
        await tab.show(
            {"sessionId": told["sessionId"], "ticket": json.loads(answer.body)["ticket"]}, "watch", mode=mode
        )
        await tab.state("Open")
        await tab.shows_row("shown before")
    assert [each["mode"] for each in (await listed(owner.daemon))[0]["watchers"]] == ["observe", "peer"]
    await peer.type("echo by the peer\r")
    await onlooker.type("echo by nobody\r")
    for tab in (owner, onlooker, peer):
        await tab.shows_row("by the peer")
    await owner.type("exit\r")
    for tab in (owner, onlooker, peer):
        assert "exit code 0" in await tab.state("Ended")
        assert not any("by nobody" in row for row in await tab.rows())


async def test_a_link_opens_at_a_click(new_tab):
    tab = await new_tab()
    await tab.open()
    await tab.type(f"clear; echo {tab.daemon.url}/watch/\r")
    await tab.shows_row(f"{tab.daemon.url}/watch/")
    async with tab.page.context.expect_page() as opened:
        await tab.click("/watch/")
    page = await opened.value
    await page.locator("#word", has_text="No ticket").wait_for()
    assert await page.evaluate("[window.opener, document.referrer]") == [None, ""]


async def test_it_works_by_keys_alone_and_names_what_it_has(tab):
    await tab.open()
    await tab.press("Control+Shift+L")
    await expect(tab.page.locator("#find")).to_be_focused()
    await tab.press("Tab")
    await tab.press("Enter")
    assert await tab.page.locator("#reader").get_attribute("aria-pressed") == "true"
    await tab.type("echo said aloud\r")
    await expect(tab.page.locator(".xterm-accessibility-tree")).to_contain_text("said aloud")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_stands_in_the_way_of_who_cannot_see_it_well(new_tab, scheme):
    """axe-core finds nothing (WCAG 2.2 A and AA, and what it calls best practice)."""
    tab = await new_tab(color_scheme=scheme)
    await tab.open()
    await tab.type("printf '\\e[31mred \\e[32mgreen \\e[33myellow \\e[34mblue \\e[90mgrey\\e[0m\\n'\r")
    await tab.shows("red green yellow blue grey")
    await tab.press("Control+Shift+F")
    assert await findings(tab) == []
    await tab.press("Escape")
    await tab.type("exit\r")
    await tab.state("Ended")
    assert await findings(tab) == []


async def test_a_telephone_has_the_keys_that_it_lacks(new_tab):
    tab = await new_tab(has_touch=True, is_mobile=True)
    await tab.page.set_viewport_size({"width": 390, "height": 700})
    await tab.open("cat", "-v")
    for key in ("Esc", "Tab", "Up", "Ctrl"):
        await tab.page.get_by_role("button", name=key, exact=True).tap()
    await tab.type("a")
    await tab.shows("^[\t^[[A^A".expandtabs(8))
    assert await findings(tab) == []


async def findings(tab):
    """What axe-core finds, in short."""
    await tab.page.evaluate(AXE.read_text("utf-8"))
    found = await tab.page.evaluate("axe.run()")
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]]


async def test_a_mouse_far_to_the_right_is_told_in_bytes(new_tab):
    """X10's report of a column over 95 is no UTF-8."""
    tab = await new_tab()
    await tab.page.set_viewport_size({"width": 1400, "height": 400})
    await tab.open(
        "sh", "-c", "stty raw -echo; printf '\\033[?1000hready'; head -c 6 | od -An -tx1; printf '\\033[?1000l'"
    )
    await tab.shows("ready")
    box = await tab.page.locator(".xterm-screen").bounding_box()
    await tab.page.mouse.click(box["x"] + box["width"] - 20, box["y"] + 8)
    await tab.state("Ended")
    (row,) = [row for row in await tab.rows() if "1b 5b 4d" in row]
    column = int(row.split("1b 5b 4d 20 ")[1].split()[0], 16)
    assert column > 0x7F
