"""What a process and its children cost: CPU seconds and memory, read from Linux."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
# CPUCLOCK_SCHED of the whole thread group, as clock_getcpuclockid(3) makes it.
_CPUCLOCK_SCHED = 2
# What is counted in, by what a figure's name begins with.
_PER_SECOND = {"cpu_seconds": 1.0, "cpu_ms": 1e3, "cpu_us": 1e6}
_TELLING = 50  # ticks


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for task in (_PROC / str(parent) / "task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


@dataclass(frozen=True)
class Cpu:
    """User and system time together, to the nanosecond; what is whose is known in the kernel's ticks only."""

    seconds: float
    user_ticks: int
    system_ticks: int

    def __sub__(self, other: Self) -> "Cpu":
        return Cpu(
            self.seconds - other.seconds,
            self.user_ticks - other.user_ticks,
            self.system_ticks - other.system_ticks,
        )

    def per(self, name: str, count: float) -> dict[str, float]:
        """As figures of a row: `name`, cpu_seconds_..., cpu_ms_... or cpu_us_..., for one of `count`.

        And the kernel's share of it, of which a tick more or less has to be little. Without a process there is none.
        """
        if not self.seconds:
            return {}
        unit = next(unit for unit in _PER_SECOND if name.startswith(f"{unit}_per_"))
        measured = {name: self.seconds * _PER_SECOND[unit] / count}
        ticks = self.user_ticks + self.system_ticks
        if ticks >= _TELLING:
            measured["cpu_system_share"] = self.system_ticks / ticks
        return measured


class Clock:
    """The CPU of a target's processes, as many as there are when it is made; of none when there is no target."""

    def __init__(self, pid: int | None) -> None:
        self._pids = tree(pid) if pid else []

    def now(self) -> Cpu:
        """So far: all threads, those that ended too."""
        seconds = sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in self._pids)
        ticks = [_ticks((_PROC / str(pid) / "stat").read_text()) for pid in self._pids]
        return Cpu(seconds, sum(user for user, _ in ticks), sum(system for _, system in ticks))


def _ticks(stat: str) -> tuple[int, int]:
    """utime and stime of proc(5)'s `stat`; a process may be called anything, `)` included."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


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
