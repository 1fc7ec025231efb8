"""The pages in a real Chromium, before a real daemon: what a person does, and what they get to see."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support.sessions import ticket_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A row that says a terminal's size, such as one of this window has.
SIZE = """() => [...document.querySelectorAll('.xterm-rows > div')].some(
  (row) => /^\\d+ \\d+$/.test(row.textContent.trimEnd()) && Number(row.textContent.split(' ')[1]) > 120)"""
# Press Ctrl-C once the flood is seen; `interrupted` is how many milliseconds later the page says that it has ended.
INTERRUPT_A_FLOOD = """() => {
  const rows = () => [...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent);
  const at = async (seen) => {
    while (!seen()) await new Promise((resolve) => setTimeout(resolve, 10));
    return performance.now();
  };
  window.interrupted = at(() => rows().some((row) => row.includes('0123456789'))).then((pressed) => {
    const key = { key: 'c', code: 'KeyC', keyCode: 67, ctrlKey: true, bubbles: true, cancelable: true };
    document.querySelector('.xterm-helper-textarea').dispatchEvent(new KeyboardEvent('keydown', key));
    return at(() => document.querySelector('#word').textContent === 'Ended').then((ended) => ended - pressed);
  });
}"""
AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"


@pytest_asyncio.fixture(loop_scope="module")
async def telephone(new_tab):
    tab = await new_tab(has_touch=True, is_mobile=True)
    await tab.page.set_viewport_size({"width": 390, "height": 700})
    return tab


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
    await tab.type("echo begun; cat\r")
    await tab.shows_row("begun")  # else the line would be edited by whichever of shell and terminal has it
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
    """Pressed within the page: what drives it is told of each message, and a key of its waits behind all of them."""
    await tab.open("sh", "-c", "echo begun; read go; yes 0123456789")
    await tab.shows_row("begun")
    await tab.page.evaluate(INTERRUPT_A_FLOOD)
    await tab.press("Enter")
    assert "exit code 130" in await tab.state("Ended")
    assert any("^C" in row for row in await tab.rows())
    assert await tab.page.evaluate("window.interrupted") >= 0


async def test_ten_thousand_lines_are_kept_behind_the_screen(tab):
    # It waits for a key: one that ends at once is never seen to be open.
    await tab.open("sh", "-c", "read key; seq 1000001 1020000; printf 'the end'; exit 7")
    await tab.type("\r")
    assert "exit code 7" in await tab.state("Ended")
    await tab.shows_row("the end")
    rows = await tab.page.locator(".xterm-rows > div").count()
    oldest = 1_020_001 - (10_000 + rows) + 1
    await tab.page.locator("#find").click()
    await tab.page.locator("#searched").fill(str(oldest + 5))  # the form for it takes a few rows
    await expect(tab.page.locator("#found")).to_have_text("1 of 1")
    await tab.page.locator("#searched").fill(str(oldest - 1))
    await expect(tab.page.locator("#found")).to_have_text("nothing found")


async def test_a_bell_is_seen(tab):
    await tab.open()
    await tab.page.evaluate(
        """() => {
          window.rung = new Promise((resolve) => new MutationObserver(() => {
            if (document.body.classList.contains('bell')) resolve(true);
          }).observe(document.body, { attributes: true }));
        }"""
    )
    await tab.type("printf '\\a'\r")
    assert await tab.page.evaluate("window.rung")
    await expect(tab.page.locator("body.bell")).to_have_count(0)


async def test_what_is_composed_is_typed_once_it_is_done(tab):
    """Dead keys and input methods: while something is composed the program gets nothing of it."""
    await tab.open()
    keyboard = await tab.page.context.new_cdp_session(tab.page)

    async def compose(*steps, to):
        for step in steps:
            await keyboard.send("Input.imeSetComposition", {"text": step, "selectionStart": 1, "selectionEnd": 1})
        await keyboard.send("Input.insertText", {"text": to})

    await tab.shows("$")  # or the prompt comes in the middle of what is typed
    await tab.type("echo ")
    await compose("\N{ACUTE ACCENT}", to="é")
    await tab.shows("echo é")
    await compose("k", "か", "かん", to="漢")
    await tab.shows("echo é漢")
    await tab.type(".\r")
    await tab.shows_row("é漢.")
    assert "$ echo é漢." in await tab.rows()


async def test_the_usual_keys_paste_and_what_is_pasted_is_in_brackets(new_tab):
    tab = await new_tab(permissions=["clipboard-read", "clipboard-write"])
    await tab.open("sh", "-c", "stty raw -echo; printf '\\033[?2004hready'; head -c 17 | od -An -c")
    await tab.shows("ready")
    await tab.page.evaluate("navigator.clipboard.writeText('one\\ntwo')")
    await tab.press("Control+Shift+V")
    await tab.shows("033   [   2   0   0   ~   o   n   e  \\r   t   w   o 033   [   2")


# What a browser says of Option and L on a German keyboard; without Option on any other system it is Alt.
OPTION_L = """() => {
  const area = document.querySelector('.xterm-helper-textarea');
  const key = { key: '@', code: 'KeyL', altKey: true, bubbles: true, cancelable: true };
  if (!area.dispatchEvent(new KeyboardEvent('keydown', { ...key, keyCode: 76 }))) return;
  area.dispatchEvent(new KeyboardEvent('keypress', { ...key, keyCode: 64, charCode: 64 }));
}"""


async def test_option_types_what_is_on_the_key_on_a_mac(new_tab):
    tab = await new_tab()
    await tab.page.add_init_script("Object.defineProperty(navigator, 'platform', { value: 'MacIntel' })")
    await tab.open("sh", "-c", "stty -echo; echo ready; exec cat -v")
    await tab.shows_row("ready")
    await tab.page.evaluate(OPTION_L)
    await tab.type(".\r")
    await tab.shows_row("@.")


async def test_it_follows_the_system_from_light_to_dark(new_tab):
    tab = await new_tab(color_scheme="light")
    await tab.open()
    colours = """() => ['.xterm-rows', 'body'].map((place) => getComputedStyle(document.querySelector(place)).color)"""
    before = await tab.page.evaluate(colours)
    await tab.page.emulate_media(color_scheme="dark")
    await tab.page.wait_for_function(f"(before) => ({colours})().every((each, at) => each !== before[at])", arg=before)


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


PRESS = """(key) => document.querySelector('.xterm-helper-textarea').dispatchEvent(
  new KeyboardEvent('keydown', { ...key, ctrlKey: true, shiftKey: true, bubbles: true, cancelable: true }))"""


async def test_the_page_s_keys_are_where_the_layout_has_their_letters(tab):
    """On Dvorak's, L is where others have P, and N where they have L. In Russian there is no L at all."""
    await tab.open()
    await tab.page.evaluate(PRESS, {"key": "N", "code": "KeyL", "keyCode": 78})
    await expect(tab.page.locator("#find")).not_to_be_focused()
    for key in ({"key": "L", "code": "KeyP", "keyCode": 76}, {"key": "Д", "code": "KeyL", "keyCode": 76}):
        await tab.page.locator(".xterm-helper-textarea").focus()
        await tab.page.evaluate(PRESS, key)
        await expect(tab.page.locator("#find")).to_be_focused()


async def test_a_telephone_has_the_keys_that_it_lacks(telephone):
    tab = telephone
    await tab.open("cat", "-v")
    for key in ("Esc", "Tab", "Up", "Ctrl"):
        await tab.page.get_by_role("button", name=key, exact=True).tap()
    await tab.type("a")
    await tab.shows("^[\t^[[A^A".expandtabs(8))
    assert await findings(tab) == []


# As iOS has it: what is seen becomes smaller, and the page stays as large as it was.
VIEWPORT = """
  const seen = new EventTarget();
  Object.assign(seen, { height: 700, offsetTop: 0, scale: 1 });
  Object.defineProperty(window, 'visualViewport', { value: seen });
  window.see = (now) => {
    Object.assign(seen, now);
    for (const type of ['resize', 'scroll']) seen.dispatchEvent(new Event(type));
  };
"""


async def test_the_keys_are_above_a_keyboard_that_covers_the_page(telephone):
    await telephone.page.add_init_script(VIEWPORT)
    await telephone.open()
    bar = telephone.page.locator("#bar")

    async def edges():
        box = await bar.bounding_box()
        head = await telephone.page.locator("header").bounding_box()
        return round(head["y"]), round(box["y"] + box["height"])

    assert await edges() == (0, 700)
    await telephone.page.evaluate("see({ height: 400, offsetTop: 120 })")
    assert await edges() == (120, 520)
    await telephone.type("stty size\r")
    await telephone.page.locator(".xterm-rows > div", has_text=re.compile(r"^1\d \d\d\s*$")).wait_for()
    await telephone.page.evaluate("see({ height: 200, offsetTop: 50, scale: 2 })")  # zoomed in
    assert await edges() == (120, 520)
    await telephone.page.evaluate("see({ height: 700, offsetTop: 0, scale: 1 })")
    assert await edges() == (0, 700)
    assert await telephone.page.evaluate("document.body.getAttribute('style')") in ("", None)


async def draw(tab, by):
    """With one finger, so many pixels down (up, if negative), in the middle of the terminal."""
    finger = await tab.page.context.new_cdp_session(tab.page)
    box = await tab.page.locator("#terminal").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - by / 2

    async def touch(kind, *points):
        await finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [*points]})

    await touch("touchStart", {"x": x, "y": y})
    for step in range(1, 11):
        await touch("touchMove", {"x": x, "y": y + by * step / 10})
    await touch("touchEnd")


async def test_a_finger_draws_what_is_above_the_screen(telephone):
    await telephone.open("sh", "-c", "seq 1001 1300; exec cat")
    await telephone.shows_row("1300")
    before = await telephone.rows()
    await draw(telephone, 300)
    await telephone.page.wait_for_function(
        "(first) => Number(document.querySelector('.xterm-rows > div').textContent) < first - 10", arg=int(before[0])
    )
    assert "1300" not in await telephone.rows()
    await draw(telephone, -300)
    await telephone.shows_row("1300")


async def test_a_finger_that_is_put_down_and_taken_away_types_and_selects_nothing(telephone):
    await telephone.open("sh", "-c", "echo a word; exec cat")
    await telephone.shows_row("a word")
    await telephone.page.locator("#find").focus()
    await telephone.page.locator(".xterm-screen").tap(position={"x": 20, "y": 8})
    await expect(telephone.page.locator(".xterm-helper-textarea")).to_be_focused()
    assert await telephone.page.locator(".xterm-selection > div").count() == 0
    await telephone.type("typed")
    await telephone.shows_row("typed")


@pytest.mark.parametrize(
    ("asked", "typed"),
    [
        (r"\033[?1049h", "^[[A"),  # what has no lines above: arrow keys, as xterm.js has it for a wheel
        (r"\033[?1049h\033[?1h", "^[OA"),
        (r"\033[?1000h\033[?1006h", "^[[<64;"),
    ],
    ids=["another screen", "application cursor keys", "a mouse"],
)
async def test_a_finger_is_a_wheel_to_who_wants_to_know_of_one(telephone, asked, typed):
    script = f"stty raw -echo; printf '{asked}ready'; head -c 12 | cat -v; exec cat >/dev/null"
    await telephone.open("sh", "-c", script)
    await telephone.shows("ready")
    await draw(telephone, 200)
    await telephone.shows(typed)


async def test_a_finger_moves_a_terminal_that_is_larger_than_its_place_and_then_what_is_above(new_tab, telephone):
    owner = await new_tab()
    told = await owner.open("sh", "-c", "seq 1001 1300; exec cat")
    await owner.shows_row("1300")
    joining = await ticket_to(owner.daemon, told["sessionId"], "observe")
    await telephone.page.set_viewport_size({"width": 390, "height": 300})
    await telephone.show({"sessionId": told["sessionId"], "ticket": joining["ticket"]}, "watch", mode="observe")
    await telephone.shows_row("1300")
    await draw(telephone, -100)
    await telephone.page.wait_for_function("() => document.querySelector('#terminal').scrollTop > 50")
    for _ in range(4):
        await draw(telephone, 100)
    assert await telephone.page.evaluate("document.querySelector('#terminal').scrollTop") == 0
    assert "1300" not in await telephone.rows()


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
