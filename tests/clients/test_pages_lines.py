"""A command without a terminal, in a real Chromium: the page echoes and edits, and sends a line when it is whole."""

from __future__ import annotations

import pytest
from support.sessions import issue

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNTS = 'while read -r line; do echo "$line: ${#line}"; done; echo end'


async def test_lines_come_one_below_the_other(tab):
    await tab.open("sh", "-c", "printf 'one\\ntwo\\nthree\\n'; cat", tty=False)
    await tab.shows_row("three")
    await tab.shows_rows("one", "two", "three")
    assert await tab.state("Open") == "● Open There is no terminal: what you type goes line by line."


async def test_what_is_typed_is_seen_once_and_goes_when_the_line_is_whole(tab):
    await tab.open("sh", "-c", COUNTS, tty=False)
    await tab.type("abcx")
    await tab.press("Backspace")
    await tab.press("ArrowLeft")
    await tab.type("d")
    await tab.press("Enter")
    await tab.shows_row("abcd: 4")
    await tab.type("wrong")
    await tab.press("Control+u")
    await tab.paste("first\nsecond\n")
    await tab.shows_row("second: 6")
    await tab.paste("日本")
    await tab.press("Backspace")
    await tab.press("Enter")
    await tab.shows_rows("abcd", "abcd: 4", "first", "second", "first: 5", "second: 6", "日", "日: 3")
    await tab.press("Control+d")
    assert (await tab.state("Ended")).startswith("■ Ended")
    await tab.shows_row("end")


async def test_what_would_move_the_cursor_is_left_out_of_what_is_pasted(tab):
    await tab.open("cat", "-v", tty=False)
    await tab.paste("\x1b[31mred\x1b[0m \x9b2Jand\x07 more\n")
    await tab.shows_rows(*["[31mred[0m 2Jand more"] * 2)


async def test_what_a_program_asks_is_not_taken_for_something_typed(tab):
    await tab.open("sh", "-c", r"printf '\033[c\033[6n\033]10;?\007\033P$qm\033\\asked\n'; cat", tty=False)
    await tab.shows_row("asked")
    await tab.type("mine\r")
    await tab.shows_rows("asked", "mine", "mine")


async def test_nothing_is_typed_after_the_end_of_stdin(tab):
    await tab.open("sh", "-c", "cat; echo over; sleep infinity", tty=False)
    await tab.press("Control+d")
    await tab.shows_row("over")
    await tab.type("late\r")
    assert await tab.rows() == ["over"]
    await tab.press("Control+c")
    await tab.state("Closed")


async def test_backspace_rubs_out_what_was_shown(tab):
    await tab.open("cat", tty=False)
    for text in ("\t", "日", "𠮷", "🙂", "e\u0301", "🇩🇪"):
        await tab.paste(f"<{text}")
        for _ in text:
            await tab.press("Backspace")
        await tab.type(">")
        await tab.shows_row("<>")
        await tab.press("Control+u")


async def test_a_click_moves_no_cursor_and_a_paste_has_no_brackets(tab):
    await tab.open("sh", "-c", r"printf '\033[?2004hready\n'; cat", tty=False)
    await tab.shows_row("ready")
    await tab.type("ab")
    box = await tab.page.locator(".xterm-screen").bounding_box()
    await tab.page.keyboard.down("Alt")
    await tab.page.mouse.click(box["x"] + 100, box["y"] + 30)
    await tab.page.keyboard.up("Alt")
    await tab.paste("cd")
    await tab.press("Enter")
    await tab.shows_rows("ready", "abcd", "abcd")


# A network over which nothing comes until go() is called.
HELD = """window.held = new Promise((go) => { window.go = go; });
window.WebSocket = class extends WebSocket {
  addEventListener(name, listener) {
    super.addEventListener(name, (event) => window.held.then(() => listener(event)));
  }
};"""


@pytest.mark.parametrize("tty", [False, True])
async def test_what_is_typed_before_it_is_open_waits_until_it_is_known_how_it_goes(tab, tty):
    told = await issue(tab.daemon, command=["cat"], tty=tty)
    await tab.page.add_init_script(HELD)
    await tab.show(told)
    await tab.state("Connecting")
    await tab.page.locator(".xterm-helper-textarea").focus()
    await tab.type("early\r")
    assert await tab.rows() == []
    await tab.page.evaluate("window.go()")
    await tab.shows_rows("early", "early")
    await tab.type("late\r")
    await tab.shows_rows("early", "early", "late", "late")


async def test_ctrl_d_sends_what_there_is_of_a_line(tab):
    await tab.open("cat", tty=False)
    await tab.type("half")
    await tab.press("Control+d")
    await tab.shows_row("halfhalf")


async def test_ctrl_c_leaves(tab):
    await tab.open("sleep", "infinity", tty=False)
    await tab.press("Control+c")
    await tab.state("Closed")
    assert await tab.rows() == ["^C"]


@pytest.mark.parametrize("tty", [False, True])
async def test_without_stdin_nothing_is_typed(tab, tty):
    await tab.open("sh", "-c", "echo here; sleep infinity", tty=tty, stdin=False)
    await tab.shows_row("here")
    assert await tab.state("Open") == "● Open What you type goes nowhere: no stdin was asked for."
    await tab.type("typed\r")
    assert await tab.rows() == ["here"]
