"""An answer with a long body: its head, its framing, and what isn't HTTP."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import UpstreamProtocolError, UpstreamRefused
from k8s_ws_proxy.wire.http.body import Body, BodyViolation, DownloadExchange
from k8s_ws_proxy.wire.http.handshake import USER_AGENT

STATUS = b'{"kind":"Status","status":"Failure","message":"pods \\"x\\" not found","code":404}'


def chunked(*chunks, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def cut(data, places):
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def content(body, parts):
    return b"".join(map(body.take, parts))


def test_chunks():
    body = Body(chunked=True)
    assert body.take(chunked(b"one\n", b"two\n", b"x" * 5000)) == b"one\ntwo\n" + b"x" * 5000
    assert body.complete
    assert not body.ends_with_connection


@given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(0, 10_000)), st.booleans())
def test_chunks_however_they_are_cut(chunks, places, upper):
    raw = chunked(*chunks)
    if upper:
        raw = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body = Body(chunked=True)
    *parts, last = cut(raw, places)
    before = content(body, parts)
    assert not body.complete
    assert before + body.take(last) == b"".join(chunks)
    assert body.complete


LINES = st.lists(
    st.sampled_from(
        [b"x\n", b"a line\n", b"a longer line of a log\n", b"windows\r\n", b"\r\n", b"line\n\r\n", b"5\r\n12345\r\n"]
    )
)


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"000\r\nTrailer: x\r\n\r\n"])
@given(st.lists(st.sampled_from([b"x\n", b"line\n", b"a longer line\n"]), min_size=1), LINES, st.integers(1, 70_000))
def test_runs_of_small_chunks_with_others_among_them(end, often, seldom, size):
    """Long enough that chunks are walked over many at a time."""
    chunks = (often * 3000)[:3000] + seldom + (often * 3000)[:6000] + [b"y" * 5000] + often * 2
    raw = chunked(*chunks, end=end)
    parts = [raw[at : at + size] for at in range(0, len(raw), size)] if size > 500 else [raw]
    body = Body(chunked=True)
    assert content(body, parts) == b"".join(chunks)
    assert body.complete


def test_chunks_byte_by_byte():
    raw = b"4;a=b\r\none\n\r\n00a \t;\r\n0123456789\r\n000\r\nTrailer: x\r\nMore: y\r\n\r\n"
    body = Body(chunked=True)
    assert content(body, [raw[at : at + 1] for at in range(len(raw))]) == b"one\n0123456789"
    assert body.complete


def test_what_comes_after_the_end_is_none_of_it():
    body = Body(chunked=True)
    assert body.take(chunked(b"a") + b"HTTP/1.1 200 OK\r\n") == b"a"
    assert body.take(b"more") == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+5\r\nabcde\r\n",
        b"0x5\r\nabcde\r\n",
        b"5_0\r\n",
        b" 5\r\nabcde\r\n",
        b"5\nabcde\r\n",
        b"5\r\nabcdeX\r\n",
        b"5\r\nabcde\n",
        b"5\r\nabcde0\r\n\r\n",
        b"1234567890abcdef0\r\n",
        b"5;" + b"x" * 5000 + b"\r\n",
        b"5;" + b"x" * 5000,
        b"0\r\nTrailer: x\n",
        b"0\r\nT: " + b"x" * 5000 + b"\r\n",
    ],
    ids=lambda raw: repr(raw[:20]),
)
@pytest.mark.parametrize("before", [b"", b"3\r\nabc\r\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_coding_that_is_none(raw, before, size):
    body = Body(chunked=True)
    whole = before + raw
    with pytest.raises(BodyViolation):
        content(body, [whole[at : at + size] for at in range(0, len(whole), size)])


@given(st.lists(st.sampled_from([b"5", b"\r\n", b"\n", b"abcde", b"0", b";", b"x", b"\0", b"-"])), st.data())
def test_whatever_comes_h11_and_this_agree_on_the_content(parts, data):
    raw = b"".join(parts)
    body = Body(chunked=True)
    try:
        got = content(body, cut(raw, data.draw(st.lists(st.integers(0, 1000)))))
    except BodyViolation:
        return  # h11 is laxer about line ends and white space
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    other.send(h11.EndOfMessage())
    other.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    expected = b""
    while (event := other.next_event()) not in (h11.NEED_DATA, h11.PAUSED) and not isinstance(event, h11.EndOfMessage):
        expected += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert got == expected
    assert body.complete == isinstance(event, h11.EndOfMessage)


def test_a_length():
    body = Body(length=5)
    assert not body.ends_with_connection
    assert body.take(b"abc") == b"abc"
    assert not body.complete
    assert body.take(b"defgh") == b"de"
    assert body.complete
    assert body.take(b"x") == b""
    assert Body(length=0).complete


def test_as_long_as_the_connection():
    body = Body()
    assert body.ends_with_connection
    assert body.take(b"a\r\n0\r\n\r\n") == b"a\r\n0\r\n\r\n"
    assert not body.complete


def ask():
    return DownloadExchange("/log?a=b", [("Host", "apiserver")])


def test_the_request():
    agent = USER_AGENT.encode()
    assert ask().request == b"GET /log?a=b HTTP/1.1\r\nHost: apiserver\r\nUser-Agent: %b\r\n\r\n" % agent


@pytest.mark.parametrize(
    ("head", "taken", "left", "complete"),
    [
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n", b"abc", True),
        (b"Content-Length: 5", b"abc", b"abc", False),
        (b"Content-Length: 0", b"", b"", True),
        (b"X: y", b"abc", b"abc", False),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_an_answer(head, taken, left, complete, size):
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + head + b"\r\n\r\n"
    exchange, download = ask(), None
    for at in range(0, len(raw), size):
        assert download is None
        download = exchange.receive(raw[at : at + size])
    assert (download.status, download.content_type, download.early) == (200, "text/plain", b"")
    assert download.body.take(taken) == left
    assert download.body.complete is complete


def test_what_came_with_the_head():
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"
    download = ask().receive(raw)
    assert download.early == b"4\r\none\n\r\n"
    assert download.body.take(download.early) == b"one\n"


def test_an_answer_without_content():
    download = ask().receive(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert download.body.complete


def test_a_refusal_is_read_to_its_end():
    exchange = ask()
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(STATUS)
    assert exchange.receive(head + STATUS[:10]) is None
    with pytest.raises(UpstreamRefused, match='pods "x" not found') as refused:
        exchange.receive(STATUS[10:])
    assert (refused.value.status, refused.value.body) == (404, STATUS)


def test_a_refusal_says_when_to_try_again():
    raw = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(UpstreamRefused) as refused:
        ask().receive(raw)
    assert refused.value.retry_after == 7


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_isn_t_an_answer(raw):
    with pytest.raises(UpstreamProtocolError):
        ask().receive(raw)


def test_a_connection_that_ends_in_the_head():
    exchange = ask()
    assert exchange.receive(b"HTTP/1.1 200 OK\r\nContent-") is None
    with pytest.raises(UpstreamProtocolError):
        exchange.receive(b"")
