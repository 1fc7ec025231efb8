"""What a process and its children cost: CPU seconds and memory, read from Linux."""

import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# CPUCLOCK_SCHED of the whole thread group, as clock_getcpuclockid(3) makes it.
_CPUCLOCK_SCHED = 2


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for task in (_PROC / str(parent) / "task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time so far, all threads, those that ended too; to the nanosecond, not the tick."""
    return sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in pids)


@dataclass(frozen=True)
class Memory:
    """KiB; PSS shares out what several processes map together, RSS counts it for each."""

    pss: int
    rss: int


def memory(pids: list[int]) -> Memory:
    pss = rss = 0
    for pid in pids:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss":
                pss += int(rest.split()[0])
            elif name == "Rss":
                rss += int(rest.split()[0])
    return Memory(pss, rss)
