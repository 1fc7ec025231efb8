"""A steady speed, in bursts: a source that has to wait doesn't flood afterwards to make up for it."""

# Seconds of delay that are made up for; what is later than that is let go.
_MADE_UP = 0.002


class Pace:
    """Says how long to wait before the next bytes, so that there are never more than `per_second` for long.

    `per_second` is in bytes; the moments are seconds of any one clock.
    """

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._due = now

    def wait(self, count: int, now: float) -> float:
        """Seconds to wait before `count` more bytes, 0 where they are due; from then on they count as sent."""
        if now - self._due > _MADE_UP:
            self._due = now
        wait = max(0.0, self._due - now)
        self._due += count / self._per_second
        return wait
