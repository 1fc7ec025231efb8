"""File descriptors: as many as may be had, and a few kept back, so that whoever comes too late can be told."""

from __future__ import annotations

import os
import resource
from typing import Final

RESERVE: Final = 32  # descriptors that no session gets: for probes, refusals, files that are read again


def raise_limit() -> int:
    """Take as many as the process may have (getrlimit(2), the hard limit); how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def left() -> bool:
    """Whether a session may still be opened. A new descriptor is always the lowest free number."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        lowest = os.dup(2)
    except OSError:
        return False
    os.close(lowest)
    return limit == resource.RLIM_INFINITY or lowest + RESERVE < limit
