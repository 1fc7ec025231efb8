"""What becomes of a session, as its page says it: who watches, what the server has to say, and each way to the end."""

from __future__ import annotations

import json
import os
import signal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect
from support.browser import CONSOLE, SHELL
from support.daemon import running_daemon
from support.sessions import call, issue, listed, presented, ticket_to

from k8s_ws_proxy.relay.read_budget import BLOCK_SIZE
from k8s_ws_proxy.web.browser_pages import BUILT
from k8s_ws_proxy.wire.rules.aside import MOST_AHEAD

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_who_leaves_the_page_is_hung_up(tab):
    told = await tab.open("sh", "-c", "echo $$; exec sleep 1000")
    await tab.page.goto("about:blank")
    await tab.daemon.event("session ended", session=told["sessionId"], reason="client_left")
    await tab.daemon.event("process hung up", session=told["sessionId"])


async def test_who_leaves_an_open_session_is_asked_and_nobody_else_is(tab):
    """Ctrl-W is a key of the shell's, too, and the browser closes the tab with it."""
    asked = []

    async def stay(dialog):
        asked.append(dialog.type)
        await dialog.dismiss()

    tab.page.on("dialog", stay)
    told = await tab.open()
    await tab.shows("$")
    await tab.type("echo typed\r")  # a browser asks for nobody who has done nothing
    await tab.shows_row("typed")
    await tab.page.evaluate("setTimeout(() => location.reload())")
    while not asked:
        await tab.page.evaluate("new Promise((resolve) => setTimeout(resolve, 10))")
    assert asked == ["beforeunload"]
    await tab.type("echo still here\r")
    await tab.shows_row("still here")
    # Another link is no accident.
    another = await issue(tab.daemon, command=["cat"])
    await tab.show(another)
    await tab.daemon.event("session ended", session=told["sessionId"], reason="client_left")
    await tab.state("Open")
    await tab.press("Control+d")
    await tab.state("Ended")
    await tab.page.goto("about:blank")
    assert asked == ["beforeunload"]


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


# A WebSocket that gets no answer, and fails when it is closed, as the browser's own does then.
UNANSWERED = """window.WebSocket = class extends EventTarget {
  close() {
    setTimeout(() => this.dispatchEvent(Object.assign(new Event('close'), { code: 1006, reason: '' })));
  }
};"""


async def test_who_ends_it_before_it_is_open_has_closed_it_and_keeps_the_ticket(new_tab):
    tab, later = await new_tab(), await new_tab()
    told = await issue(tab.daemon, command=SHELL)
    await tab.page.add_init_script(UNANSWERED)
    await tab.show(told, back=f"{CONSOLE}/pods")
    await tab.state("Connecting")
    await tab.page.locator("#leave").click()
    assert await tab.state("Closed") == "■ Closed You have closed this session."
    await expect(tab.page.locator("#again")).to_be_visible()
    await later.show(told)
    await later.state("Open")


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


async def test_the_container_does_not_run(tab):
    """As between two starts of one that crashes: it was there before, and nothing was lost."""
    told = await issue(tab.daemon, pod="quick", container="quick")
    await tab.show(told)
    assert 'container not found ("quick")' in await tab.state("Pod gone")


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


async def test_a_page_that_fails_says_so_and_ends_its_session(tab):
    told = await issue(tab.daemon, command=SHELL)
    await tab.show(told, back=f"{CONSOLE}/pods")
    await tab.state("Open")
    await tab.page.evaluate("document.getElementById('facts').remove()")
    joining = await ticket_to(tab.daemon, told["sessionId"], "observe")
    async with presented(tab.daemon, joining["path"], joining["ticket"]):  # who looks on stands among the facts
        assert "in this page" in await tab.state("Failed")
    await expect(tab.page.locator("#again")).to_be_visible()
    await tab.daemon.event("session ended", session=told["sessionId"], reason="client_left")
    assert len(tab.complaints) == 1
    tab.complaints = []


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
    facts = owner.page.locator("#facts li")
    await expect(facts).to_have_text(["watched by 2"])
    notice = owner.page.locator("#notice")
    await expect(notice).to_contain_text("may type from now on")
    await peer.type("echo by the peer\r")
    await onlooker.type("echo by nobody\r")
    for tab in (owner, onlooker, peer):
        await tab.shows_row("by the peer")
    assert not any("by nobody" in row for row in await onlooker.rows())
    await onlooker.page.goto("about:blank")
    await expect(facts).to_have_text(["watched by 1"])
    await expect(notice).to_contain_text("has left")
    await owner.type("exit\r")
    for tab in (owner, peer):
        assert "exit code 0" in await tab.state("Ended")
        assert not any("by nobody" in row for row in await tab.rows())


# As printf takes it, and what is in the answers.
QUESTIONS = (
    r"\033[?1004h\033[c\033[>c\033[5n\033[6n\033[?6n\033[4$p\033[?25$p\033]4;1;?\007\033]10;?;?\007\033P$qm\033\\"
    r"\r\nasked\r\n"
)
ANSWERS = [b"[?1;2c", b"[>0;", b"[0n", b"R", b"[4;", b"[?25;", b"]4;1;rgb:", b"]10;rgb:", b"]11;rgb:", b"P1$r", b"[O"]


async def test_what_a_program_asks_the_terminal_its_owner_answers_and_no_peer(new_tab):
    owner, peer = await new_tab(), await new_tab()
    typed = {owner: b"", peer: b""}

    def hear(tab):
        def sent(payload):
            if payload[:1] == b"\0":
                typed[tab] += payload[1:]

        tab.page.on("websocket", lambda ws: ws.on("framesent", sent))

    for tab in typed:
        hear(tab)
    script = f"stty raw -echo; echo ready; head -c 1 >/dev/null; printf '{QUESTIONS}'; exec cat >/dev/null"
    told = await owner.open("sh", "-c", script)
    await owner.shows("ready")
    joining = await ticket_to(peer.daemon, told["sessionId"], "peer")
    await peer.show({"sessionId": told["sessionId"], "ticket": joining["ticket"]}, "watch", mode="peer")
    await peer.state("Open")
    await peer.shows("ready")
    await peer.type(".")
    for tab in (owner, peer):
        await tab.shows("asked")
        await tab.page.evaluate("document.activeElement.blur()")
        await tab.page.locator(".xterm-helper-textarea").focus()
        await tab.type("!")  # after all that was answered
        while b"!" not in typed[tab]:
            await tab.page.evaluate("new Promise((resolve) => setTimeout(resolve, 10))")
    assert [answer for answer in ANSWERS if answer not in typed[owner]] == []
    assert typed[peer] == b".!"


KEEP_NOTICES = """() => {
    const notice = document.getElementById("notice");
    window.notices = notice.textContent;
    new MutationObserver(() => { window.notices += notice.textContent; })
        .observe(notice, { childList: true, characterData: true, subtree: true });
}"""


async def test_time_is_nearly_up_and_then_it_is(new_tab, shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    limits = {"SESSION_IDLE_TIMEOUT": "2s", "SESSION_MAX_DURATION": "5s"}
    async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true", **limits) as own:
        tab = await new_tab(own)
        notice = tab.page.locator("#notice")
        # In a narrow window, too, what is said must not have the shell draw anew: then something would have passed.
        await tab.page.set_viewport_size({"width": 360, "height": 400})
        await tab.open()
        # For a second, on a busy machine too short to be looked for: so what was said is kept.
        await tab.page.evaluate(KEEP_NOTICES)
        assert "nothing has passed" in await tab.state("Time is up")
        assert "unless something does" in await tab.page.evaluate("window.notices")
        assert "".join(await tab.rows()).count("unless") == 1
        await expect(notice).to_be_hidden()
        await tab.open("sh", "-c", "while :; do echo on; sleep 0.2; done")
        await tab.page.evaluate(KEEP_NOTICES)
        assert "as long as one may" in await tab.state("Time is up")
        assert "a session may last" in await tab.page.evaluate("window.notices")


async def test_a_page_that_sleeps_keeps_its_session_and_holds_it_back(new_tab, shared_cluster, tmp_path):
    """The browser answers the pings by itself. What comes meanwhile is shown when the page wakes, all of it."""
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true", WS_PING_PERIOD="1s") as own:
        tab = await new_tab(own)
        # Silent for as long as five pings take; then it says more than the proxy is ahead of a page.
        told = await tab.open("sh", "-c", f"echo ready; read x <{gate}; sleep 5; seq 1 400000; echo awake; exec cat")
        await tab.shows_row("ready")
        page = await tab.page.context.new_cdp_session(tab.page)
        await page.send("Page.setWebLifecycleState", {"state": "frozen"})
        # Whether or not somebody still reads: else a session that was lost would be waited for without an end.
        held = os.open(gate, os.O_RDWR)
        os.write(held, b"\n")
        said = 0
        while said < MOST_AHEAD:
            answer = await call(own, "GET", f"/proxy/sessions/{told['sessionId']}")
            said = json.loads(answer.body)["bytesOut"]
        await call(own, "GET", f"/proxy/sessions/{told['sessionId']}")
        assert said <= MOST_AHEAD + BLOCK_SIZE
        await page.send("Page.setWebLifecycleState", {"state": "active"})
        await tab.shows_row("awake")
        await tab.state("Open")
        os.close(held)


async def test_the_server_is_gone_without_a_word(new_tab, shared_cluster, tmp_path):
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, WEB_TERMINAL="true") as own:
        tab = await new_tab(own)
        await tab.open()
        await own.terminate(signal.SIGKILL)
        assert "hung up" in await tab.state("Connection lost")
