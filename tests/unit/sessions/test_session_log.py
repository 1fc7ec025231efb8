"""What is logged and counted of a session."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from support.slots import EXEC, HMAC, PIPES, Clock, Session, value

from k8s_ws_proxy.audit.trail import Trail
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.sessions.record import SessionRecord
from k8s_ws_proxy.sessions.session_log import SessionLog
from k8s_ws_proxy.wire.requests.target import AttachTarget, PortForwardTarget
from k8s_ws_proxy.wire.rules.relay import Ending


def session_log(session, principal, target, peer, clock):
    return SessionLog(SessionRecord.of(session, principal, target, peer, clock(), 1_735_689_600.0), clock)


def test_what_is_told_of_an_exec():
    clock = Clock()
    with capture_logs() as log:
        told_of = session_log("5e55", HMAC, EXEC, "10.0.0.1", clock)
        told_of.opened()
        clock.now += 1.23456
        told_of.ended(Session(None))
    facts = {
        "session": "5e55",
        "mode": "hmac",
        "key_id": "2025",
        "peer": "10.0.0.1",
        "subresource": "exec",
        "namespace": "default",
        "pod": "web",
        "container": "app",
        "tty": True,
        "command": ["sh", "-l"],
    }
    opened, ended = log
    assert opened == {"event": "session opened", "log_level": "info", **facts}
    assert ended == {
        "event": "session ended",
        "log_level": "info",
        **facts,
        "reason": "command_ended",
        "exit_code": 0,
        "close_code": 1000,
        "bytes_in": 11,
        "bytes_out": 22,
        "duration_seconds": 1.235,
    }


def test_what_is_told_of_an_attach_by_certificate():
    with capture_logs() as log:
        session_log(
            "a", Principal(Mode.CLIENT_CERT, "guacd"), AttachTarget("n", "p", None, PIPES), "x", Clock()
        ).opened()
    assert log[0]["subject"] == "guacd"
    assert "key_id" not in log[0]
    assert "command" not in log[0]
    assert log[0]["container"] is None


@pytest.mark.parametrize(("ports", "told"), [((8080, 443), [8080, 443]), ((), "tunnel")])
def test_what_is_told_of_a_port_forward(ports, told):
    with capture_logs() as log:
        told_of = session_log("a", HMAC, PortForwardTarget("n", "p", ports), "x", Clock())
        told_of.opened()
        told_of.ended(Session(None, ending=Ending.FORWARD_ENDED))
    assert [line["ports"] for line in log] == [told, told]
    assert not {"container", "tty", "command", "exit_code"} & (log[0].keys() | log[1].keys())


def test_an_alias_stands_beside_the_pod():
    with capture_logs() as log:
        told_of = session_log("a", HMAC, EXEC, "x", Clock())
        told_of.resolved("web")
        told_of.opened()
        told_of.resolved("web-7d8b5")
        told_of.opened()
    assert "alias" not in log[0]
    assert (log[1]["alias"], log[1]["pod"]) == ("web", "web-7d8b5")


@pytest.mark.parametrize("ending", Ending, ids=lambda ending: ending.value)
def test_an_end_is_counted_by_reason_and_told_at_its_level(ending):
    counted = metrics.SESSIONS_ENDED.labels(ending.value)
    before = value(counted), value(metrics.BYTES.labels("in")), value(metrics.BYTES.labels("out"))
    with capture_logs() as log:
        told_of = session_log("a", HMAC, EXEC, "x", Clock())
        told_of.opened()
        told_of.ended(Session(None, ending=ending))
    assert log[1]["reason"] == ending.value
    limits = (Ending.IDLE_TIMEOUT, Ending.MAX_DURATION, Ending.TERMINATED)
    orderly = (Ending.COMMAND_ENDED, Ending.FORWARD_ENDED, Ending.LOG_ENDED, Ending.CLIENT_LEFT, Ending.DRAINED)
    watchers = (Ending.WATCHED_ENDED, Ending.TOO_SLOW)
    expected = ending in (*orderly, *limits, *watchers)
    assert log[1]["log_level"] == ("info" if expected else "warning")
    after = value(counted), value(metrics.BYTES.labels("in")), value(metrics.BYTES.labels("out"))
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 11, 22]


def test_a_session_that_never_opened_has_no_end_only_why():
    with capture_logs() as log:
        told_of = session_log("a", HMAC, EXEC, "x", Clock())
        told_of.failed(Reason.UPSTREAM_REFUSED, 403, "forbidden")
        told_of.ended(Session(None))
        told_of.abandoned()
    assert [(line["event"], line["log_level"]) for line in log] == [
        ("session failed", "warning"),
        ("client left before the session opened", "info"),
    ]
    assert (log[0]["reason"], log[0]["detail"]) == ("upstream_refused", "forbidden")


def test_what_has_to_be_shown_is_written_down_before_anybody_hears_of_it_and_the_log_s_line_is_not_waited_for():
    told = []

    class Sink:
        name = "test"
        trouble = ""

        def take(self, _line):
            told.append("audit")

    record = SessionRecord.of("5e55", HMAC, EXEC, "10.0.0.1", 0.0, 0.0)
    with capture_logs() as log:
        SessionLog(record, Clock(), Trail([Sink()])).opened(greet=lambda: told.append(f"101, {len(log)} lines"))
    assert told == ["audit", "101, 0 lines"]
    assert [line["event"] for line in log] == ["session opened"]
