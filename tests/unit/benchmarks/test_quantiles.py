from __future__ import annotations

from benchmarks.quantiles import CURVE, at, curve

SAMPLES = [float(number) for number in range(100, 0, -1)]


def test_a_quantile_is_a_value_that_was_seen():
    assert at(SAMPLES, 0.5) == 51.0
    assert at(SAMPLES, 0.99) == 100.0
    assert at([7.0], 0.5) == 7.0


def test_a_curve_has_a_value_for_each_share():
    values = curve(SAMPLES)
    assert len(values) == len(CURVE)
    assert values == sorted(values)
    assert values[-1] == 100.0
