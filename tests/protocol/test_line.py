"""An event as a line: the fields that each has, and what a caller can't do to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.audit.chain import label_of
from k8s_ws_proxy.wire.audit.events import (
    EVENTS,
    AuditTarget,
    Caller,
    DaemonStarted,
    Event,
    SessionEnded,
    SessionOpened,
    SessionRefused,
    SessionTerminated,
    Subject,
)
from k8s_ws_proxy.wire.audit.line import GENESIS, LONGEST, Place, digest, line_of

PLACE = Place("2025-06-01T12:00:00.000001Z", 7, "node-1", "0197-a", GENESIS)
COMMON = {"audit", "time", "event", "seq", "node", "daemon", "prev"} | {
    *("session", "caller", "user", "groups", "reason", "peer", "target", "command", "commandSha256")
}
WHO = Subject(
    session="s1",
    caller=Caller("rfc9421", "secret"),
    user="alice",
    groups=("ops", "dev"),
    reason="look",
    peer="192.0.2.1",
    target=AuditTarget("exec", "default", "web-1", "app", alias="web", tty=True),
    command=("sh", "-c", "id"),
)


def line(event, place=PLACE):
    found = line_of(event, place)
    assert b"\n" not in found
    told = json.loads(found)
    assert told["event"] == event.name
    return told


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_has_the_common_fields(kind):
    told = line(kind())
    assert told.keys() >= COMMON
    assert told["audit"] is True
    assert told["event"] == kind.name
    assert (told["time"], told["seq"], told["node"], told["daemon"], told["prev"]) == (
        *(PLACE.time, 7, "node-1", "0197-a", GENESIS),
    )


def test_names_are_those_of_the_contract():
    assert [kind.name for kind in EVENTS] == [
        "session.issued",
        "session.refused",
        "session.opened",
        "session.ended",
        "session.terminated",
        "session.watched",
        "session.unwatched",
        "recording.finished",
        "recording.read",
        "keys.changed",
        "tls.changed",
        "daemon.started",
        "daemon.stopped",
    ]
    assert {kind.__name__ for kind in EVENTS} == {kind.__name__ for kind in Event.__subclasses__()}


def test_an_event_says_who_and_what():
    told = line(SessionEnded(WHO, ending="command_ended", exit_code=3, bytes_out=9))
    assert told["caller"] == {"mode": "rfc9421", "name": "secret"}
    assert told["groups"] == ["ops", "dev"]
    assert told["target"] == {
        "subresource": "exec",
        "namespace": "default",
        "pod": "web-1",
        "container": "app",
        "alias": "web",
        "tty": True,
        "ports": None,
    }
    assert told["command"] == ["sh", "-c", "id"]
    assert (told["ending"], told["exitCode"], told["bytesOut"], told["closeCode"]) == ("command_ended", 3, 9, None)


def test_who_is_not_known_is_nobody():
    told = line(SessionRefused(refusal="bad_signature", status=401))
    assert (told["caller"], told["user"], told["groups"], told["reason"], told["session"]) == (
        None,
        None,
        [],
        None,
        None,
    )


def test_who_ends_it_is_told_beside_who_was_in_it():
    told = line(SessionTerminated(WHO, by=Caller("client_cert", "root"), by_user="carol", by_peer="::1", why="no"))
    assert (told["user"], told["byUser"], told["by"]["name"], told["byPeer"], told["why"]) == (
        *("alice", "carol", "root", "::1", "no"),
    )


def test_the_hash_is_of_the_line_s_bytes_without_its_end():
    data = line_of(DaemonStarted(), PLACE)
    assert digest(data) == hashlib.sha256(data).hexdigest()


def test_a_line_s_id_is_its_run_s_and_its_number():
    assert label_of(line_of(DaemonStarted(), PLACE)).id == "0197-a-7"


texts = st.text(alphabet=st.characters(codec=None), max_size=200)


@given(texts, st.lists(texts, max_size=5), texts, texts)
def test_whatever_a_caller_sends_it_is_one_line_of_ascii_json(user, command, reason, peer):
    subject = dataclasses.replace(WHO, user=user, command=tuple(command), reason=reason, peer=peer)
    data = line_of(SessionOpened(subject), PLACE)
    assert all(0x20 <= byte < 0x7F for byte in data)
    told = json.loads(data)
    assert told["audit"] is True
    assert told["seq"] == 7
    json.dumps(told, ensure_ascii=False).encode()  # no halves of characters


def test_bytes_that_are_no_text_are_shown_escaped():
    told = line(SessionOpened(dataclasses.replace(WHO, command=("a\udcff\x1b[2J",))))
    assert told["command"] == ["a\\udcff\x1b[2J"]


@pytest.mark.parametrize("char", ["x", "\0", "\x7f", "\udcff", "\u2028", "\U0001f600"])
def test_no_line_is_longer_than_there_is_room_for(char):
    command = (char * (128 * 1024),)
    for subject in (
        dataclasses.replace(WHO, command=command),
        dataclasses.replace(WHO, command=command, groups=command, user=command[0], reason=command[0]),
    ):
        data = line_of(SessionOpened(subject), PLACE)
        assert len(data) <= LONGEST
        assert json.loads(data)["session"] == "s1"


def test_a_command_of_128_kib_is_whole():
    command = ("x" * (128 * 1024),)
    assert line(SessionOpened(dataclasses.replace(WHO, command=command)))["command"] == list(command)
