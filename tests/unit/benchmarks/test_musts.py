from __future__ import annotations

import pytest

from benchmarks.medians import Table
from benchmarks.musts import Must, all_of


def must(rounds, *, limit=1.5, at_most=True):
    return Must("it", limit, at_most, "s", rounds)


@pytest.mark.parametrize(
    ("it", "verdict"),
    [
        (must([1.0, 1.1, 1.2]), "yes"),
        (must([2.0, 2.1, 2.2]), "**no**"),
        (must([1.0, 1.4, 2.0]), "yes ~"),
        (must([1.0, 1.6, 2.0]), "**no** ~"),
        (must([2.0, 2.1, 2.2], at_most=False), "yes"),
        (must([1.0, 1.1, 1.2], at_most=False), "**no**"),
        (must([]), "?"),
    ],
)
def test_a_verdict_says_whether_the_rounds_agree(it, verdict):
    assert it.verdict == verdict


def test_a_demand_and_its_figure_are_said_in_words():
    assert (must([1234.0]).demand, must([1234.0]).figure) == ("at most 1.5 s", "1,234 s")
    assert must([]).figure == "not measured"


def test_what_must_hold_always_is_held_against_the_worst():
    late = Must("it", 1.5, at_most=True, unit="s", rounds=[1.0, 1.1, 1.6], always=True)
    slow = Must("it", 1.5, at_most=False, unit="s", rounds=[2.0, 1.4, 2.0], always=True)
    assert (late.figure, late.verdict, slow.figure, slow.verdict) == ("1.6 s", "**no**", "1.4 s", "**no**")
    assert Must("it", 1.5, at_most=True, unit="s", rounds=[1.4], always=True).verdict == "yes"
    assert Must("it", 1.5, at_most=True, unit="s", rounds=[], always=True).verdict == "?"


def test_without_any_figures_nothing_is_met():
    musts = all_of(Table({}))
    assert len(musts) > 30
    assert {(it.met, it.figure) for it in musts} == {(None, "not measured")}


def found(rounds):
    return {it.what: it for it in all_of(Table(rounds)) if it.measured is not None}


def test_what_a_gigabyte_and_a_session_may_cost():
    musts = found(
        {
            "real-out": {"ours": [{"cpu_seconds_per_gb": 1.4}, {"cpu_seconds_per_gb": 1.42}]},
            "echo-hi": {"ours": [{"cpu_ms_per_session": 4.4}, {"cpu_ms_per_session": 4.6}]},
        }
    )
    assert {what: it.verdict for what, it in musts.items()} == {
        "CPU per GB, as a real apiserver sends it": "yes",
        "CPU per whole `echo hi` session": "**no**",
    }


def test_the_better_of_two_peers_is_the_one_that_we_are_worse_than():
    held = {"ours": 30.0, "haproxy": 20.0, "nginx": 60.0}
    rounds = {"growth": {target: [{"kib_per_session": kib}] * 2 for target, kib in held.items()}}
    (ratio,) = [it for it in all_of(Table(rounds)) if it.unit == "x the better of HAProxy and nginx"]
    assert ratio.measured == 1.5


def test_where_one_of_the_peers_was_not_measured_the_better_one_is_not_known():
    rounds = {"growth": {"ours": [{"kib_per_session": 30.0}], "nginx": [{"kib_per_session": 60.0}]}}
    (ratio,) = [it for it in all_of(Table(rounds)) if it.unit == "x the better of HAProxy and nginx"]
    assert ratio.met is None
