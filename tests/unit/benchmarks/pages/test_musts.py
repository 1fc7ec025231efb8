from __future__ import annotations

from benchmarks.medians import Table
from benchmarks.pages.musts import all_of, loss

ROUNDS = {
    "wire": {"ours": [{"whole_bytes": 204800.0}, {"whole_bytes": 204801.0}]},
    "paint": {"ours": [{"first_paint_ms": [150.0, 299.0]}, None]},
    "flood": {
        "ours": [{"ctrl_c_ms": [30.0, 600.0], "frame_ms": [40.0, 41.0]}, {"ctrl_c_ms": [50.0], "frame_ms": [99.0]}]
    },
}


def test_the_worst_that_was_seen_is_what_counts():
    assert {must.what.partition(",")[0]: (must.figure, must.verdict) for must in all_of(Table(ROUNDS))} == {
        "all three pages": ("200 KiB", "yes"),
        "first paint": ("299 ms", "yes"),
        "Ctrl-C in a flood": ("600 ms", "**no**"),
        "from one frame to the next": ("99 ms", "yes"),
    }


def test_how_far_from_being_met_it_is_is_said():
    (must,) = [must for must in all_of(Table(ROUNDS)) if must.met is False]
    assert "600 ms at the worst, must be at most 500 ms. 2 of 3 are within that; the median is 50.0 ms." in loss(must)


def test_what_was_not_measured_is_neither_met_nor_lost():
    assert {must.met for must in all_of(Table({}))} == {None}
