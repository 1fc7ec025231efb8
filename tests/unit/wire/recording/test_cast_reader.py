"""Asciicast as it is read: both versions, whatever the parts that it comes in, and what is refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing.channels import STDERR, STDIN, STDOUT
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading, comment
from k8s_ws_proxy.wire.recording.cast_reader import MAX_LINE, CastReader, Event, NotACast

V3 = b'{"version": 3, "term": {"cols": 80, "rows": 24}}\n'
V2 = b'{"version": 2, "width": 80, "height": 24}\n'
HEADING = Heading("apps/web-0/app", 1_700_000_000, ("sh", "-c", "ls -l"), ("exec",))


def read(data, size=1 << 20):
    reader, events = CastReader(), []
    for offset in range(0, len(data), size):
        events += reader.feed(data[offset : offset + size])
    return reader, events + reader.end()


def test_what_the_recorder_writes():
    cast = Cast(HEADING)
    written = cast.resized(0, 132, 43) + cast.data(0.5, STDOUT, "é".encode()) + cast.data(0.75, STDERR, b"\xff")
    written += cast.data(1, STDIN, b"q") + cast.resized(2, 100, 30) + cast.exited(2.25, 7) + comment("the end")
    reader, events = read(written)
    header = reader.header
    assert (header.version, header.columns, header.rows, header.timestamp) == (3, 132, 43, 1_700_000_000)
    assert (header.title, header.command, header.tags) == ("apps/web-0/app", "sh -c 'ls -l'", ("exec",))
    assert events == [
        Event(0.5, "o", "é"),
        Event(0.75, "o", "\ufffd"),
        Event(1, "i", "q"),
        Event(2, "r", "100x30"),
        Event(2.25, "x", "7"),
    ]
    assert events[3].size == (100, 30)
    assert (reader.comments, reader.torn) == (["the end"], False)


def test_times_of_v2_are_since_the_begin():
    _, events = read(V2 + b'[1.5, "o", "a"]\n[1.25, "o", "late"]\n[3, "m", ""]\n')
    assert [event.at for event in events] == [1.5, 1.5, 3]


def test_intervals_are_added_up_without_drift():
    _, events = read(V3 + b'[0.1, "o", "a"]\n' * 10_000)
    assert events[-1].at == 1000


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=30)), max_size=20), st.integers(1, 40))
def test_it_may_come_in_parts_of_any_size(pieces, size):
    cast = Cast(HEADING)
    written = cast.begin() + b"".join(cast.data(at, channel, data) for at, (channel, data) in enumerate(pieces))
    written += cast.rest(len(pieces))
    _, whole = read(written)
    assert read(written, size)[1] == whole


@given(st.integers(1, 1000))
def test_a_file_cut_anywhere_gives_the_events_before_the_cut(cut):
    whole = V3 + b"".join(b'[0.5, "o", "line %d \\u00e9"]\n' % number for number in range(20))
    cut = min(cut, len(whole) - 1)
    if cut < len(V3) - 1:
        with pytest.raises(NotACast, match="no header"):
            read(whole[:cut])
        return
    reader, events = read(whole[:cut])
    _, expected = read(whole)
    assert events == expected[: len(events)]
    at_a_line = whole[:cut].endswith(b"\n") or whole[cut : cut + 1] == b"\n"
    assert reader.torn != at_a_line


def test_a_last_line_without_its_end_counts_when_it_is_whole():
    reader, events = read(V3 + b'[1, "o", "a"]')
    assert (events, reader.torn) == ([Event(1, "o", "a")], False)


def test_comments_and_empty_lines_are_passed_over():
    reader, events = read(V3 + b"# one\n\n#two\n" + b'[1, "o", "a"]\n')
    assert (events, reader.comments) == ([Event(1, "o", "a")], ["one", "two"])


def test_what_a_code_means_is_its_readers_affair():
    assert read(V3 + b'[1, "z", "?"]\n[0, "r", "0x24"]\n')[1][0] == Event(1, "z", "?")
    assert read(V3 + b'[0, "r", "0x24"]\n')[1][0].size is None
    assert read(V3 + b'[0, "o", "80x24"]\n')[1][0].size is None


@pytest.mark.parametrize(
    "line",
    [
        b"[1, 2]",
        b'["1", "o", "a"]',
        b'[true, "o", "a"]',
        b'[-1, "o", "a"]',
        b'[NaN, "o", "a"]',
        b'[Infinity, "o", "a"]',
        b'[1e999, "o", "a"]',
        b'[1e10, "o", "a"]',
        b'[1, "oo", "a"]',
        b'[1, "o", 5]',
        b'[1, "o", "a", 1]',
        b'{"at": 1}',
        b'[1, "o", "\xff"]',
        b"[" * 100_000,
        b"1" * 10_000,
        b'[1, "o", "a"] x',
        b'[1, "o", "half of a character: \\ud800"]',
        b"null",
    ],
)
def test_what_is_no_event_is_refused(line):
    with pytest.raises(NotACast, match="line 3 can't be read"):
        CastReader().feed(V3 + b'[1, "o", "a"]\n' + line + b"\n")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"# a comment",
        b"[]",
        b"null",
        b'{"version": 1, "width": 80, "height": 24}',
        b'{"version": 3}',
        b'{"version": true, "term": {"cols": 80, "rows": 24}}',
        b'{"version": 3, "term": {"cols": 0, "rows": 24}}',
        b'{"version": 3, "term": {"cols": 80, "rows": 1e9}}',
        b'{"version": 3, "term": {"cols": 80, "rows": 10000}}',
        b'{"version": 2, "width": "80", "height": 24}',
        b'{"version": 3, "term": {"cols": 80, "rows": 24}, "title": 5}',
        b'{"version": 3, "term": {"cols": 80, "rows": 24}, "timestamp": "now"}',
        b'{"version": 3, "term": {"cols": 80, "rows": 24}, "tags": "exec"}',
        b"\x1f\x8b gzip",
    ],
)
def test_what_is_no_header_is_refused(header):
    with pytest.raises(NotACast, match="line 1"):
        CastReader().feed(header + b"\n")


def test_v2_has_no_comments():
    with pytest.raises(NotACast):
        CastReader().feed(V2 + b"# not here\n")


def test_times_that_add_up_to_ages_are_refused():
    with pytest.raises(NotACast, match="too far off"):
        CastReader().feed(V3 + b'[1e9, "o", "a"]\n[1e9, "o", "a"]\n')


def test_a_line_without_an_end_is_bounded():
    reader = CastReader()
    reader.feed(V3)
    for _ in range(MAX_LINE // 65536):
        reader.feed(b"x" * 65536)
    with pytest.raises(NotACast, match="more than"):
        reader.feed(b"x")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_cast_or_refused(data):
    for prefix in (b"", V2, V3):
        with contextlib.suppress(NotACast):
            _, events = read(prefix + data)
            assert all(event.at >= 0 and len(event.code) == 1 for event in events)


def test_a_large_line_passes():
    text = "x" * 1_000_000
    assert read(V3 + json.dumps([0, "o", text]).encode() + b"\n", 65536)[1] == [Event(0, "o", text)]
