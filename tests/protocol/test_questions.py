"""What a terminal is asked is taken out of what is shown of it live, wherever its messages are cut."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.wire.rules.questions import Unasked

SAID = (
    b"a\x1b[6nb\x1b[1;31mc\x1b[>cd\x1b]11;?\x1b\\e\x1b]0;title\x07f\x1bP+q544e\x1b\\g\x1b[?2026$ph\x1b[?1004h\x1b[?25h"
    b"\x05i\x1bPq#0~~\x1b\\j\x1b7k\x1b]8;;https://x.example\x1b\\l\x1b]8;;\x1b\\\xe6\xbc\xa2\r\n"
)
SHOWN = (
    b"ab\x1b[1;31mcde\x1b]0;title\x07fgh\x1b[?25h"
    b"i\x1bPq#0~~\x1b\\j\x1b7k\x1b]8;;https://x.example\x1b\\l\x1b]8;;\x1b\\\xe6\xbc\xa2\r\n"
)


@pytest.mark.parametrize("at", range(len(SAID)))
def test_a_cut_changes_nothing(at):
    unasked = Unasked()
    assert unasked.take(SAID[:at]) + unasked.take(SAID[at:]) == SHOWN


def test_byte_by_byte():
    unasked = Unasked()
    assert b"".join(unasked.take(SAID[at : at + 1]) for at in range(len(SAID))) == SHOWN


@pytest.mark.parametrize("text", [b"a\r\n", b"50% of [c\x07", b"\x1b[2J\x1b[H", b"\x1b(B", b"\xe2\x96\x88"])
def test_what_is_whole_is_shown_at_once(text):
    assert Unasked().take(text) == text


def test_two_that_stand_in_one_another():
    """A terminal acts on ENQ in the middle of a sequence, and goes on with that."""
    assert Unasked().take(b"a\x1b[\x056nb") == b"ab"


def test_no_more_is_held_than_a_question_may_be_long():
    """And all of it comes: a picture, or a clipboard's content."""
    unasked = Unasked()
    begun = b"\x1b]52;c;" + b"QUJD" * 2000
    assert b"".join(unasked.take(begun[at : at + 100]) for at in range(0, len(begun), 100)) == begun
    assert unasked.take(b"\x07x") == b"\x07x"
