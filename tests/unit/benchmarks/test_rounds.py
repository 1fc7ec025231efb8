from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest

from benchmarks import rounds
from benchmarks.rounds import Run
from benchmarks.rows.base import QUICK
from benchmarks.targets.direct import Direct
from benchmarks.targets.envoy import Envoy
from benchmarks.targets.nginx import Nginx
from benchmarks.targets.ours import Ours

HERE, GONE = Direct(), Nginx("nginx")


class Row:
    name = "row"

    def __init__(self, measure, applies=lambda _target: True):
        self.applies = applies
        self._measure = measure
        self.lays = []

    def measure(self, lay, _plan):
        self.lays.append(lay)
        return self._measure(len(self.lays))


@pytest.fixture
def truthful(monkeypatch):
    """Those whose bytes come through, without a source or a process."""
    asked = []

    def is_truthful(run, target, _lay):
        asked.append(target.name)
        if target is GONE:
            run.results.left_out[target.name] = "not here"
        return target is not GONE

    monkeypatch.setattr(Run, "_is_truthful", is_truthful)
    return asked


def run(row, *targets, number=2, at_most=0.0, keep=lambda _results: None):
    plan = replace(QUICK, rounds=number, at_most=at_most)
    return Run(plan, keep).measure([row], targets)


def test_each_round_begins_with_another_target(truthful):
    order = []

    def measure(_number):
        order.append(len(order))
        return {"ms": float(order[-1])}

    results = run(Row(measure), HERE, Envoy())
    assert truthful == ["direct", "envoy"]
    assert results.rounds == {"row": {"direct": [{"ms": 0.0}, {"ms": 3.0}], "envoy": [{"ms": 1.0}, {"ms": 2.0}]}}


@pytest.mark.usefixtures("truthful")
@pytest.mark.parametrize("error", [OSError("refused"), ValueError("no number"), KeyError("container")])
def test_whatever_one_measurement_ends_with_the_next_one_is_begun(error):
    def measure(number):
        if number == 1:
            raise error
        return {"ms": 1.0}

    results = run(Row(measure), HERE)
    assert results.rounds == {"row": {"direct": [None, {"ms": 1.0}]}}
    assert results.failures == [f"row, direct, round 1: {error!r}"]


@pytest.mark.usefixtures("truthful")
def test_a_target_that_is_not_there_is_left_out_and_the_others_are_measured():
    results = run(Row(lambda _number: {"ms": 1.0}), GONE, HERE)
    assert set(results.rounds["row"]) == {"direct"}
    assert results.as_json()["left_out"] == {"nginx": "not here"}


@pytest.mark.usefixtures("truthful")
def test_what_there_is_is_kept_after_each_round():
    kept = []
    run(Row(lambda _number: {"ms": 1.0}), HERE, keep=lambda results: kept.append(len(results.rounds["row"]["direct"])))
    assert kept == [1, 2]


@pytest.mark.usefixtures("truthful")
def test_once_the_time_is_over_no_measurement_is_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rounds.time, "monotonic", lambda: now[0])

    def measure(_number):
        now[0] += 100
        return {"ms": 1.0}

    results = run(Row(measure), HERE, number=3, at_most=150.0)
    assert results.rounds["row"]["direct"] == [{"ms": 1.0}, {"ms": 1.0}, None]
    assert results.skipped == 1
    assert results.failures == []


@pytest.mark.usefixtures("truthful")
def test_a_measurement_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(rounds, "_HANGS", 0.05)
    before = signal.getsignal(signal.SIGALRM)
    results = run(Row(lambda _number: time.sleep(250)), HERE, number=1)
    assert results.rounds["row"]["direct"] == [None]
    assert "not over in" in results.failures[0]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.usefixtures("truthful")
def test_what_is_recorded_is_measured_in_the_rows_that_this_changes():
    recorded = Ours("recorded", "recorded", recorded=True)
    row = Row(lambda _number: {"ms": 1.0}, applies=lambda target: target is not HERE)
    assert run(row, recorded, Ours(), HERE).rounds["row"].keys() == {"ours"}
    row.name = "echo-hi"
    assert run(row, recorded, Ours()).rounds["echo-hi"].keys() == {"recorded", "ours"}


def test_a_target_whose_program_is_missing_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.targets.envoy.ENVOY", tmp_path / "envoy")
    results = run(Row(lambda _number: {"ms": 1.0}), Envoy())
    assert results.rounds == {"row": {}}
    assert "No such file" in results.left_out["envoy"]
