"""The upgrade towards the apiserver: a request out, bytes in, and what they amount to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import cut_at

from k8s_ws_proxy.errors import UpstreamProtocolError, UpstreamRefused
from k8s_ws_proxy.wire.framing.channels import TUNNEL, V4
from k8s_ws_proxy.wire.http.handshake import USER_AGENT, Accepted, Exchange, Upgrade, accept_value

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # both from RFC 6455 §1.3
PATH = "/api/v1/namespaces/default/pods/web/exec?command=sh&stdin=true"


def upgrade(authorization="Bearer token"):
    return Upgrade(PATH, host="apiserver:6443", key=KEY, authorization=authorization)


def switching(*, accept=ACCEPT, upgrade="websocket", connection="Upgrade", more=()):
    lines = ["HTTP/1.1 101 Switching Protocols", f"Upgrade: {upgrade}", f"Connection: {connection}"]
    if accept is not None:
        lines.append(f"Sec-WebSocket-Accept: {accept}")
    return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode()


V5 = "Sec-WebSocket-Protocol: v5.channel.k8s.io"


def answer(status, body, content_type="application/json", more=()):
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def run(data, offsets=(), *, end=False):
    """Accepted, or the error, of an answer cut at ``offsets``; None if it isn't complete."""
    asked = upgrade()
    try:
        for part in cut_at(data, offsets):
            if (result := asked.receive(part)) is not None:
                return result
        return asked.receive(b"") if end else None
    except (UpstreamRefused, UpstreamProtocolError) as error:
        return error


@pytest.mark.parametrize(
    ("offered", "more", "accepted"),
    [
        ([V4], "v4.channel.k8s.io", True),
        ([V4], None, True),
        ([V4], "v5.channel.k8s.io", False),
        ([TUNNEL], TUNNEL, True),
        ([TUNNEL], None, False),
        ([TUNNEL], "v4.channel.k8s.io", False),
    ],
)
def test_a_port_forward_offers_what_its_client_speaks(offered, more, accepted):
    asked = Upgrade(PATH, host="apiserver", key=KEY, authorization=None, subprotocols=offered)
    assert f"Sec-WebSocket-Protocol: {', '.join(offered)}\r\n".encode() in asked.request
    data = switching(more=[f"Sec-WebSocket-Protocol: {more}"] if more else [])
    if accepted:
        assert asked.receive(data) == Accepted(more, b"")
    else:
        with pytest.raises(UpstreamProtocolError):
            asked.receive(data)


def test_accept_is_that_of_rfc_6455():
    assert accept_value(KEY) == ACCEPT


def test_the_request():
    lines = upgrade().request.decode().split("\r\n")
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    assert lines[-2:] == ["", ""]
    assert [line.lower() for line in lines[1:-2]] == [
        "host: apiserver:6443",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        f"sec-websocket-key: {KEY}".lower(),
        "sec-websocket-protocol: v5.channel.k8s.io, v4.channel.k8s.io",
        "authorization: bearer token",
        f"user-agent: {USER_AGENT}",
    ]
    assert KEY in upgrade().request.decode()
    assert b"Bearer token" in upgrade().request


def test_without_a_token_no_authorization_is_sent():
    assert b"uthorization" not in upgrade(None).request


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\0b"])
def test_nothing_in_a_token_makes_a_header_of_its_own(bad):
    with pytest.raises(Exception, match=r"[Ii]llegal"):
        upgrade(bad)


@pytest.mark.parametrize(
    ("data", "subprotocol"),
    [
        (switching(more=[V5]), "v5.channel.k8s.io"),
        (switching(more=["Sec-WebSocket-Protocol: v4.channel.k8s.io"]), "v4.channel.k8s.io"),
        (switching(), None),
        (switching(more=["Sec-WebSocket-Protocol:"]), None),
        (switching(upgrade="WebSocket", connection="keep-alive, upgrade", more=[V5]), "v5.channel.k8s.io"),
        (switching(more=["sec-websocket-protocol:   v5.channel.k8s.io  ", "X-Other: y"]), "v5.channel.k8s.io"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + switching(more=[V5]), "v5.channel.k8s.io"),
    ],
)
def test_accepted(data, subprotocol):
    assert run(data) == Accepted(subprotocol, b"")
    for offset in range(1, len(data)):
        assert run(data, [offset]) == Accepted(subprotocol, b"")
    assert run(data, range(len(data))) == Accepted(subprotocol, b"")


@pytest.mark.parametrize("early", [b"\x82", b"\x82\x01\x01", b"\x82\x01\x01\x88\x02\x03\xe8", b"x" * 30_000])
def test_frames_that_come_with_the_101_are_kept(early):
    head = switching(more=[V5])
    assert run(head + early) == Accepted("v5.channel.k8s.io", early)
    for offset in range(1, len(head)):
        assert run(head + early, [offset]) == Accepted("v5.channel.k8s.io", early)
    # Cut within the frames: what came with the head is early, the rest is the session's.
    assert run(head + early, [len(head)]) == Accepted("v5.channel.k8s.io", b"")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (switching(accept=None), "Sec-WebSocket-Accept"),
        (switching(accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOO="), "Sec-WebSocket-Accept"),
        (switching(accept=ACCEPT.lower()), "Sec-WebSocket-Accept"),
        (switching(more=[f"Sec-WebSocket-Accept: {ACCEPT}"]), "Sec-WebSocket-Accept"),
        (switching(more=["Sec-WebSocket-Extensions: permessage-deflate"]), "extension"),
        (switching(more=["Sec-WebSocket-Protocol: v3.channel.k8s.io"]), "subprotocol"),
        (switching(more=["Sec-WebSocket-Protocol: v4.channel.k8s.io, v5.channel.k8s.io"]), "subprotocol"),
        (switching(more=[V5, V5]), "subprotocol"),
        (switching(upgrade="SPDY/3.1"), "WebSocket"),
        (switching(connection="close"), "WebSocket"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "WebSocket"),
    ],
)
def test_a_101_that_leads_elsewhere(data, why):
    error = run(data)
    assert isinstance(error, UpstreamProtocolError)
    assert why in str(error)
    assert error.status == 502


FORBIDDEN = json.dumps(
    {"kind": "Status", "status": "Failure", "message": 'pods "web" is forbidden', "code": 403}
).encode()


def chunked(body, size=7):
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status", "message", "body"),
    [
        pytest.param(answer(403, FORBIDDEN), 403, 'pods "web" is forbidden', FORBIDDEN, id="Status"),
        pytest.param(
            answer(500, b'container not found ("quick")', "text/plain; charset=utf-8"),
            500,
            'container not found ("quick")',
            b'container not found ("quick")',
            id="text/plain",
        ),
        pytest.param(
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked(FORBIDDEN),
            403,
            'pods "web" is forbidden',
            FORBIDDEN,
            id="chunked",
        ),
        pytest.param(answer(403, b""), 403, "The apiserver answered 403.", b"", id="empty"),
        pytest.param(answer(500, b"<html>", "text/html"), 500, "The apiserver answered 500.", b"<html>", id="html"),
        pytest.param(answer(400, b"{", more=["X: y"]), 400, "The apiserver answered 400.", b"{", id="half a JSON"),
        pytest.param(answer(400, b'{"message":5}'), 400, "The apiserver answered 400.", b'{"message":5}', id="number"),
        pytest.param(answer(400, b'"x"'), 400, "The apiserver answered 400.", b'"x"', id="JSON, no object"),
        pytest.param(answer(200, b"{}"), 200, "The apiserver answered 200.", b"{}", id="200"),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            302,
            "The apiserver answered 302.",
            b"",
            id="redirect",
        ),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, "The apiserver answered 204.", b"", id="no content"),
    ],
)
def test_refused(data, status, message, body):
    for offsets in ([], [len(data) // 2], range(len(data))):
        error = run(data, offsets)
        assert isinstance(error, UpstreamRefused)
        assert (error.status, str(error), error.body) == (status, message, body)
        assert error.detail == f"the apiserver answered {status}"
    assert run(data[:-1]) is None


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), ("30", 30), ("999999", 999999), ("1000000", None), ("-1", None), ("soon", None)]
)
def test_when_to_try_again(value, seconds):
    assert run(answer(429, b"busy", "text/plain", [f"Retry-After: {value}"])).retry_after == seconds
    assert run(answer(429, b"busy", "text/plain", [f"Retry-After: {value}"] * 2)).retry_after is None
    assert run(answer(429, b"busy", "text/plain")).retry_after is None


@pytest.mark.parametrize("length", [0, 5, 30, -1])
def test_an_answer_that_is_cut_off(length):
    error = run(answer(403, b"forbidden")[:length], end=True)
    assert isinstance(error, UpstreamProtocolError)
    assert str(error) == "The apiserver closed the connection before it had answered."


def test_a_refusal_that_lasts_until_the_end_of_the_connection():
    data = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nno route"
    assert run(data) is None
    error = run(data, end=True)
    assert isinstance(error, UpstreamRefused)
    assert str(error) == "no route"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"two\r\nlines\t and \x1b[31mred\x07", "two lines and [31mred"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("é\u2028✓\u202e".encode(), "é ✓"),
        (b"   ", "The apiserver answered 500."),
        (b"x" * 10_000, "x" * 512),
    ],
)
def test_a_refusals_text_is_one_line_for_a_person(body, message):
    assert str(run(answer(500, body, "text/plain"))) == message


@pytest.mark.parametrize("message", ["\ud800", "a\u0000b"])
def test_a_status_message_that_cannot_be_shown_is_told_without_it(message):
    error = run(answer(500, json.dumps({"message": message}).encode()))
    assert isinstance(error, UpstreamRefused)
    str(error).encode()


def test_of_a_huge_body_the_first_64_kib_are_kept():
    error = run(answer(500, b"x" * 10_000_000, "text/plain"), range(0, 10_000_000, 99_991))
    assert isinstance(error, UpstreamRefused)
    assert error.body == b"x" * 65536


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000,
        b"x" * 200_000,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46" + b"\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n\r\n\r\n\r\n\0\0",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_not_http(data):
    error = run(data, range(0, len(data), 4096))
    assert isinstance(error, UpstreamProtocolError)
    assert str(error) == "The apiserver's answer isn't HTTP."
    assert error.detail


@pytest.mark.parametrize("data", [switching(more=[V5]), answer(403, FORBIDDEN)], ids=["101", "403"])
def test_an_end_at_every_byte(data):
    for offset in range(len(data)):
        error = run(data[:offset], end=True)
        assert isinstance(error, UpstreamProtocolError), offset
        assert str(error)


@given(st.lists(st.binary(max_size=100), max_size=6), st.booleans())
def test_any_bytes_give_a_documented_outcome(parts, start_well):
    data = (b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n" if start_well else b"") + b"".join(parts)
    run(data, [10, 40], end=True)


@given(st.data())
def test_an_answer_with_some_bytes_changed_gives_a_documented_outcome(data):
    changed = bytearray(data.draw(st.sampled_from([switching(more=[V5]), answer(403, FORBIDDEN)])))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    run(bytes(changed), end=True)


def test_a_plain_exchange_keeps_as_much_as_it_is_told():
    exchange = Exchange("/readyz", [("Host", "apiserver")], max_body=5)
    assert exchange.request.startswith(b"GET /readyz HTTP/1.1\r\n")
    assert exchange.receive(answer(200, b"0123456789", "text/plain")[:-3]) is None
    assert exchange.receive(b"789") == (200, "text/plain", b"01234")


def test_a_plain_exchange_that_is_answered_with_101():
    exchange = Exchange("/readyz", [("Host", "apiserver")])
    with pytest.raises(UpstreamProtocolError):
        exchange.receive(switching())
