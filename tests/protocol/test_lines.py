"""A log's bytes -> one message a line, however they were cut on their way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.http import lines
from k8s_ws_proxy.wire.http.lines import MAX_LINE, Lines


def messages(raw):
    """The messages in ``raw``: complete, binary, unmasked, their fragments put together."""
    found, pos, begun = [], 0, None
    while pos < len(raw):
        head = frames.parse_header(raw, pos, len(raw), masked=False)
        assert head.opcode == (frames.BINARY if begun is None else frames.CONTINUATION)
        payload = raw[pos + head.size : pos + head.size + head.length]
        assert len(payload) == head.length
        pos += head.size + head.length
        begun = (begun or b"") + payload
        if head.fin:
            found.append(begun)
            begun = None
    assert begun is None
    return found


def frames_in(raw):
    count, pos = 0, 0
    while pos < len(raw):
        head = frames.parse_header(raw, pos, len(raw), masked=False)
        pos += head.size + head.length
        count += 1
    return count


def cut(data, *places):
    places = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def taken(parts):
    state = Lines()
    return b"".join([*map(state.take, parts), state.last()])


def reference(data, most=MAX_LINE):
    """The contract in the plainest words."""
    whole = [line + b"\n" for line in data.split(b"\n")]
    whole[-1] = whole[-1][:-1]
    return [line[start : start + most] for line in whole for start in range(0, len(line), most)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n\n",
        b"a",
        b"a\n",
        b"a\nb",
        b"one\ntwo\n",
        b"\r\n\r\r\n\v\f\x1c\x85\n",
        b"\0\n\0\0\n\xff\xfe\xc3\x28\n",
        "é\u2028ü\u2029\n".encode(),
        b"x" * 124 + b"\n" + b"y" * 125 + b"\n" + b"z" * 126 + b"\n",
        b"x" * 65534 + b"\n" + b"y" * 65535 + b"\n" + b"z" * 65536 + b"\n",
        b"x" * 4094 + b"\n" + b"y" * 4095 + b"\n" + b"z" * 4096 + b"\n",
    ],
    ids=repr,
)
def test_each_line_is_a_message_with_its_newline(data):
    assert messages(taken([data])) == reference(data)
    assert messages(
        taken([data[at : at + 1] for at in range(len(data))] if len(data) < 100 else cut(data, 1, 126))
    ) == (reference(data))


@pytest.mark.parametrize("length", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 5 * MAX_LINE, 5 * MAX_LINE + 7])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nafter\n"])
@pytest.mark.parametrize("size", [16_384, 65_536, 300_000, 10 * MAX_LINE])
def test_a_line_over_a_mebibyte_is_split_there_and_not_dropped(length, end, size):
    data = bytes(range(65, 91)) * (length // 26 + 1)
    data = data[:length] + end
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert messages(taken(parts)) == reference(data)


def test_a_line_of_a_mebibyte_is_one_frame_however_it_comes():
    data = b"x" * (MAX_LINE - 1) + b"\n" + b"y\n"
    assert frames_in(taken(cut(data, *range(0, len(data), 30_000)))) == 2


def test_what_is_let_go_of_early_leaves_in_fragments_of_one_message():
    state = Lines()
    assert state.take(b"one\nx" + b"x" * 1000)[-4:] == b"one\n"
    assert state.held == 1001
    first = state.part()
    assert first[0] == frames.BINARY, "no FIN"
    assert (state.held, state.part()) == (0, b"")
    assert state.take(b"y") == b""
    second = state.part()
    assert second[0] == frames.CONTINUATION
    last = state.take(b"z\nnext\n")
    assert last[0] == 0x80 | frames.CONTINUATION
    assert messages(first + second + last) == [b"x" * 1001 + b"yz\n", b"next\n"]


def test_a_message_in_fragments_is_ended_at_the_end_even_if_nothing_is_left():
    state = Lines()
    raw = state.take(b"half") + state.part()
    assert messages(raw + state.last()) == [b"half"]
    assert state.last() == b""


@pytest.mark.parametrize("size", [1, 1000, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1])
def test_a_line_without_an_end_comes_as_it_is(size):
    state = Lines()
    raw = b"".join(state.take(b"x" * min(1000, size - at)) for at in range(0, size, 1000))
    raw += state.last()
    assert b"".join(messages(raw)) == b"x" * size
    assert state.last() == b""


def test_what_is_held_is_bounded():
    state = Lines()
    for _ in range(200):
        state.take(b"x" * 50_000)
        assert state.held < MAX_LINE


@given(st.data())
def test_cuts_make_no_difference(data):
    content = b"".join(data.draw(st.lists(st.sampled_from([b"\n", b"a", b"\r", b"\0", b"word ", b"\xff", b"x" * 130]))))
    places = data.draw(st.lists(st.integers(0, len(content))))
    assert messages(taken(cut(content, *places))) == reference(content)


@given(st.data())
def test_cuts_make_no_difference_to_long_lines_either(data):
    """With the bound so low that everything is long, and some of it let go of early."""
    content = b"".join(data.draw(st.lists(st.sampled_from([b"\n", b"ab", b"cdefg", b"h" * 40]))))
    places = data.draw(st.lists(st.integers(0, len(content))))
    before, lines.MAX_LINE = lines.MAX_LINE, 16
    try:
        state, raw = Lines(), b""
        for part in cut(content, *places):
            raw += state.take(part)
            if data.draw(st.booleans()):
                raw += state.part()
        assert messages(raw + state.last()) == reference(content, 16)
    finally:
        lines.MAX_LINE = before
