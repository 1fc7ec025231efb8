"""One siege: those who mean well come in, are watched without an attack, and then with it."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import certs
from benchmarks.process import EndedError
from benchmarks.siege import watch
from benchmarks.siege.attacks.base import Attack, Attackers
from benchmarks.siege.bed import Besieged, Memory, busy, laid

Figures = dict[str, float]


@dataclass
class Measured:
    """Both halves of a siege. `lost` counts whoever's session, byte or answer was lost, and why is in `said`."""

    without: Figures
    under: Figures
    lost: int = 0
    said: str = ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Watched:
    """The four kinds of those who mean well, and the daemon's memory."""

    def __init__(self, bed: Besieged) -> None:
        self._memory = Memory(bed.pid)
        self._watchers: dict[str, watch.Watcher] = {}
        for work in (watch.idle, watch.typist, watch.flood, watch.probe):
            self._watchers[work.__name__] = watch.Watcher(work, bed)

    def for_seconds(self, seconds: float, begin: Callable[[], None] = lambda: None) -> Figures:
        """What is seen of each from when this begins, for so long, and until a wait that has begun by then is over."""
        self._ask()
        self._memory.reset()
        begin()
        time.sleep(seconds)
        seen = self._ask()
        return {
            "typist_ms": seen["typist"].get("longest_ms", watch.GIVE_UP * 1e3),
            "probe_ms": seen["probe"].get("longest_ms", watch.GIVE_UP * 1e3),
            "flood_mb_per_second": seen["flood"].get("mb_per_second", 0.0),
            "peak_mib": self._memory.peak(),
            "lost": sum(each["lost"] for each in seen.values()),
        }

    @contextlib.contextmanager
    def at_ease(self) -> Iterator[None]:
        """The flood takes what it can get of the processors, so it waits while an attack is prepared.

        What is made for a connection has to be ready before the daemon takes it for one that says nothing.
        """
        self._watchers["flood"].pause()
        try:
            yield
        finally:
            self._watchers["flood"].go_on()

    def _ask(self) -> dict[str, watch.Seen]:
        for watcher in self._watchers.values():
            watcher.look()
        return {name: watcher.seen() for name, watcher in self._watchers.items()}

    def end(self) -> dict[str, int]:
        """Who is lost after all, by name."""
        lost = {"typist": int(self._asked("typist")["lost"])}
        lost |= {name: int(self._watchers[name].end()["lost"]) for name in ("flood", "idle")}
        return {name: count for name, count in lost.items() if count}

    def _asked(self, name: str) -> watch.Seen:
        self._watchers[name].look()
        return self._watchers[name].seen()

    def stop(self) -> None:
        for watcher in self._watchers.values():
            watcher.stop()


def besieged(attack: Attack, tree: Path, seconds: float) -> Measured:
    """A new daemon of `tree`. First without the attack, a process beside it that is as busy; then with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = certs.make(folder)
        with laid(made, folder, tree, log_is_read=attack.log_is_read) as bed:
            watched = Watched(bed)
            try:
                return _both(attack, bed, watched, seconds)
            finally:
                watched.stop()


def _both(attack: Attack, bed: Besieged, watched: Watched, seconds: float) -> Measured:
    dummies = [watch.FORK.Process(target=busy, daemon=True) for _ in range(attack.processes)]
    for dummy in dummies:
        dummy.start()
    without = watched.for_seconds(seconds)
    for dummy in dummies:
        dummy.kill()
        dummy.join()
    with watched.at_ease():
        attackers = Attackers(attack, bed)
    try:
        under = watched.for_seconds(seconds, attackers.begin)
    finally:
        begun = attackers.stop()
    under["begun"] = begun
    lost = watched.end()
    return Measured(without, under, sum(lost.values()), ", ".join(f"{name}: {count}" for name, count in lost.items()))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def tried(attack: Attack, tree: Path, seconds: float) -> Measured | None:
    """None if it couldn't be measured; that is said."""
    try:
        measured = besieged(attack, tree, seconds)
    except (OSError, EndedError) as exc:
        say(f"{attack.name}: not measured: {exc!r}")
        return None
    say(f"{attack.name}: {_brief(measured.without)} | {_brief(measured.under)} | lost {measured.said or 'nobody'}")
    return measured


def _brief(figures: Figures) -> str:
    return "  ".join(f"{name} {value:.0f}" for name, value in figures.items())
