from __future__ import annotations

import pytest

from benchmarks.noise import is_noise, spread


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ([1.0], 0.0),
        ([1.0, 3.0], 2.0),
        ([9.0, 1.0, 2.0], 8.0),
        ([9.0, 1.0, 2.0, 4.0], 2.0),  # one at each end is left out
        ([1.0, 2.0, 2.5, 4.0, 100.0], 2.0),
        ([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 9.0], 3.0),
    ],
)
def test_the_outermost_quarter_at_each_end_is_no_part_of_the_spread(values, width):
    assert spread(values) == width


@pytest.mark.parametrize(
    ("values", "noise"),
    [
        ([1.2, 1.25, 1.3], False),  # 0.1 wide, 0.25 off
        ([1.0, 1.2, 1.5], True),  # 0.5 wide, 0.2 off
        ([0.9, 1.2, 1.2, 1.2, 4.0], False),  # two rounds that went wrong
        ([1.0, 1.0], False),  # they agree that there is no difference
        ([2.0], True),  # one round tells nothing
        ([], True),
    ],
)
def test_noise_is_a_difference_that_is_smaller_than_what_the_rounds_differ_by(values, noise):
    assert is_noise(values, 1.0) is noise
