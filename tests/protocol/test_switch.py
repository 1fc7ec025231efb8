"""What is plainly right of an upgrade: as h11 has it, and everything else is h11's."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.http.switch import request_head, switched

ASKED = [("Host", "apiserver:6443"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-Two:  a b \r\nEmpty:\r\n\r\n"


def by_h11():
    connection = h11.Connection(h11.CLIENT)
    sent = [(name.encode(), value.encode()) for name, value in ASKED]
    request = connection.send(h11.Request(method="GET", target="/a?b=c", headers=sent))
    connection.send(h11.EndOfMessage())
    return connection, request


def answered_by_h11(data):
    """The headers of the 101 and what came after it; None where h11 doesn't see a whole one."""
    connection, _ = by_h11()
    try:
        connection.receive_data(data)
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.InformationalResponse) or event.status_code != 101:
        return None
    return list(event.headers), bytes(connection.trailing_data[0])


def test_a_request_is_byte_for_byte_h11_s():
    assert request_head("/a?b=c", ASKED) == by_h11()[1]


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/a b", "X", "1"),
        ("/a\r\nX: 1", "X", "1"),
        ("", "X", "1"),
        ("/ü", "X", "1"),
        ("/a", "X Y", "1"),
        ("/a", "X:", "1"),
        ("/a", "", "1"),
        ("/a", "X", "1\r\nEvil: 2"),
        ("/a", "X", "1\nEvil: 2"),
        ("/a", "X", "1\r"),
        ("/a", "X", "\0"),
        ("/a", "X", " 1"),
        ("/a", "X", "1 "),
        ("/a", "X", "ü"),
        ("/a", "X", "\udc80"),
    ],
)
def test_what_might_be_wrong_with_a_request_is_h11_s_to_judge(path, name, value):
    assert request_head(path, [*ASKED, (name, value)]) is None


def test_the_101():
    assert switched(ANSWER + b"\x81\x00") == (
        [(b"upgrade", b"websocket"), (b"x-two", b"a b"), (b"empty", b"")],
        b"\x81\x00",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ANSWER[:-1],
        ANSWER.replace(b" 101 ", b" 200 "),
        ANSWER.replace(b"1.1", b"1.0"),
        ANSWER.replace(b" a b", b"a\0b"),
        ANSWER.replace(b" a b", b"a\rb"),
        ANSWER.replace(b" a b", b"a\r\n b"),
        ANSWER.replace(b"X-Two", b"X Two"),
        ANSWER.replace(b"Empty:", b"Content-Length: 0"),
        ANSWER.replace(b"Empty:", b"transfer-encoding: chunked"),
        ANSWER.replace(b"a b", b"a" * 8192),
    ],
)
def test_what_might_be_wrong_with_an_answer_is_h11_s_to_judge(data):
    assert switched(data) is None


PIECES = [
    b"HTTP/1.1 101", b" Switching", b" ", b"\t", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"Upgrade", b":", b"websocket",
    b"A: b\r\n", b"A:b \r\n", b"\0", b"\xff", b"Content-Length: 0\r\n", b"\x81\x01x", b"(",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.booleans())
@example(b"Upgrade: websocket\r\n\r\n\x81\x01x", True)
@example(b"\r\nA: b\r\n\r\n", True)
def test_it_never_says_anything_else_than_h11(tail, begun):
    data = (b"HTTP/1.1 101" if begun else b"") + tail
    if (answer := switched(data)) is not None:
        assert answer == answered_by_h11(data)


def test_whoever_answers_doesn_t_decide_how_long_a_match_takes():
    """Where a line of spaces could be matched in many ways, each of them would multiply the time: it didn't end."""
    lines = b"A:" + b" " * 30 + b"\r\n"
    assert switched(b"HTTP/1.1 101 " + b"a " * 500 + b"\r\n" + lines * 150 + b"A: \0\r\n\r\n") is None
