"""Ranges of bytes, as RFC 9110 §14 has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.http.byte_range import OutOfRange, byte_range


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-499", range(500)),  # these four are §14.1.2's
        ("bytes=500-999", range(500, 1000)),
        ("bytes=-500", range(9500, 10000)),
        ("bytes=9500-", range(9500, 10000)),
        ("bytes=0-0", range(1)),
        ("bytes=-1", range(9999, 10000)),
        ("bytes=9999-20000", range(9999, 10000)),
        ("bytes=0-", range(10000)),
        ("bytes=-20000", range(10000)),
        ("bytes=1-99999999999999999999999999", range(1, 10000)),
        ("Bytes=1-2", range(1, 3)),
        ("bytes= 1-2 ", range(1, 3)),
    ],
)
def test_one_range(value, expected):
    assert byte_range(value, 10000) == expected


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6", "bytes=5-4", "bytes=--1", "0-1",
     "bytes=\u0661-2", "bytes=1 - 2", "bytes=" + "9" * 5000 + "-"],
)  # fmt: skip
def test_what_is_passed_over(value):
    assert byte_range(value, 10000) is None


@pytest.mark.parametrize(
    ("value", "size"),
    [("bytes=10000-", 10000), ("bytes=10000-10001", 10000), ("bytes=-0", 10000), ("bytes=0-", 0), ("bytes=0-0", 0)],
)
def test_what_isn_t_there(value, size):
    with pytest.raises(OutOfRange):
        byte_range(value, size)


def test_a_suffix_of_nothing_is_all_of_it():
    assert byte_range("bytes=-5", 0) is None


@given(st.text(max_size=30), st.integers(0, 100))
def test_whatever_is_asked_for_is_within(value, size):
    for prefix in ("", "bytes="):
        try:
            found = byte_range(prefix + value, size)
        except OutOfRange:
            continue
        assert found is None or (0 <= found.start < found.stop <= size)
