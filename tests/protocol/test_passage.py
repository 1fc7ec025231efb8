"""Where a body in chunks ends, for who passes it on as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.http.passage import Passage


def chunked(*chunks, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def cut(data, places):
    """``data`` in parts."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def passage(parts):
    passing = Passage()
    for part in parts:
        passing.passed(memoryview(part))
    return passing.complete


@given(
    st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from([b"0\r\n", b"0\r\n\r\n", b"a\r\n0\r\n\r\n"])),
    st.lists(st.integers(0, 10_000)),
    st.integers(1, 5),
)
def test_a_body_that_has_passed_is_complete_with_its_last_byte_and_not_before(chunks, places, short):
    raw = chunked(*chunks)
    assert passage(cut(raw, places))
    assert not passage(cut(raw[:-short], places))


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (b"0\r\n\r\n", True),
        (b"000;a=b\r\n\r\n", True),
        (b"3\r\nabc\r\n0\r\nTrailer: x\r\nMore: y\r\n\r\n", True),
        (b"3\r\nabc\r\n", False),
        (b"3\r\nab0\r\n\r\n", False),
        (b"30\r\n\r\n", False),
        (b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n", True),
        (b"1388\r\n" + b"x" * 5000 + b"0\r\n\r\n", False),
        (b"3\r\n0\r\n\r\n", False),
        (b"20\r\nwhat a container wrote\r\n0\r\n\r\n", False),
        (b"what is no chunk\r\n0\r\n\r\n", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_end_of_what_has_passed(raw, complete, size):
    assert passage([raw[at : at + size] for at in range(0, len(raw), size)]) is complete


@pytest.mark.parametrize("sizes", [[100], [100, 101], [100] * 20 + [7], [1, 2, 3000]])
@pytest.mark.parametrize("part", [999, 4096, 240 * 1024])
def test_many_chunks_alike_or_not(sizes, part):
    raw = chunked(*[b"x" * size for size in sizes * (400_000 // sum(sizes))])
    for data, complete in ((raw, True), (raw[:-1], False), (raw.removesuffix(b"0\r\n\r\n"), False)):
        assert passage([data[at : at + part] for at in range(0, len(data), part)]) is complete


def test_a_chunk_among_many_that_lies_about_its_size_is_seen():
    raw = b"3\r\nabc\r\n" * 100 + b"3\r\nabcd\r\n" + b"3\r\nabc\r\n" * 100 + b"0\r\n\r\n"
    assert not passage([raw])
