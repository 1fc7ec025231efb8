"""Recordings as asciicast v3: lines, times, and bytes that are no UTF-8."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing.channels import STDERR, STDIN, STDOUT
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading, comment

HEADING = Heading("apps/web-0/app", 1_700_000_000, ("sh", "-c", "ls -l"), ("exec",))


def lines(data):
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def test_the_header_stands_before_the_first_event():
    header, event = lines(Cast(HEADING).data(0.25, STDOUT, b"hi\r\n"))
    assert header == {
        "version": 3,
        "term": {"cols": 80, "rows": 24},
        "timestamp": 1_700_000_000,
        "title": "apps/web-0/app",
        "command": "sh -c 'ls -l'",
        "tags": ["exec"],
    }
    assert event == [0.25, "o", "hi\r\n"]


def test_a_header_without_a_command_and_tags_has_none():
    (header,) = lines(Cast(Heading("apps/web-0/app", 1)).begin())
    assert header.keys() == {"version", "term", "timestamp", "title"}


def test_the_first_size_is_the_headers():
    cast = Cast(HEADING)
    (header,) = lines(cast.resized(0.1, 132, 43))
    assert header["term"] == {"cols": 132, "rows": 43}
    assert lines(cast.resized(1.1, 100, 30)) == [[1.1, "r", "100x30"]]


def test_a_size_of_nothing_is_the_usual_one():
    (header,) = lines(Cast(HEADING).resized(0, 0, 0))
    assert header["term"] == {"cols": 80, "rows": 24}


def test_a_size_is_bounded():
    cast = Cast(HEADING)
    assert lines(cast.begin() + cast.resized(0, 65535, 65535))[1] == [0, "r", "9999x9999"]


def test_both_outputs_are_output_in_their_order_and_what_is_typed_is_input():
    cast = Cast(HEADING)
    written = cast.data(0, STDOUT, b"a") + cast.data(0, STDERR, b"b") + cast.data(0, STDIN, b"c")
    assert [event[1:] for event in lines(written)[1:]] == [["o", "a"], ["o", "b"], ["i", "c"]]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_intervals_add_up_to_the_times(times):
    cast, total = Cast(HEADING), 0.0
    for at in sorted(times):
        event = lines(cast.begin() + cast.data(at, STDOUT, b"x"))[-1]
        total += event[0]
        assert total == pytest.approx(at, abs=1e-6 + 1e-9 * at)


def test_a_clock_that_goes_back_gives_no_negative_interval():
    cast = Cast(HEADING)
    cast.data(5, STDOUT, b"x")
    assert lines(cast.data(4, STDOUT, b"y")) == [[0, "o", "y"]]


@given(st.text(max_size=40), st.lists(st.integers(0, 200), max_size=8))
def test_a_character_that_was_cut_is_whole(text, cuts):
    data, cast, shown = text.encode(), Cast(HEADING), ""
    cast.begin()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        shown += "".join(event[2] for event in lines(cast.data(0, STDOUT, data[start:stop])))
    assert (shown, cast.replaced, cast.rest(0)) == (text, 0, b"")


def test_a_character_on_one_stream_survives_what_comes_on_the_other_between():
    cast = Cast(HEADING)
    cast.begin()
    euro = "€".encode()
    written = cast.data(0, STDOUT, euro[:2]) + cast.data(0, STDERR, b"!") + cast.data(0, STDOUT, euro[2:])
    assert [event[2] for event in lines(written)] == ["!", "€"]


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_what_is_no_utf_8_is_replaced_and_counted(parts):
    cast, shown = Cast(HEADING), ""
    cast.begin()
    for part in parts:
        shown += "".join(event[2] for event in lines(cast.data(0, STDOUT, part)))
    shown += "".join(event[2] for event in lines(cast.rest(0)))
    whole = b"".join(parts)
    assert shown == whole.decode("utf-8", "replace")
    assert cast.replaced == shown.count("\ufffd") - whole.count("\ufffd".encode())


def test_what_was_cut_at_the_end_is_told_before_the_exit():
    cast = Cast(HEADING)
    cast.data(0, STDOUT, b"ok \xe2\x82")
    assert lines(cast.exited(1, 3)) == [[1, "o", "\ufffd"], [0, "x", "3"]]
    assert cast.replaced == 1


def test_an_exit_alone_has_its_header():
    header, event = lines(Cast(HEADING).exited(0.5, 0))
    assert (header["version"], event) == (3, [0.5, "x", "0"])


@pytest.mark.parametrize("text", ["interrupted", "two\nlines\r\n and\ttabs", "\u2028"])
def test_a_comment_is_one_line(text):
    line = comment(text)
    assert line.startswith(b"# ")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
