"""A row of measurements: one target, one round, one fresh bed."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from benchmarks.targets.base import Endpoint, Target

Measured = dict[str, float | list[float]]
# row -> target -> one entry for each round; None where that round went wrong, so that rounds stay side by side.
Rounds = dict[str, dict[str, list[Measured | None]]]

# Sessions that aren't counted: the first ones import, fill caches and have no TLS session to resume.
FIRST = 20


@dataclass(frozen=True)
class Plan:
    """How much of everything; seconds and counts. None is begun after `at_most` seconds, where that isn't 0."""

    rounds: int
    warm_up: float
    seconds: float
    opened: int
    idle: int
    growth: tuple[int, ...]
    beside: int
    keystrokes: int
    at_most: float


FULL = Plan(
    rounds=5,
    warm_up=0.4,
    seconds=2.0,
    opened=500,
    idle=2000,
    growth=(10, 100, 1000, 2000, 5000),
    beside=500,
    keystrokes=1000,
    at_most=0.0,
)
QUICK = Plan(
    rounds=3,
    warm_up=0.2,
    seconds=0.6,
    opened=150,
    idle=300,
    growth=(10, 100, 300),
    beside=20,
    keystrokes=500,
    at_most=150.0,
)


class Lay(Protocol):
    """Lays the target of this measurement, new."""

    def __call__(self, *, client_tls: bool = False) -> AbstractContextManager[Endpoint]:
        """An endpoint that listens, for as long as the block lasts."""


class Row(Protocol):
    """One kind of measurement."""

    @property
    def name(self) -> str:
        """What `--only` and the results call it."""

    def applies(self, target: Target) -> bool:
        """Whether it can be measured on this target."""

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        """Numbers by name."""
