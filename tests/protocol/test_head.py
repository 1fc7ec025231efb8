"""How much of a request's head has come, however it is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.http.head import Head

HEAD = b"GET / HTTP/1.1\r\nHost: proxy\r\nX: y\r\n\r\n"


def fed(*parts):
    head = Head()
    for part in parts:
        head.feed(part)
    return head.whole, head.size


@given(st.lists(st.integers(0, len(HEAD) + 5), max_size=8))
def test_wherever_it_is_cut(cuts):
    data = b"\r\n\r\n" + HEAD + b"early data\r\n\r\nand more"
    edges = [0, *sorted(cuts), len(data)]
    assert fed(*(data[start:end] for start, end in itertools.pairwise(edges))) == (True, 4 + len(HEAD))


@given(st.lists(st.integers(0, len(HEAD)), max_size=8))
def test_all_but_its_last_byte(cuts):
    data = HEAD[:-1]
    edges = [0, *sorted(cuts), len(data)]
    assert fed(*(data[start:end] for start, end in itertools.pairwise(edges))) == (False, len(data))


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", (False, 0)),
        (b"\r\n" * 1000, (False, 2000)),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", (False, 20)),
        (b"GET / HTTP/1.1\n\nrest", (True, 16)),
        (b"GET / HTTP/1.1\nHost: x\n\r\nrest", (True, 25)),
        (b"\r\r\r\r", (False, 4)),
    ],
)
def test_line_ends(data, verdict):
    assert fed(data) == verdict
    assert fed(*(bytes((octet,)) for octet in data)) == verdict
