"""What a terminal is shown of a recording: what draws, and nothing that makes it answer, remember or tell."""

from __future__ import annotations

import re

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.recording.harmless import AFTERWARDS, Harmless


def shown(*pieces):
    harmless = Harmless()
    return "".join(map(harmless.pass_on, pieces))


@pytest.mark.parametrize(
    "text",
    [
        "plain text, ünïcödé 漢字 \U0001f600\r\n\ttab\b\x0b\x0c",
        "\x1b[31;1mred\x1b[0m",
        "\x1b[38;2;1;2;3m\x1b[38:5:9m\x1b[4:3m",
        "\x1b[H\x1b[2J\x1b[K\x1b[10;20H\x1b[5A\x1b[3@\x1b[2L\x1b[1P\x1b[4X\x1b[2S\x1b[2T\x1b[1;10r\x1b[3g\x1b[2b",
        "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[4h\x1b[4l\x1b[?25h\x1b[?1049l",
        "\x1b7\x1b8\x1bM\x1bD\x1bE\x1bH\x1b(0lqk\x1b(B\x0e\x0f\x1b#8",
        "\x1b[2 q\x1b[!p\x1b[s\x1b[u",
        "\x1b[1\nm",
    ],
)
def test_what_draws_passes(text):
    expected = text.replace("\x1b[1\nm", "\n\x1b[1m")
    assert shown(text) == expected
    assert shown(*text) == expected, "character by character"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("OSC 52, the clipboard", "\x1b]52;c;ZWNobyBvd25lZA==\x07"),
        ("OSC 52, ended by ST", "\x1b]52;c;ZWNobyBvd25lZA==\x1b\\"),
        ("the title", "\x1b]0;rm -rf\x07"),
        ("a link", "\x1b]8;;http://evil.example\x1b\\"),
        ("colours asked for", "\x1b]11;?\x07"),
        ("a file of iTerm2's", "\x1b]1337;File=name=eA==:eA==\x07"),
        ("DCS", "\x1bP$qm\x1b\\"),
        ("sixels", "\x1bPq#0;2;0;0;0\x1b\\"),
        ("APC, kitty's pictures", "\x1b_Gf=24;AAAA\x1b\\"),
        ("PM", "\x1b^x\x1b\\"),
        ("SOS", "\x1bXx\x1b\\"),
        ("DA", "\x1b[c"),
        ("DA 2", "\x1b[>c"),
        ("DA 3", "\x1b[=c"),
        ("DECID", "\x1bZ"),
        ("DSR", "\x1b[5n\x1b[6n\x1b[?6n\x1b[?996n"),
        ("XTWINOPS", "\x1b[21t\x1b[8;1;1t\x1b[14t"),
        ("DECRQM", "\x1b[?25$p\x1b[4$p"),
        ("DECREQTPARM", "\x1b[x\x1b[1x"),
        ("DECRQCRA", "\x1b[1;1;1;1;1;1*y"),
        ("XTVERSION", "\x1b[>q\x1b[>0q"),
        ("XTSMGRAPHICS", "\x1b[?2;1;0S"),
        ("keyboards", "\x1b[?u\x1b[>1u\x1b[=1;1u\x1b[<u\x1b[>4;2m"),
        ("the mouse", "\x1b[?1000h\x1b[?1002h\x1b[?1003;1006h\x1b[1;1;1;1;1T"),
        ("paste, focus, sizes", "\x1b[?2004h\x1b[?1004h\x1b[?2048h\x1b[?2031h"),
        ("keys of applications", "\x1b[?1h\x1b=\x1b>\x1b[?66h"),
        ("a locked keyboard", "\x1b[2h\x1b[12l\x1b[20h"),
        ("132 columns", "\x1b[?3h\x1b[?40h"),
        ("the printer", "\x1b[5i\x1b[?5i\x1b[4i"),
        ("the scrollback", "\x1b[3J\x1b[03J"),
        ("lights and conformance", '\x1b[1q\x1b[61"p'),
        ("saved modes", "\x1b[?1049s\x1b[?1049r"),
        ("another encoding", "\x1b%@\x1b%G\x1b G"),
        ("ENQ", "\x05"),
        ("NUL, DEL, SUB", "\x00\x7f\x1a\x18"),
        ("the bell", "\x07"),
        ("CSI of eight bits", "\x9bc\x9b6n"),
        ("OSC of eight bits", "\x9d52;c;eA==\x9c"),
        ("DCS of eight bits", "\x90$qm\x9c"),
        ("others of eight bits", "\x80\x9a\x9f x\x9c"),
    ],
    ids=lambda value: value if value.isprintable() else "",
)
def test_what_does_more_is_left_out(what, text):
    assert shown(f"a{text}b") == "ab", what
    assert shown(*f"a{text}b") == "ab", what


def test_of_several_modes_those_stay_that_draw():
    assert shown("\x1b[?1000;25;2004;1049h") == "\x1b[?25;1049h"


def test_a_full_reset_keeps_the_scrollback():
    assert shown("\x1bc") == "\x1b[!p\x1b[H\x1b[2J"


def test_what_cancels_and_what_begins_anew():
    assert shown("\x1b[31\x18m") == "m"
    assert shown("\x1b]52;c;\x1b[31mx") == "\x1b[31mx"
    assert shown("\x1b\x1b[31m") == "\x1b[31m"
    assert shown("\x1b[3\x1b]0;x\x07y") == "y"


def test_a_sequence_without_an_end_is_bounded():
    harmless = Harmless()
    for _ in range(100):
        assert harmless.pass_on("\x1b[" + "1;" * 1000) == ""
        assert len(harmless._held) < 300
    assert harmless.pass_on("mx") == "x"
    assert harmless.pass_on("\x1b]" + "x" * 100_000) == ""
    assert len(harmless._held) < 10


ALLOWED = re.compile(
    r"[^\x00-\x1f\x7f-\x9f]|[\x08-\x0f]"
    r"|\x1b\[[0-9;:]*[@ABCDEFGHIJKLMPSTXZ`abdefgmrsu]|\x1b\[\?[0-2;]*[JK]|\x1b\[(4|\?[0-9;]+)[hl]"
    r"|\x1b\[[0-9;:]* q|\x1b\[[0-9;:]*!p|\x1b[78DEHM]|\x1b[()*+\-./].|\x1b#[34568]",
    re.DOTALL,
)
NASTY = st.text(
    st.sampled_from("\x1b\x1b\x1b[]P_?>=!$ ;:0123456789chlmnqtupJTS\x07\x18\x9b\x9c\x9da\\(#%"), max_size=60
)


@given(NASTY)
def test_nothing_else_gets_through(text):
    left = ALLOWED.sub("", shown(text))
    assert left == ""


@given(NASTY, st.integers(1, 5))
def test_it_doesn_t_matter_where_it_was_cut(text, size):
    assert shown(*(text[at : at + size] for at in range(0, len(text), size))) == shown(text)


@given(NASTY)
def test_what_was_passed_on_passes_again(text):
    once = shown(text)
    assert shown(once) == once


@given(st.text(st.sampled_from("abc \r\n\t"), max_size=200), st.integers(1, 30), st.integers(1, 9))
def test_a_screen_looks_the_same(text, row, colour):
    drawn = f"\x1b[{row};3H\x1b[3{colour % 8}m{text}\x1b[K\x1b[1;1H\x1b[2K"
    screens = [pyte.Screen(80, 24), pyte.Screen(80, 24)]
    for screen, each in zip(screens, (drawn, shown(drawn)), strict=True):
        pyte.Stream(screen).feed(each)
    assert screens[0].display == screens[1].display


def test_what_comes_afterwards_is_harmless_too():
    assert shown(AFTERWARDS) == AFTERWARDS
