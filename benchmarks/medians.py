"""Medians over rounds, and ratios taken within a round before their median is."""

from statistics import median

from benchmarks import noise
from benchmarks.rows.base import Rounds


class Table:
    """What the rounds come to. Lists have a figure for each round that has what it takes."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def _each(self, row: str, target: str, name: str) -> list[float | None]:
        """One figure for each round, so that rounds can be held side by side."""
        found: list[float | None] = []
        for measured in self.rounds.get(row, {}).get(target, []):
            value = measured.get(name) if measured else None
            found.append(value if isinstance(value, float | int) else None)
        return found

    def values(self, row: str, target: str, name: str) -> list[float]:
        return [value for value in self._each(row, target, name) if value is not None]

    def median(self, row: str, target: str, name: str) -> float | None:
        values = self.values(row, target, name)
        return median(values) if values else None

    def ratios(self, row: str, target: str, other: str, name: str, *, other_row: str | None = None) -> list[float]:
        """Of neighbours in time, unless they are of different rows: what slows the machine for a while slows both."""
        pairs = zip(self._each(row, target, name), self._each(other_row or row, other, name), strict=False)
        return [one / two for one, two in pairs if one is not None and two]

    def differences(self, row: str, target: str, name: str, base: str = "direct") -> list[float]:
        """To `base`, within each round."""
        pairs = zip(self._each(row, target, name), self._each(row, base, name), strict=False)
        return [one - two for one, two in pairs if one is not None and two is not None]

    def is_noise(self, row: str, target: str, other: str, name: str) -> bool:
        """Both have the figure, and that they differ in it can't be told."""
        ratios = self.ratios(row, target, other, name)
        return bool(ratios) and noise.is_noise(ratios, 1.0)

    def curve(self, row: str, target: str, name: str) -> list[float]:
        """A list of figures, the median of each place over the rounds."""
        lists = []
        for measured in self.rounds.get(row, {}).get(target, []):
            value = measured.get(name) if measured else None
            if isinstance(value, list):
                lists.append(value)
        return [median(place) for place in zip(*lists, strict=True)]

    def samples(self, row: str, target: str, name: str) -> list[float]:
        """The lists of all rounds in one."""
        lists = (measured.get(name) for measured in self.rounds.get(row, {}).get(target, []) if measured)
        return [value for values in lists if isinstance(values, list) for value in values]
