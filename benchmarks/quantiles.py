"""Quantiles of samples, without interpolation: each is a value that was seen."""

CURVE = [*(step / 200 for step in range(1, 200)), 0.999]


def at(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def curve(samples: list[float]) -> list[float]:
    """One value for each share in CURVE, rounded to what a plot can show."""
    ordered = sorted(samples)
    return [round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4) for share in CURVE]
