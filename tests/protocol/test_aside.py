"""A client that says how far it has got: upstream is read no further ahead of it than a bound."""

from __future__ import annotations

import json

import pytest
from support.framing import BINARY, CLOSE, client, closing, join, read_frames, server
from support.script import Session, told

from k8s_ws_proxy.wire.framing.channels import MARK, NOTICE, STDIN, STDOUT
from k8s_ws_proxy.wire.rules.aside import MARK_EVERY, MOST_AHEAD, AsideRelay, streams_told
from k8s_ws_proxy.wire.rules.lifetime import Lifetime, Limits
from k8s_ws_proxy.wire.rules.relay import Ending, Relay

OUTPUT = server(STDOUT, b"x" * (MARK_EVERY // 2))


def marks(session):
    """Those that the client was sent since the last time, as it would send them back."""
    sent = read_frames(join(session.relay.to_client_alone), masked=False)
    session.relay.to_client_alone = []
    assert all(frame.payload[0] == MARK for frame in sent)
    return [client(MARK, frame.payload[1:]) for frame in sent]


def flooded():
    """A session that is behind, and the marks in it."""
    session = Session(AsideRelay)
    seen = []
    while not session.relay.behind:
        session.upstream(OUTPUT)
        seen += marks(session)
    return session, seen


def test_there_is_a_mark_behind_each_so_many_bytes_and_none_before():
    session = Session(AsideRelay)
    assert marks(session.upstream(OUTPUT)) == []
    assert len(marks(session.upstream(OUTPUT))) == 1
    assert marks(session.upstream(OUTPUT)) == []
    assert [frame.payload for frame in session.to_client()] == [b"\x01" + b"x" * (MARK_EVERY // 2)] * 3


def test_it_is_read_no_further_ahead_than_a_bound():
    session, seen = flooded()
    ahead = sum(len(frame.encode()) for frame in session.to_client())
    assert MOST_AHEAD < ahead <= MOST_AHEAD + len(OUTPUT)
    assert len(seen) >= MOST_AHEAD // MARK_EVERY - 1


def test_it_is_read_on_as_soon_as_a_mark_comes_back():
    session, seen = flooded()
    session.client(seen[0])
    assert not session.relay.behind


def test_who_has_sent_all_marks_back_is_never_behind():
    """Else it would wait for a mark that isn't sent."""
    session, seen = flooded()
    session.client(*seen)
    for _ in range(100):
        session.upstream(OUTPUT)
        assert not session.relay.behind
        session.client(*marks(session))


def test_who_can_not_be_heard_is_lent_so_much_at_once():
    """Its marks lie behind what upstream doesn't take; they count again as soon as they come."""
    session, seen = flooded()
    for _ in range(3):
        session.to_client()
        session.do("client_unread")
        while not session.relay.behind:
            session.upstream(OUTPUT)
            seen += marks(session)
        lent = sum(len(frame.encode()) for frame in session.to_client())
        assert MOST_AHEAD < lent <= MOST_AHEAD + len(OUTPUT)
    session.client(*seen[:-1])
    assert not session.relay.behind
    for _ in range(2 * MOST_AHEAD // len(OUTPUT)):
        session.upstream(OUTPUT)
    assert session.relay.behind


def test_who_is_not_behind_is_lent_nothing():
    session = Session(AsideRelay)
    while not session.relay.behind:
        session.do("client_unread").upstream(OUTPUT)
    assert sum(len(frame.encode()) for frame in session.to_client()) <= MOST_AHEAD + len(OUTPUT)


def test_marks_go_no_further_and_all_else_does():
    session, seen = flooded()
    typed = [client(STDIN, b"a"), client(4, b'{"Width":80,"Height":24}'), client(255, b"\x00")]
    session.client(typed[0] + seen[0] + typed[1] + seen[1] + seen[2] + typed[2])
    assert b"".join(frame.encode() for frame in session.to_upstream()) == b"".join(typed)


@pytest.mark.parametrize("size", [1, 5, 6, 7, 13, 14])
def test_a_mark_that_comes_in_parts_is_one(size):
    session, seen = flooded()
    data = seen[0] + client(STDIN, b"typed")
    session.client(*(data[start : start + size] for start in range(0, len(data), size)))
    assert not session.relay.behind
    assert told(session.to_upstream()) == [(BINARY, b"\x00typed")]


@pytest.mark.parametrize("said", [b"", b"\0" * 8, b"\xff" * 8, b"\x7f" * 7, b"\0" * 9])
def test_one_that_was_never_sent_says_nothing(said):
    session, _ = flooded()
    session.client(client(MARK, said))
    assert session.relay.behind
    assert session.to_upstream() == []


def test_an_old_one_says_nothing_new():
    session, seen = flooded()
    session.client(*seen)
    for _ in range(2 * MOST_AHEAD // len(OUTPUT)):
        session.upstream(OUTPUT)
    session.client(*seen)
    assert session.relay.behind


def test_a_mark_is_nothing_that_somebody_typed():
    session, seen = flooded()
    session.client(seen[0])
    assert not session.relay.keystroke
    session.client(client(STDIN, b"a"))
    assert session.relay.keystroke


def test_nothing_follows_the_close():
    session = Session(AsideRelay)
    session.upstream(OUTPUT[:-1])
    session.upstream(OUTPUT[-1:] + OUTPUT + closing(1000))
    assert marks(session) == []
    assert session.to_client()[-1].opcode == CLOSE
    assert session.relay.ending is Ending.UPSTREAM_LOST


def test_who_has_not_asked_for_marks_has_none_and_sends_none():
    session = Session(Relay).upstream(OUTPUT * 40).client(client(MARK, b"passes"))
    assert (session.relay.to_client_alone, session.relay.behind) == ([], False)
    assert told(session.to_upstream()) == [(BINARY, bytes((MARK,)) + b"passes")]


def test_what_the_proxy_says_stands_on_the_terminal_and_where_no_program_prints():
    session = Session(AsideRelay).do("say", "jane “watches”").do("watched", 2)
    assert told(session.to_client()) == [(BINARY, "\x01\r\nk8s-ws-proxy: jane “watches”.\r\n".encode())]
    notices = read_frames(join(session.relay.to_client_alone), masked=False)
    assert [frame.payload[0] for frame in notices] == [NOTICE, NOTICE]
    assert [json.loads(frame.payload[1:]) for frame in notices] == [{"notice": "jane “watches”"}, {"watchers": 2}]


@pytest.mark.parametrize(("tty", "stdin"), [(True, True), (False, True), (True, False), (False, False)])
def test_which_streams_there_are_is_said(tty, stdin):
    [frame] = read_frames(streams_told(tty=tty, stdin=stdin), masked=False)
    assert (frame.opcode, frame.payload[0]) == (BINARY, NOTICE)
    assert json.loads(frame.payload[1:]) == {"tty": tty, "stdin": stdin}


def test_at_the_end_there_is_the_close_and_nothing_after_it():
    session = Session(AsideRelay)
    session.relay.limit(Lifetime(Limits(duration=60.0), 0.0), STDOUT)
    session.do("look_at_age", 31.0).do("look_at_age", 62.0)
    assert session.end == (Ending.MAX_DURATION, 1008, None)
    session.do("watched", 1)
    assert session.relay.to_client_alone == []
