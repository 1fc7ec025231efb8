"""The trail itself, beside the log, and the refusals in it."""

from __future__ import annotations

import contextlib
import json
import os
import threading

import pytest
from support.trails import chains_of

from k8s_ws_proxy.audit.log_sink import LogSink
from k8s_ws_proxy.audit.refusals import MOST_OF_KNOWN, MOST_OF_UNKNOWN, Refusals
from k8s_ws_proxy.audit.trail import NO_TRAIL, Trail
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.writer import MOST, MOST_KEPT, LogWriter
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.wire.audit.events import DaemonStarted, SessionOpened, SessionRefused, Subject


class Listed:
    """A way out that keeps what comes."""

    name = "file"

    def __init__(self, trouble=""):
        self.lines = []
        self.trouble = trouble

    def take(self, line):
        self.lines.append(line)

    def told(self):
        return [json.loads(line) for line in self.lines]


def test_lines_are_counted_chained_and_dated():
    sink = Listed()
    trail = Trail([sink], node="n1", daemon="d1", prev="ab" * 32, clock=lambda: 1_748_779_200.000001)
    for _ in range(3):
        trail.emit(DaemonStarted())
    told = sink.told()
    assert [line["seq"] for line in told] == [1, 2, 3]
    assert {(line["time"], line["node"], line["daemon"]) for line in told} == {
        ("2025-06-01T12:00:00.000001Z", "n1", "d1")
    }
    assert told[0]["prev"] == "ab" * 32
    assert chains_of(sink.lines).fault is None


def test_what_cannot_be_told_takes_no_number():
    sink = Listed()
    trail = Trail([sink], daemon="d")
    trail.emit(DaemonStarted())
    with pytest.raises(TypeError):
        trail.emit(SessionOpened(Subject(session=object())))
    trail.emit(DaemonStarted())
    assert [line["seq"] for line in sink.told()] == [1, 2]
    assert chains_of(sink.lines).fault is None


def test_from_many_threads_it_is_one_chain():
    sink = Listed()
    trail = Trail([sink], daemon="d")
    threads = [threading.Thread(target=lambda: [trail.emit(DaemonStarted()) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chains = chains_of(sink.lines)
    assert (chains.lines, chains.fault) == (800, None)


def test_all_ways_out_have_the_same_lines():
    one, other = Listed(), Listed()
    Trail([one, other]).emit(DaemonStarted())
    assert one.lines == other.lines


@pytest.mark.parametrize(
    ("troubles", "available", "state"),
    [([], True, "off"), ([""], True, "ok"), (["full"], False, "file: full"), (["full", ""], True, "file: full")],
)
@pytest.mark.parametrize("required", [True, False])
def test_it_is_available_while_one_way_is(troubles, available, state, required):
    trail = Trail([Listed(trouble) for trouble in troubles], required=required)
    assert (trail.available, trail.state) == (available, state)
    assert trail.refuses == (required and not available)


def test_without_a_way_out_nothing_is_told():
    NO_TRAIL.emit(DaemonStarted())
    assert not NO_TRAIL.refuses


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(fd)


def value(counter):
    return counter.labels("stderr")._value.get()


def test_a_crowd_of_log_lines_takes_no_audit_line_s_place(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    trail = Trail([LogSink(writer)], daemon="d", required=True)
    for _ in range(2 * MOST // 1000):
        writer.write("x" * 999 + "\n")
    for _ in range(100):
        trail.emit(DaemonStarted())
    assert not trail.refuses
    assert LogSink(writer).waiting == 100
    got = bytearray()
    while got.count(b'"audit": true') < 100 or not got.endswith(b"\n"):
        got += os.read(reading, 65536)
    chains = chains_of(bytes(got).splitlines())
    assert (chains.lines, chains.fault) == (100, None)


def test_while_nobody_reads_stderr_there_is_nowhere_to_write_and_what_is_lost_is_counted(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    sink = LogSink(writer)
    trail = Trail([sink], daemon="d", required=True)
    lost, written = value(metrics.AUDIT_LOST), value(metrics.AUDIT_WRITTEN)
    event = SessionOpened(Subject(command=("x" * 100_000,)))
    emitted = 0
    while value(metrics.AUDIT_LOST) == lost:
        trail.emit(event)
        emitted += 1
    assert trail.refuses
    assert trail.state == "stderr: nobody reads stderr"
    assert sink.oldest > 0
    assert emitted <= MOST_KEPT // 100_000 + 2
    got = bytearray()
    while got.count(b"\n") < emitted - 1:
        got += os.read(reading, 65536)
    trail.emit(event)  # what is missing is seen by the next one
    while got.count(b"\n") < emitted:
        got += os.read(reading, 65536)
    assert not trail.refuses
    assert "removed" in str(chains_of(bytes(got).splitlines()).fault)
    writer.close()
    assert value(metrics.AUDIT_WRITTEN) - written == emitted


def test_a_stderr_that_is_closed_is_nowhere(pipe):
    reading, writing = pipe
    os.close(reading)
    writer = LogWriter(writing)
    trail = Trail([LogSink(writer)], required=True)
    lost = value(metrics.AUDIT_LOST)
    trail.emit(DaemonStarted())
    writer.close()
    assert trail.refuses
    assert trail.state == "stderr: stderr can't be written"
    assert value(metrics.AUDIT_LOST) == lost + 1


class Later:
    """An event loop's timers, which come when they are told to."""

    def __init__(self):
        self.waiting = []

    def __call__(self, seconds, then):
        assert seconds == 1.0
        self.waiting.append(then)

    def come(self):
        waiting, self.waiting = self.waiting, []
        for then in waiting:
            then()


@pytest.mark.parametrize(("known", "most"), [(False, MOST_OF_UNKNOWN), (True, MOST_OF_KNOWN)])
def test_of_a_crowd_of_refusals_the_rest_is_counted(known, most):
    sink, later = Listed(), Later()
    refusals = Refusals(Trail([sink]), later)

    def refuse(reason, times):
        for _ in range(times):
            refusals.note(reason, known=known, event=lambda: SessionRefused(refusal=reason.value, status=401))

    refuse(Reason.BAD_SIGNATURE, most + 7)
    refuse(Reason.EXPIRED, 3)
    later.come()
    told = [(line["refusal"], line["omitted"]) for line in sink.told()]
    assert told == [*[("bad_signature", 0)] * most, *[("expired", 0)] * 3, ("bad_signature", 7)]
    refuse(Reason.BAD_SIGNATURE, 1)
    later.come()
    assert len(sink.lines) == most + 5
    assert not later.waiting


def test_a_crowd_that_is_not_known_takes_no_line_of_who_is():
    sink = Listed()
    refusals = Refusals(Trail([sink]), Later())
    for known in [False] * 50 + [True]:
        refusals.note(Reason.ACCESS_DENIED, known=known, event=SessionRefused)
    assert len(sink.lines) == MOST_OF_UNKNOWN + 1
