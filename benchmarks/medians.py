"""Medians over rounds, and ratios taken within a round before their median is."""

from statistics import median

from benchmarks.rounds import Rounds


class Table:
    """What the rounds come to."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def each(self, row: str, target: str, name: str) -> list[float | None]:
        """One figure for each round."""
        found: list[float | None] = []
        for measured in self.rounds.get(row, {}).get(target, []):
            value = measured.get(name) if measured else None
            found.append(value if isinstance(value, float | int) else None)
        return found

    def median(self, row: str, target: str, name: str) -> float | None:
        values = [value for value in self.each(row, target, name) if value is not None]
        return median(values) if values else None

    def ratio(self, row: str, target: str, other: str, name: str, *, other_row: str | None = None) -> float | None:
        """Of neighbours in time, unless they are of different rows: what slows the machine for a while slows both."""
        pairs = zip(self.each(row, target, name), self.each(other_row or row, other, name), strict=False)
        ratios = [one / two for one, two in pairs if one is not None and two]
        return median(ratios) if ratios else None

    def added(self, row: str, target: str, name: str, base: str = "direct") -> float | None:
        """The difference to `base` within each round."""
        pairs = zip(self.each(row, target, name), self.each(row, base, name), strict=False)
        differences = [one - two for one, two in pairs if one is not None and two is not None]
        return median(differences) if differences else None

    def curve(self, row: str, target: str, name: str) -> list[float]:
        """A list of figures, the median of each place over the rounds."""
        lists = []
        for measured in self.rounds.get(row, {}).get(target, []):
            value = measured.get(name) if measured else None
            if isinstance(value, list):
                lists.append(value)
        return [median(place) for place in zip(*lists, strict=True)]
