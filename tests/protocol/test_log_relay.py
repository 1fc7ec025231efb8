"""A log's relay, script by script: lines or a body out, and every way it ends."""

from __future__ import annotations

import json
from functools import partial

import pytest
from support.framing import BINARY, CLOSE, PING, PONG, Frame, client, closing
from support.script import Session, close, told

from k8s_ws_proxy.wire.framing.channels import STDERR, failure
from k8s_ws_proxy.wire.http.body import Body
from k8s_ws_proxy.wire.rules.lifetime import Lifetime, Limits
from k8s_ws_proxy.wire.rules.liveness import Health
from k8s_ws_proxy.wire.rules.log_relay import LogRelay, PlainLogRelay
from k8s_ws_proxy.wire.rules.relay import PING_PAYLOAD, Ending, Phase

KEY = b"\x11\x22\x33\x44"
LOST = "The apiserver's connection ended before the log did."


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"


class Room:
    """What all sessions may hold together."""

    def __init__(self, most=1 << 30):
        self.most = most
        self.held = 0

    def hold(self, count):
        self.held += count
        return self.held > self.most


def lines(room=None, **body):
    hold = (room or Room()).hold
    return Session(partial(LogRelay, body=Body(**(body or {"chunked": True})), hold=hold))


def plain(**body):
    return Session(partial(PlainLogRelay, body=Body(**(body or {"chunked": True})), hold=Room().hold))


def body_to(session):
    """What the client was sent since the last time, as it is."""
    taken, session._to_client = session._to_client, b""
    return taken


def test_lines_leave_as_they_become_whole():
    session = lines()
    session.upstream(chunk(b"one\ntw"))
    assert told(session.to_client()) == [(BINARY, b"one\n")]
    session.upstream(chunk(b"o\nthree\nfo"))
    assert told(session.to_client()) == [(BINARY, b"two\n"), (BINARY, b"three\n")]
    assert session.relay.phase is Phase.RELAYING


def test_the_end_is_1000_after_the_line_that_has_none():
    session = lines()
    session.upstream(chunk(b"one\ntw") + END)
    assert told(session.to_client()) == [(BINARY, b"one\n"), (BINARY, b"tw"), close(1000)]
    assert session.relay.ending is Ending.LOG_ENDED


def test_what_is_held_of_a_line_is_told_and_taken_back():
    room = Room()
    session = lines(room)
    session.upstream(chunk(b"one\n" + b"x" * 500))
    assert room.held == 500
    session.upstream(chunk(b"y\n"))
    assert room.held == 0
    session.upstream(chunk(b"z" * 70))
    session.client(closing(1000, key=KEY))
    assert room.held == 0


def test_without_room_a_line_leaves_in_fragments():
    room = Room(most=100)
    session = lines(room)
    session.upstream(chunk(b"x" * 60))
    assert body_to(session) == b""
    session.upstream(chunk(b"x" * 60))
    assert body_to(session) == b"\x02\x78" + b"x" * 120
    assert room.held == 0
    session.do("tick", Health(), Health())
    assert told(session.to_client()) == [(PING, PING_PAYLOAD)]
    session.upstream(chunk(b"end\n"))
    assert body_to(session) == b"\x80\x04end\n"
    session.upstream(chunk(b"x" * 160))
    body_to(session)
    session.do("drain", b"", STDERR, "going down")
    assert body_to(session).startswith(b"\x80\x00"), "the message is ended before the close"


@pytest.mark.parametrize("make", [lines, plain])
def test_a_log_without_bytes_ends_at_once(make):
    session = make(length=0)
    session.do("begin")
    assert session.relay.ending is Ending.LOG_ENDED
    session = make(length=3)
    session.do("begin")
    assert session.relay.phase is Phase.RELAYING


@pytest.mark.parametrize("lost", [False, True])
def test_an_upstream_that_ends_before_the_log_is_1011_after_all_that_came(lost):
    session = lines()
    session.upstream(chunk(b"one\ntw")[:-2])
    session.do("upstream_lost") if lost else session.do("upstream_end")
    assert told(session.to_client()) == [(BINARY, b"one\n"), (BINARY, b"tw"), close(1011, LOST)]
    assert session.relay.ending is Ending.UPSTREAM_LOST


def test_a_body_as_long_as_the_connection_ends_with_it_but_not_with_a_break():
    session = Session(partial(LogRelay, body=Body(), hold=Room().hold))
    session.upstream(b"one\n")
    session.do("upstream_end")
    assert told(session.to_client())[-1] == close(1000)
    session = Session(partial(LogRelay, body=Body(), hold=Room().hold))
    session.upstream(b"one\n")
    session.do("upstream_lost")
    assert told(session.to_client())[-1] == close(1011, LOST)


def test_a_broken_coding_is_1011():
    session = lines()
    session.upstream(chunk(b"one\n") + b"what\r\n")
    assert session.relay.ending is Ending.UPSTREAM_BROKE_PROTOCOL
    opcode, payload = told(session.to_client())[-1]
    assert opcode == CLOSE
    assert int.from_bytes(payload[:2], "big") == 1011
    assert b"chunked coding" in payload


def test_what_the_client_says_means_nothing_and_goes_nowhere():
    session = lines()
    session.client(client(0, b"stdin") + client(4, b"{" * 70_000) + client(255, b"\0") + client(1, b"x" * 200_000))
    assert session.to_upstream() == []
    assert session.to_client() == []
    assert session.relay.phase is Phase.RELAYING
    assert not session.relay.keystroke


def test_pings_are_answered():
    session = lines()
    session.client(Frame(PING, b"hello", key=KEY).encode())
    assert told(session.to_client()) == [(PONG, b"hello")]


def test_a_close_is_echoed_and_upstream_is_told_nothing():
    session = lines()
    session.upstream(chunk(b"half"))
    session.client(closing(1000, key=KEY))
    assert told(session.to_client()) == [close(1000)]
    assert session.to_upstream() == []
    assert (session.relay.ending, session.relay.close_code) == (Ending.CLIENT_LEFT, 1000)


def test_a_violation():
    session = lines()
    session.client(Frame(BINARY, b"unmasked").encode())
    assert session.relay.ending is Ending.CLIENT_BROKE_PROTOCOL
    assert told(session.to_client())[-1][1][:2] == (1002).to_bytes(2, "big")


def test_a_quiet_client_is_pinged_and_upstream_never_is():
    session = lines()
    session.tick()
    assert told(session.to_client()) == [(PING, PING_PAYLOAD)]
    session.client(Frame(PONG, PING_PAYLOAD, key=KEY).encode())
    for _ in range(3):
        session.tick()
        session.client(Frame(PONG, PING_PAYLOAD, key=KEY).encode())
    assert session.to_upstream() == []
    session.tick()
    session.tick()
    assert session.relay.ending is Ending.CLIENT_SILENT
    assert told(session.to_client())[-1] == close(1001, "no answer to a ping")


def test_a_failure_before_the_log_is_on_channel_3_and_1011():
    session = lines()
    session.do("fail", failure('pods "x" not found', reason="NotFound", code=404), 'pods "x" not found')
    (opcode, payload), end = told(session.to_client())
    assert opcode == BINARY
    assert payload[:1] == b"\x03"
    assert json.loads(payload[1:])["code"] == 404
    assert end == close(1011, 'pods "x" not found')


def test_the_way_down_is_1001_with_the_reason_and_no_line_of_ours():
    session = lines()
    session.upstream(chunk(b"half a line"))
    session.do("drain", b"a line for a person", STDERR, "going down")
    assert told(session.to_client()) == [(BINARY, b"half a line"), close(1001, "going down")]
    assert session.relay.ending is Ending.DRAINED
    session.do("drain", b"", STDERR, "again")
    assert session.to_client() == []


@pytest.mark.parametrize("make", [lines, plain])
def test_a_limit_ends_it_without_a_line_of_ours(make):
    session = make()
    session.relay.limit(Lifetime(Limits(duration=100.0), 0.0), STDERR)
    session.do("look_at_age", 60.0)
    assert body_to(session) == b""
    session.do("look_at_age", 120.0)
    assert session.relay.ending is Ending.MAX_DURATION
    text = "the session has lasted 100 s, as long as one may"
    assert body_to(session) == (Frame(*close(1008, text)).encode() if make is lines else b"")


def test_a_log_that_moves_is_not_idle():
    session = lines()
    session.relay.limit(Lifetime(Limits(idle=100.0), 0.0), STDERR)
    for now in range(0, 500, 40):
        session.upstream(chunk(b"news\n"))
        session.do("look_at_age", float(now))
    assert session.relay.phase is Phase.RELAYING


def test_nothing_is_relayed_after_the_end():
    session = lines()
    session.upstream(chunk(b"one\n") + END + chunk(b"more\n"))
    session.upstream(chunk(b"more\n"))
    session.client(client(0, b"x"))
    session.do("upstream_end")
    session.do("upstream_lost")
    session.do("client_end")
    assert told(session.to_client()) == [(BINARY, b"one\n"), close(1000)]


class TestPlain:
    def test_a_body_in_chunks_passes_as_it_came(self):
        session = plain()
        session.upstream(chunk(b"one\n") + chunk(b"two\nthr")[:-4])
        assert body_to(session) == chunk(b"one\n") + chunk(b"two\nthr")[:-4]
        session.upstream(chunk(b"two\nthr")[-4:] + END)
        assert body_to(session) == chunk(b"two\nthr")[-4:] + END
        assert session.relay.phase is Phase.RELAYING, "a log may say the same"
        session.do("upstream_end")
        assert body_to(session) == b""
        assert (session.relay.ending, session.relay.close_code) == (Ending.LOG_ENDED, None)

    @pytest.mark.parametrize("event", ["upstream_lost", "client_end"])
    def test_after_the_last_chunk_it_does_not_matter_who_closes_first_and_how(self, event):
        session = plain()
        session.upstream(chunk(b"one\n") + END)
        session.do(event)
        assert session.relay.ending is Ending.LOG_ENDED

    def test_a_log_that_looks_like_the_end_goes_on(self):
        session = plain()
        raw = chunk(b"one\r\n0\r\n\r\n" + b"two\n")
        at = raw.index(b"two")
        session.upstream(raw[:at], raw[at:])
        assert body_to(session) == raw
        assert session.relay.phase is Phase.RELAYING

    def test_another_body_gets_chunks(self):
        session = plain(length=9)
        session.upstream(b"one\n", b"two\n")
        assert body_to(session) == chunk(b"one\n") + chunk(b"two\n")
        session.upstream(b"!more")
        assert body_to(session) == chunk(b"!") + END
        assert session.relay.ending is Ending.LOG_ENDED

    @pytest.mark.parametrize(
        ("event", "ending"),
        [
            (lambda session: session.do("upstream_end"), Ending.UPSTREAM_LOST),
            (lambda session: session.do("upstream_lost"), Ending.UPSTREAM_LOST),
            (lambda session: session.do("client_end"), Ending.CLIENT_LEFT),
            (lambda session: session.do("drain", b"x", STDERR, "going down"), Ending.DRAINED),
            (lambda session: session.tick(Health(unanswered=True)), Ending.CLIENT_SILENT),
        ],
    )
    def test_every_other_end_leaves_the_body_without_one(self, event, ending):
        session = plain()
        session.upstream(chunk(b"one\n"))
        body_to(session)
        event(session)
        assert body_to(session) == b""
        assert session.relay.ending is ending

    def test_what_the_client_still_says_is_not_looked_at(self):
        session = plain()
        session.client(b"GET / HTTP/1.1\r\n\r\n")
        session.tick()
        assert body_to(session) == b""
        assert session.relay.phase is Phase.RELAYING
