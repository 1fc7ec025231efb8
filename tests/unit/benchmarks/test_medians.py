from __future__ import annotations

from benchmarks.medians import Table

TABLE = Table(
    {
        "row": {
            "ours": [{"ms": 2.0, "curve": [1.0, 2.0]}, None, {"ms": 4.0, "curve": [3.0, 6.0]}, {"ms": 9.0}],
            "peer": [{"ms": 1.0}, {"ms": 1.0}, {"ms": 4.0}, {"ms": 0.0}],
        },
        "other": {"peer": [{"ms": 2.0}, {"ms": 2.0}, {"ms": 2.0}, {"ms": 2.0}]},
    }
)


def test_a_median_is_of_the_rounds_that_went_well():
    assert TABLE.values("row", "ours", "ms") == [2.0, 4.0, 9.0]
    assert TABLE.median("row", "ours", "ms") == 4.0


def test_what_was_not_measured_is_none():
    for row, target, name in (("row", "ours", "kib"), ("row", "third", "ms"), ("nothing", "ours", "ms")):
        assert TABLE.values(row, target, name) == []
        assert TABLE.median(row, target, name) is None
        assert TABLE.ratios(row, target, "peer", name) == []
        assert TABLE.curve(row, target, name) == []


def test_ratios_are_of_the_same_round_and_never_by_nothing():
    assert TABLE.ratios("row", "ours", "peer", "ms") == [2.0, 1.0]
    assert TABLE.ratios("row", "ours", "peer", "ms", other_row="other") == [1.0, 2.0, 4.5]


def test_differences_are_of_the_same_round():
    assert TABLE.differences("row", "ours", "ms", "peer") == [1.0, 0.0, 9.0]


def test_a_curve_is_the_median_of_each_place():
    assert TABLE.curve("row", "ours", "curve") == [2.0, 4.0]


def test_noise_is_told_of_figures_that_both_have():
    steady = Table({"row": {"ours": [{"ms": 2.0}, {"ms": 2.1}], "peer": [{"ms": 1.0}, {"ms": 1.0}]}})
    assert not steady.is_noise("row", "peer", "ours", "ms")
    assert TABLE.is_noise("row", "peer", "ours", "ms")
    assert not TABLE.is_noise("row", "peer", "ours", "kib")


def test_samples_are_those_of_all_rounds_that_went_well():
    assert TABLE.samples("row", "ours", "curve") == [1.0, 2.0, 3.0, 6.0]
    assert TABLE.samples("row", "ours", "ms") == TABLE.samples("nothing", "ours", "curve") == []
