"""What the audit trail tells of a session, of which a daemon that is gone has written down what it knew."""

from __future__ import annotations

import hashlib

import orjson
import pytest
from support.slots import HMAC, TTY

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.sessions.as_json import known
from k8s_ws_proxy.sessions.audited import subject_of, subject_of_known
from k8s_ws_proxy.sessions.record import SessionRecord
from k8s_ws_proxy.wire.audit.events import SessionOpened, Subject
from k8s_ws_proxy.wire.audit.line import Place, line_of
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget

ALICE = Principal(Mode.RFC9421, "secret", "alice", ("ops", "dev"), "INC-42")


def record(target, principal=ALICE):
    return SessionRecord.of("s1", principal, target, "10.0.0.1", 0.0, 0.0)


@pytest.mark.parametrize("principal", [ALICE, HMAC], ids=["a user", "a key"])
@pytest.mark.parametrize(
    "target",
    [
        ExecTarget("default", "web", "app", TTY, ("sh", "-c", "true")),
        ExecTarget("default", "web", None, TTY, ("sh", "-c", "x" * 100_000)),
        ExecTarget("default", "web", None, TTY, ("printf", "\udcff")),
        AttachTarget("default", "web", "app", TTY),
    ],
    ids=["exec", "long", "no UTF-8", "attach"],
)
def test_it_is_what_that_daemon_would_have_told(target, principal):
    one = record(target, principal)
    written = orjson.loads(orjson.dumps(known(one, "node-1", getattr(target, "command", None))))
    place = Place("2026-12-01T00:00:00.000000Z", 1, "node-1", "d", "0")
    told = [line_of(SessionOpened(each), place) for each in (subject_of(one), subject_of_known("s1", written))]
    assert told[0] == told[1]


def test_no_hash_is_told_that_is_none():
    """Of the bytes of a long command that are no UTF-8 only a picture is left."""
    one = record(ExecTarget("default", "web", None, TTY, ("\udcff" * 5000,)))
    assert one.command_sha256 == hashlib.sha256(b"\xff" * 5000 + b"\0").hexdigest()
    assert subject_of_known("s1", known(one, "node-1", ("\udcff" * 5000,))).command_sha256 is None


@pytest.mark.parametrize("junk", [None, 5, "", [5, None], {"name": 5}], ids=repr)
def test_what_cannot_be_read_is_left_out(junk):
    """It has a seal, and may be a newer version's."""
    names = ("caller", "user", "groups", "reason", "peer", "container", "command", "tty", "pod")
    subject = subject_of_known("s1", dict.fromkeys(names, junk))
    assert b'"session": "s1"' in line_of(SessionOpened(subject), Place("t", 1, "n", "d", "0"))
    assert subject.user is None
    assert subject_of_known("s1", {}) == Subject(session="s1")
