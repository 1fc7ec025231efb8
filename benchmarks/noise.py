"""What a run can't tell from noise.

A difference is noise where the rounds differ among themselves, the outermost quarter at each end left out, by more than
their median differs from what it is held against. One round tells nothing.
"""

from collections.abc import Sequence
from statistics import median

MARK = "~"


def spread(values: Sequence[float]) -> float:
    """The largest less the smallest, the outermost quarter (rounded down) at each end left out."""
    ordered = sorted(values)
    left_out = len(ordered) // 4
    kept = ordered[left_out : len(ordered) - left_out]
    return kept[-1] - kept[0]


def is_noise(values: Sequence[float], against: float) -> bool:
    """Whether it can't be told that the median of the rounds' figures differs from `against`."""
    return len(values) < 2 or spread(values) > abs(median(values) - against)
