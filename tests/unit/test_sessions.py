"""Admission, the session log, and the way down, with sessions that do nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions import drain as way_down
from k8s_ws_proxy.sessions.drain import DrainDeadline
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.record import SessionRecord, shorten
from k8s_ws_proxy.sessions.registry import Registry, Termination
from k8s_ws_proxy.sessions.session_log import SessionLog
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT
from k8s_ws_proxy.wire.requests.target import AttachTarget, ExecTarget, PortForwardTarget, Streams
from k8s_ws_proxy.wire.rules.relay import Ending

TTY = Streams(stdin=True, stdout=True, stderr=False, tty=True)
PIPES = Streams(stdin=True, stdout=True, stderr=True, tty=False)
EXEC = ExecTarget("default", "web", "app", TTY, ("sh", "-l"))
HMAC = Principal(Mode.HMAC, "2025")


class Clock:
    """Monotonic seconds, moved by hand."""

    now = 100.0

    def __call__(self):
        return self.now


class Session:
    """What the registry and the way down see of a session."""

    def __init__(self, slot, *, ends_when_told=True, ending=Ending.COMMAND_ENDED):
        self.slot = slot
        self.told = None
        self.aborted = False
        self._ends_when_told = ends_when_told
        self.relay = SimpleNamespace(ending=ending, exit_code=0, close_code=1000, status_seen=True)
        self.bytes_from_client, self.bytes_to_client = 11, 22

    def drain(self, line, channel, reason):
        self.told = (line, channel, reason)
        if self._ends_when_told:
            self.slot.release(self)

    def abort(self):
        self.aborted = True
        self.slot.release(self)


def open_session(registry, target=EXEC, **options):
    slot = registry.admit(HMAC, target, "10.0.0.1")
    session = Session(slot, **options)
    slot.opened(session)
    return session


def session_log(session, principal, target, peer, clock):
    return SessionLog(SessionRecord.of(session, principal, target, peer, clock(), 1_735_689_600.0), clock)


class Hanging:
    """Orphans that aren't hung up, however long one waits."""

    cut_short = False

    async def settle(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.cut_short = True


NEVER = {1: (3600.0, 0.0, 0.0), 2: (3600.0, 3600.0, 0.0)}


def value(gauge):
    return gauge._value.get()


def refused(registry, target=EXEC, size=0):
    with pytest.raises(Refusal) as refusal:
        registry.admit(HMAC, target, "10.0.0.1", size)
    return refusal.value.reason


def test_as_many_are_admitted_as_there_may_be():
    registry = Registry(quotas(2), Clock())
    first, second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    assert refused(registry) is Reason.TOO_MANY_SESSIONS
    assert value(metrics.SESSIONS_OPEN) == 2
    first.release()
    third = registry.admit(HMAC, EXEC, "10.0.0.1")
    assert set(registry.open_slots()) == {second, third}
    assert len({slot.log.record.id for slot in (first, second, third)}) == 3


def test_a_slot_given_back_twice_is_one_slot():
    registry = Registry(quotas(2), Clock())
    first, _second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    first.release()
    first.release()
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_SESSIONS


async def test_a_slot_is_kept_as_long_as_what_it_outlasts():
    """The command may be starting, though its client is gone."""
    registry = Registry(quotas(1), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    dial = asyncio.get_running_loop().create_future()
    slot.outlast(dial)
    told = []
    slot.at_end(told.append)
    slot.release()
    assert registry.open_slots() == [slot]
    assert told == []
    dial.set_exception(AssertionError("a mistake"))
    await registry.emptied()
    assert told == [False]
    dial.exception()


async def test_what_it_outlasts_is_over_already():
    registry = Registry(quotas(1), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    dial = asyncio.get_running_loop().create_future()
    slot.outlast(dial)
    dial.set_result(None)
    slot.release()
    assert registry.open == 0


@pytest.mark.parametrize("status_seen", [True, False])
async def test_who_asked_hears_of_the_end_once_and_whether_it_was_said_how(status_seen):
    registry = Registry(quotas(1), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    told = []
    slot.at_end(told.append)
    session = Session(slot)
    session.relay.status_seen = status_seen
    slot.opened(session)
    slot.ended(session)
    slot.release(session)
    assert told == [status_seen]
    assert registry.open == 0


def test_a_namespace_has_a_share_of_its_own():
    registry = Registry(quotas(9, per_namespace=1), Clock())
    other = replace(EXEC, namespace="other")
    first = registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_IN_NAMESPACE
    registry.admit(HMAC, other, "10.0.0.1")
    assert refused(registry, other) is Reason.TOO_MANY_IN_NAMESPACE
    first.release()
    first.release()
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_IN_NAMESPACE


def test_as_many_are_dialled_at_once_as_may_be():
    registry = Registry(quotas(9, handshakes=2), Clock())
    first, second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    assert refused(registry) is Reason.TOO_MANY_HANDSHAKES
    first.opened(Session(first))
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_HANDSHAKES
    second.release()
    registry.admit(HMAC, EXEC, "10.0.0.1")
    assert refused(registry) is Reason.TOO_MANY_HANDSHAKES


def test_what_requests_hold_while_they_are_dialled_is_bounded_together():
    """Twelve bytes of memory for each of a request's target, 16 MiB in all; one alone always fits."""
    registry = Registry(quotas(999), Clock())
    first = registry.admit(HMAC, EXEC, "10.0.0.1", 1024 * 1024)
    assert refused(registry, size=1024 * 1024) is Reason.TOO_MANY_HANDSHAKES
    registry.admit(HMAC, EXEC, "10.0.0.1", 300 * 1024)
    first.opened(Session(first))
    registry.admit(HMAC, EXEC, "10.0.0.1", 1024 * 1024)
    assert refused(registry, size=128 * 1024) is Reason.TOO_MANY_HANDSHAKES


def test_on_the_way_down_nobody_is_admitted_and_this_is_said_first():
    registry = Registry(quotas(1), Clock())
    registry.admit(HMAC, EXEC, "10.0.0.1")
    registry.draining = True
    assert refused(registry) is Reason.SHUTTING_DOWN


async def test_waiting_for_the_last_one():
    registry = Registry(quotas(2), Clock())
    await registry.emptied()
    first, second = (registry.admit(HMAC, EXEC, "10.0.0.1") for _ in range(2))
    waiting = asyncio.ensure_future(registry.emptied())  # noqa: TID251
    for slot in (first, second):
        await asyncio.sleep(0)
        assert not waiting.done()
        slot.release()
    await waiting


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
        told_of.failed("upstream_refused", "forbidden")
        told_of.ended(Session(None))
        told_of.abandoned()
    assert [(line["event"], line["log_level"]) for line in log] == [
        ("session failed", "warning"),
        ("client left before the session opened", "info"),
    ]
    assert (log[0]["reason"], log[0]["detail"]) == ("upstream_refused", "forbidden")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["sh", ""], ["sh", ""]),
        (["x" * 80], ["x" * 80]),
        (["x" * 81], ["x" * 80 + "…"]),
        (["x" * 100_000], ["x" * 80 + "…"]),
        (["a"] * 16, ["a"] * 16),
        (["a"] * 18, [*["a"] * 16, "… 2 more"]),
        (["\udcff", "é"], ["\\udcff", "é"]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_command_is_cut_to_a_bound(command, shown):
    assert shorten(command) == shown


@pytest.mark.parametrize(("target", "channel"), [(EXEC, STDOUT), (AttachTarget("n", "p", None, PIPES), STDERR)])
async def test_who_still_runs_at_the_deadline_is_told_where_it_is_seen(target, channel):
    registry = Registry(quotas(9), Clock())
    session = open_session(registry, target)
    await way_down.drain(registry, 0, DrainDeadline())
    line, told_on, reason = session.told
    assert told_on == channel
    assert line == b"\r\nk8s-ws-proxy: the proxy on this node is shutting down.\r\n"
    assert reason == "the proxy on this node is shutting down"
    assert not session.aborted


async def test_without_sessions_it_is_over_at_once():
    registry = Registry(quotas(9), Clock())
    with capture_logs() as log:
        await way_down.drain(registry, 3600, DrainDeadline())
    assert [line["event"] for line in log] == ["shutting down", "shut down"]
    assert registry.draining


async def test_who_ends_in_time_is_not_told():
    registry = Registry(quotas(9), Clock())
    sessions = [open_session(registry) for _ in range(3)]
    going = asyncio.ensure_future(way_down.drain(registry, 3600, DrainDeadline()))  # noqa: TID251
    for session in sessions:
        await asyncio.sleep(0)
        assert not going.done()
        session.slot.release(session)
    await going
    assert [session.told for session in sessions] == [None] * 3


async def test_a_second_signal_ends_the_waiting():
    registry = Registry(quotas(9), Clock())
    session = open_session(registry)
    deadline = DrainDeadline()
    going = asyncio.ensure_future(way_down.drain(registry, 3600, deadline))  # noqa: TID251
    await asyncio.sleep(0)
    assert session.told is None
    deadline.more()
    await going
    assert session.told is not None


@pytest.mark.parametrize("signals", [1, 2])
async def test_further_signals_shorten_the_step_that_is_under_way(monkeypatch, signals):
    """An hour for the last words and for hanging up, and none when so many signals have come."""
    monkeypatch.setattr(way_down, "_LAST_WORDS", NEVER[signals])
    monkeypatch.setattr(way_down, "_HANG_UP", NEVER[signals])
    registry, deadline, orphans = Registry(quotas(9), Clock()), DrainDeadline(), Hanging()
    stuck = open_session(registry, ends_when_told=False)
    going = asyncio.ensure_future(way_down.drain(registry, 0, deadline, orphans))  # noqa: TID251
    while stuck.told is None:  # noqa: ASYNC110 - it is told in passing
        await asyncio.sleep(0)
    assert not stuck.aborted
    for _ in range(signals):
        deadline.more()
    await going
    assert stuck.aborted
    assert orphans.cut_short


async def test_what_the_last_words_take_too_long_is_taken_from_hanging_up(monkeypatch):
    """A node that has no time for us lets hours go by; the sum of both steps counts."""
    monkeypatch.setattr(way_down, "_LAST_WORDS", NEVER[1])
    monkeypatch.setattr(way_down, "_HANG_UP", NEVER[1])
    registry, orphans, loop = Registry(quotas(9), Clock()), Hanging(), asyncio.get_running_loop()
    stuck = open_session(registry, ends_when_told=False)
    now = loop.time
    stuck.drain = lambda *_told: loop.call_soon(monkeypatch.setattr, loop, "time", lambda: now() + 7200)
    await way_down.drain(registry, 0, DrainDeadline(), orphans)
    assert stuck.aborted
    assert orphans.cut_short


async def test_signals_that_come_before_it_begins_count(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", NEVER[2])
    registry, deadline = Registry(quotas(9), Clock()), DrainDeadline()
    stuck = open_session(registry, ends_when_told=False)
    for _ in range(3):
        deadline.more()
    await way_down.drain(registry, 3600, deadline)
    assert stuck.aborted


async def test_a_signal_never_puts_an_end_off(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", (0.0, 3600.0, 3600.0))
    registry, deadline = Registry(quotas(9), Clock()), DrainDeadline()
    stuck = open_session(registry, ends_when_told=False)
    stuck.drain = lambda *_told: asyncio.get_running_loop().call_soon(deadline.more)
    await way_down.drain(registry, 0, deadline)
    assert stuck.aborted


async def test_who_does_not_end_when_told_is_aborted(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", (0.0, 0.0, 0.0))
    registry = Registry(quotas(9), Clock())
    stuck, ends = open_session(registry, ends_when_told=False), open_session(registry)
    await way_down.drain(registry, 0, DrainDeadline())
    assert stuck.told
    assert stuck.aborted
    assert not ends.aborted
    assert registry.open_slots() == []


async def test_a_dial_under_way_is_nobody_to_tell_and_gets_no_session(monkeypatch):
    monkeypatch.setattr(way_down, "_LAST_WORDS", (0.0, 0.0, 0.0))
    registry = Registry(quotas(9), Clock())
    slot = registry.admit(HMAC, EXEC, "10.0.0.1")
    with capture_logs() as log:
        await way_down.drain(registry, 0, DrainDeadline())
    assert registry.open_slots() == [slot]
    assert registry.ending
    assert [line["event"] for line in log] == ["shutting down", "ending sessions", "shut down"]


async def test_the_way_down_leaves_no_tasks_behind():
    registry = Registry(quotas(9), Clock())
    open_session(registry)
    before = asyncio.all_tasks()
    await way_down.drain(registry, 0, DrainDeadline())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("carol", "", "ended by carol"),
        ("carol", "enough", "ended by carol: enough"),
        ("\x1b]0;x\x07" + "n" * 80, "", "ended by ?]0;x?" + "n" * 58),
    ],
)
def test_who_ended_a_session_is_told_in_nothing_that_a_terminal_obeys(name, reason, told):
    assert Termination(Principal(Mode.CLIENT_CERT, "x", user=name), reason).sentence == told
