"""What somebody who joins late is shown: the end of what a terminal was sent, taken apart and played again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STATUS, STDERR, STDOUT
from k8s_ws_proxy.wire.rules.tail import MOST, Tail, output, restoring, still_shown, switched

HALF = MOST // 2
CLEAR = b"\x1b[m\x1b[H\x1b[2J"


def message(payload, channel=STDOUT):
    return frames.frame(frames.BINARY, bytes((channel,)) + payload)


def tail_of(*said):
    tail = Tail()
    for each in said:
        tail.append(message(each))
    return tail


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_of_a_short_session_it_is_all_byte_for_byte(said):
    said = [each.translate(None, b"\x05\x1b") for each in said]
    assert tail_of(*said).replay() == (b"".join(said), True)


def test_only_output_is_shown():
    messages = [
        message(b"a"),
        frames.frame(frames.PING, b"k8s-ws-proxy"),
        message(b"e", STDERR),
        frames.frame(frames.BINARY, b""),
        message(b"", STDOUT),
        message(b'{"status":"Success"}', STATUS),
        message(b"b" * 200),
        message(b"c" * 70_000),
        frames.frame(frames.CLOSE, frames.close_payload(1000)),
    ]
    assert output(b"".join(messages)) == b"a" + b"b" * 200 + b"c" * 70_000


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=60))
def test_it_is_bounded_and_what_it_holds_is_the_end(sizes):
    tail = Tail()
    sent = b""
    for number, size in enumerate(sizes):
        said = bytes((ord("a") + number % 26,)) * (size - 1) + b"\n"
        sent += said
        tail.append(message(said))
        assert tail.held <= MOST + 9004
    shown, whole = tail.replay()
    if whole:
        assert shown == sent
    else:
        assert sent.endswith(shown.removeprefix(CLEAR))
        assert len(shown) >= min(HALF - 9004, len(sent))


def test_after_ten_thousand_lines_the_last_ones_are_there():
    tail = tail_of(*(b"line %d\r\n" % number for number in range(10_000)), b"$ ")
    shown, whole = tail.replay()
    assert not whole
    assert shown.endswith(b"".join(b"line %d\r\n" % number for number in range(9_000, 10_000)) + b"$ ")


def test_a_block_that_is_larger_than_a_tail_is_shown_in_part():
    tail = tail_of(b"before\r\n")
    tail.append(memoryview(message(b"x" * 99 + b"\n") * 2000))
    shown, whole = tail.replay()
    assert not whole
    assert len(shown) <= MOST + len(CLEAR)
    assert shown.endswith(b"x" * 99 + b"\n")
    tail.append(message(b"$ "))
    assert tail.replay()[0].endswith(b"\n$ ")


def test_it_does_not_begin_in_the_middle_of_a_sequence():
    tail = tail_of(b"\x1b[H" + b"x" * HALF + b"\x1b[38;5;", b"12mred\r\nnext" + b"y" * HALF)
    assert tail.replay() == (CLEAR + b"\r\nnext" + b"y" * HALF, False)


def test_modes_that_were_set_before_it_begins_are_set_again():
    said = b"\x1b[?1049h\x1b[?25l\x1b[?1;2004h\x1b[?7l\x1b[?2026h"
    tail = tail_of(said, *[b"\x1b[5;5H" + b"x" * 993] * 80)
    shown, whole = tail.replay()
    assert not whole
    begin, clear, _ = shown.partition(CLEAR)
    assert clear
    assert begin.startswith(b"\x1b[?1049h"), "the other screen first: what comes then is its"
    assert {*begin.split(b"\x1b[?")[1:]} == {b"1049h", b"25l", b"1h", b"2004h", b"7l"}


def test_a_mode_that_was_taken_back_is_not():
    tail = tail_of(b"\x1b[?1049h\x1b[?25l", *[b"x" * 999] * 80, b"\x1b[?1049l\x1b[?25h", *[b"x" * 999] * 80)
    assert tail.replay()[0].startswith(CLEAR)


@pytest.mark.parametrize("said", [b"\x1b[?99999999999999999999999999999999h", b"\x1b[?;;h", b"\x1b[?1049", b"\x1b[?9h"])
def test_what_is_no_mode_is_left_alone(said):
    assert switched({}, said) == {}
    assert restoring({}) == CLEAR


def test_a_tail_that_was_let_go_still_knows_its_modes():
    tail = tail_of(b"\x1b[?1049hhello")
    tail.forget()
    assert tail.held == 0
    assert tail.replay() == (b"\x1b[?1049h" + CLEAR, False)


def test_the_lines_before_a_progress_bar_are_kept_however_long_it_runs():
    tail = tail_of(b"$ fetch\r\n", b"from \x1b[1mhere\x1b[m\r\n")
    for number in range(20_000):
        tail.append(message(b"\r%7d of 20000\x1b[K" % number))
    shown, _ = tail.replay()
    assert shown.startswith(CLEAR + b"$ fetch\r\nfrom \x1b[1mhere\x1b[m\r\n")
    assert shown.endswith(b"\r  19999 of 20000\x1b[K")
    assert tail.held <= MOST + 1000


@pytest.mark.parametrize("version", [b"\r%4d of 9000", b"\r%4d / 90"], ids=["13 bytes", "10 bytes"])
def test_a_progress_bar_may_be_short_and_every_step_a_message_of_its_own(version):
    tail = tail_of(b"$ fetch\r\n")
    for number in range(9000):
        tail.append(message(version % number))
    shown, whole = tail.replay()
    assert not whole
    assert shown.startswith(CLEAR + b"$ fetch\r\n")


def test_lines_before_it_are_not_kept_where_they_have_scrolled_away_or_the_cursor_moves():
    assert still_shown(b"", message(b"a\r\n"), b"\n" * 200) == b""
    assert still_shown(b"", message(b"a\x1b[Hb"), b"x") == b""
    assert still_shown(b"", message(b"a\r\n"), b"x") == b"a\r\n"
    assert still_shown(b"", message(b"a\r") * 3001, b"x") == b""
    assert still_shown(b"l", message(b"1\r22\r3\r4\r\n"), b"x") == b"22\r3\r4\r\n"
    assert len(still_shown(b"", message(b"a" * 99 + b"\n") * 500, b"x")) <= 8 * 1024


QUESTIONS = [
    b"\x1b[c",
    b"\x1b[>c",
    b"\x1b[0c",
    b"\x1b[6n",
    b"\x1b[?6n",
    b"\x1b[?2026$p",
    b"\x1b[>q",
    b"\x1b[?u",
    b"\x1b[18t",
    b"\x1b[14;2t",
    b"\x1b[x",
    b"\x1b[2$w",
    b"\x1b]11;?\x07",
    b"\x1b]4;1;?\x1b\\",
    b"\x1b]10;?;?\x07",
    b"\x1b]52;c;?\x07",
    b"\x1bP+q544e\x1b\\",
    b"\x1bP$qm\x1b\\",
    b"\x05",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_terminal_is_not_asked_again(question):
    assert tail_of(b"a", question, b"b").replay() == (b"ab", True)


@pytest.mark.parametrize(
    "said",
    [
        b"\x1b[1;31m",
        b"\x1b[2J",
        b"\x1b]0;title\x07",
        b"\x1b]0;why?\x07",
        b"\x1b]52;c;YQ==\x07",
        b"\x1b[?25h",
        b"\x1b[8;24;80t",
        b"\x1b[?6c",  # the Linux console's cursor
        b"\x1b[>4n",  # keys as they were (xterm)
        b"\x1b[u",
    ],
)
def test_what_asks_nothing_is_shown(said):
    assert tail_of(said).replay() == (said, True)
