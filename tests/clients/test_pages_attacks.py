"""What somebody might do to a person who has a terminal in a browser: from a container, another page, or a link."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support.browser import Tab
from support.daemon import running_daemon
from support.sessions import call, issue

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def pages_environ():
    """No page of another origin is let in."""
    return {"WEB_TERMINAL": "true"}


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser):
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(context, daemon):
    return Tab(await context.new_page(), daemon)


def heard(events):
    """What playwright can call: it leaves a mark on it, which a list's own method doesn't take."""

    def hear(event):
        events.append(event)

    return hear


@contextlib.asynccontextmanager
async def foreign_page(markup):
    """The address of a page of another origin."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = markup.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def printed(tab, text, **order):
    """A session whose program prints this, a mark, and goes on."""
    command = ["sh", "-c", 'printf %s "$0" | base64 -d; echo; echo printed; exec cat']
    told = await issue(tab.daemon, command=[*command, base64.b64encode(text.encode()).decode()], **order)
    await tab.show(told)
    await tab.state("Open")
    await tab.shows("printed")
    return told


async def test_output_is_text_whatever_it_says(tab):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)><style>*{display:none}</style>"
    dialogs = []
    tab.page.on("dialog", heard(dialogs))
    await printed(tab, attack)
    assert attack in "".join(await tab.rows())
    assert await tab.page.locator("#terminal script, #terminal img, #terminal style").count() == 0
    assert (dialogs, tab.complaints) == ([], [])


async def test_a_title_and_a_line_of_state_are_the_page_s_own(tab):
    before = "Terminal"
    await printed(
        tab, "\x1b]2;<b>Ended</b>\x07\x1b]0;other\x07\x1b[22t\x1b[1;1H\x1b[3J\x1b[2J\u25a0 Ended  exit code 0"
    )
    assert await tab.page.title() == before
    assert await tab.state("Open") == "● Open Connected."
    assert await tab.page.locator("header :text('exit code')").count() == 0


async def told_of_the_clipboard(tab):
    """What a program hears that asks for it: an answer would be typed, and stand before what is typed then."""
    await printed(tab, "\x1b]52;c;?\x07")
    await tab.type("typed\r")
    await tab.shows("typed")
    return "".join(await tab.rows())


async def test_a_program_does_not_set_the_clipboard(tab):
    await tab.page.goto(f"{tab.daemon.url}/terminal/")
    await tab.page.evaluate("navigator.clipboard.writeText('mine')")
    await printed(tab, f"\x1b]52;c;{base64.b64encode(b'rm -rf /').decode()}\x07")
    assert await tab.page.evaluate("navigator.clipboard.readText()") == "mine"
    assert "bWluZQ" not in await told_of_the_clipboard(tab)


async def test_a_program_sets_it_where_that_is_allowed_and_never_reads_it(context, shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true", WEB_CLIPBOARD="true") as own:
        tab = Tab(await context.new_page(), own)
        await printed(tab, f"\x1b]52;c;{base64.b64encode('grün'.encode()).decode()}\x07")
        await tab.page.wait_for_function("() => navigator.clipboard.readText().then((text) => text === 'grün')")
        assert "Z3LDvG4" not in await told_of_the_clipboard(tab)


async def test_a_link_says_where_it_leads_and_opens_only_when_told(tab, context):
    opened = []
    context.on("page", heard(opened))
    await printed(tab, "\x1b]8;;http://127.0.0.1:9/elsewhere\x07https://bank.example\x1b]8;;\x07")
    await tab.click("bank.example")
    await expect(tab.page.locator("#address")).to_have_text("http://127.0.0.1:9/elsewhere")
    await tab.page.locator("#link button[value=cancel]").click()
    await expect(tab.page.locator("#link")).to_be_hidden()
    assert opened == []
    await tab.click("bank.example")
    async with context.expect_page() as page:
        await tab.page.locator("#link button[value=open]").click()
    assert await (await page.value).evaluate("window.opener") is None


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "file:///etc/passwd"]
)
async def test_a_link_to_anything_but_the_web_is_none(tab, address):
    dialogs = []
    tab.page.on("dialog", heard(dialogs))
    await printed(tab, f"\x1b]8;;{address}\x07a link\x1b]8;;\x07")
    await tab.click("a link")
    await tab.type("typed\r")
    await tab.shows("typed")
    await expect(tab.page.locator("#link")).to_be_hidden()
    assert dialogs == []


@pytest.mark.parametrize(
    "back", ["javascript:alert(1)", "https://evil.example/", "//evil.example/", "http://a@127.0.0.1/"]
)
async def test_a_link_to_the_page_can_name_no_way_out_but_those_the_server_knows(tab, back):
    told = await issue(tab.daemon)
    await tab.show({**told, "ticket": "x" * 43}, back=back, replay=back, name="<b>Your%20password?</b>")
    await tab.state("Ticket refused")
    assert await tab.page.locator("header a:visible").count() == 0
    assert await tab.page.locator("#facts").inner_text() == ""
    assert await tab.page.title() == "Terminal"


async def test_a_link_can_name_no_other_route(tab):
    """An id is a session's or none: it can't lead the ticket to another path or host."""
    for odd in ("../../healthz%3f", "//evil.example/", "01a228a2-c159-7876-8e1f-c7802b22c43a%2f..%2f.."):
        await tab.show({"sessionId": odd, "ticket": "x" * 43})
        assert "incomplete" in await tab.state("Ticket refused")
        await tab.page.goto("about:blank")
    assert tab.complaints == []


async def test_another_page_cannot_have_it_in_a_frame(tab):
    async with foreign_page(f'<iframe src="{tab.daemon.url}/terminal/"></iframe>') as address:
        await tab.page.goto(address)
        await tab.page.wait_for_function("() => document.readyState === 'complete'")
        assert [frame.url for frame in tab.page.frames[1:]] == ["chrome-error://chromewebdata/"]
    assert any("frame-ancestors" in each for each in tab.complaints)


async def test_another_page_cannot_use_a_ticket_and_does_not_use_it_up(tab):
    told = await issue(tab.daemon)
    async with foreign_page("<p>") as address:
        await tab.page.goto(address)
        code = await tab.page.evaluate(
            """([url, ticket]) => new Promise((resolve) => {
              const protocols = ['v5.channel.k8s.io', `base64url.bearer.authorization.k8s.io.${ticket}`];
              new WebSocket(url, protocols).onclose = ({ code }) => resolve(code);
            })""",
            [f"ws://127.0.0.1:{tab.daemon.port}{told['path']}", told["ticket"]],
        )
    assert code == 1006
    await tab.daemon.event("request refused", reason="origin_denied")
    await tab.show(told)
    await tab.state("Open")


async def test_who_opens_the_page_has_no_hand_on_it(tab, context):
    async with foreign_page("<p>") as address:
        await tab.page.goto(address)
        async with context.expect_page() as page:
            await tab.page.evaluate(f"window.theirs = window.open('{tab.daemon.url}/terminal/')")
        opened = await page.value
        await opened.locator("#word", has_text="No ticket").wait_for()
        assert await opened.evaluate("window.opener") is None
        assert await tab.page.evaluate("window.theirs.closed")


async def test_going_back_to_what_has_ended_opens_nothing(tab):
    await printed(tab, "once")
    await tab.page.goto("about:blank")
    await tab.daemon.event("session ended", reason="client_left")
    refused = len([line for line in tab.daemon.log if line.get("event") == "request refused"])
    await tab.page.go_back()
    await tab.state("No ticket")
    assert await tab.rows() == []
    assert len([line for line in tab.daemon.log if line.get("event") == "request refused"]) == refused


async def test_who_ends_it_cannot_write_the_page_s_words(tab):
    told = await printed(tab, "")
    path = f"/proxy/sessions/{told['sessionId']}?reason="
    answer = await call(tab.daemon, "DELETE", path + "x%20%E2%80%AEdrawkcab")  # U+202E turns the writing around
    assert (answer.status, json.loads(answer.body)["reason"]) == (400, "bad_query")
    answer = await call(tab.daemon, "DELETE", path + "%3Cimg%20src%3Dx%3E")
    assert answer.status == 202
    assert "<img src=x>" in await tab.state("Terminated")
    assert await tab.page.locator("header img").count() == 0


async def test_who_may_have_it_in_a_frame_is_told_of_the_end_and_nobody_else(context, shared_cluster, tmp_path):
    """What it is told is how it ended; not the ticket, and nothing of what was shown."""
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    hear = "addEventListener('message', (event) => told.push([event.origin, event.data]))"
    markup = f"<script>window.told = []; {hear}</script>"
    async with foreign_page(markup) as ours, foreign_page(markup) as theirs:
        origin = ours.rstrip("/")
        more = {"WEB_FRAME_ANCESTORS": f"{origin},{theirs.rstrip('/')}", "ALLOWED_ORIGINS": origin}
        async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true", **more) as own:
            told = []
            for address in (ours, theirs):
                tab = Tab(await context.new_page(), own)
                await tab.page.goto(address)
                session = await issue(own, command=["sh", "-c", "echo shown; exit 3"])
                await tab.page.evaluate(
                    "(src) => document.body.append(Object.assign(document.createElement('iframe'), { src }))",
                    f"{own.url}/terminal/#id={session['sessionId']}&ticket={session['ticket']}",
                )
                frame = tab.page.frame_locator("iframe")
                await frame.locator("#word", has_text="Ended").wait_for()
                told.append(await tab.page.evaluate("window.told"))
    end = {"type": "k8s-ws-proxy", "event": "ended", "kind": "command_ended", "exitCode": 3}
    assert told == [[[own.url, end]], []]
