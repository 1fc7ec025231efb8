from __future__ import annotations

import pytest

from benchmarks.pace import Pace


def test_the_first_bytes_are_due_at_once_and_the_next_ones_when_those_would_have_passed():
    pace = Pace(per_second=1000, now=5.0)
    assert pace.wait(10, now=5.0) == 0.0
    assert pace.wait(10, now=5.0) == pytest.approx(0.01)


def test_a_little_delay_is_made_up_for():
    pace = Pace(per_second=1000, now=5.0)
    pace.wait(10, now=5.0)
    assert pace.wait(10, now=5.011) == 0.0
    assert pace.wait(10, now=5.011) == pytest.approx(0.009)


def test_who_had_to_wait_long_does_not_flood_afterwards():
    pace = Pace(per_second=1000, now=5.0)
    pace.wait(10, now=5.0)
    assert pace.wait(10, now=6.0) == 0.0
    assert pace.wait(10, now=6.0) == pytest.approx(0.01)


def test_without_a_speed_nobody_waits():
    pace = Pace(per_second=float("inf"), now=5.0)
    assert [pace.wait(1_000_000, now=5.0) for _ in range(3)] == [0.0, 0.0, 0.0]
