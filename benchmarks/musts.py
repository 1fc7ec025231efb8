"""What is demanded, and what was measured: one entry for each figure of the demand."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks import noise
from benchmarks.medians import Table
from benchmarks.rows.logs import SHAPES

_SPEED = "mb_per_second"
_PEERS = {"haproxy": "HAProxy", "nginx": "nginx", "kubectl": "kubectl proxy", "direct": "no proxy"}
_PEERS["messages"] = "message by message"


@dataclass(frozen=True)
class Must:
    """One demand, and what each round has measured: nothing where this run could not tell.

    What must hold `always` is held against the worst that was seen, and so no noise is looked for.
    """

    what: str
    limit: float
    at_most: bool
    unit: str
    rounds: list[float]
    always: bool = False

    @property
    def measured(self) -> float | None:
        if not self.rounds:
            return None
        if self.always:
            return max(self.rounds) if self.at_most else min(self.rounds)
        return median(self.rounds)

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    @property
    def demand(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {_number(self.limit)} {self.unit}".rstrip()

    @property
    def figure(self) -> str:
        return "not measured" if self.measured is None else f"{_number(self.measured)} {self.unit}".rstrip()

    @property
    def verdict(self) -> str:
        word = {True: "yes", False: "**no**", None: "?"}[self.met]
        return f"{word} {noise.MARK}" if self.is_noise else word

    @property
    def is_noise(self) -> bool:
        """On which side of the limit it is can't be told."""
        return bool(self.rounds) and not self.always and noise.is_noise(self.rounds, self.limit)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _real(table: Table) -> Iterator[Must]:
    spent = table.values("real-out", "ours", "cpu_seconds_per_gb")
    yield Must("CPU per GB, as a real apiserver sends it", limit=1.5, at_most=True, unit="s", rounds=spent)
    spent = table.values("echo-hi", "ours", "cpu_ms_per_session")
    yield Must("CPU per whole `echo hi` session", limit=4, at_most=True, unit="ms", rounds=spent)


def _throughput(table: Table) -> Iterator[Must]:
    def against(what: str, row: str, peer: str, limit: float) -> Must:
        return Must(what, limit, False, f"x {_PEERS[peer]}", table.ratios(row, "ours", peer, _SPEED))

    for peer, limit in {"haproxy": 1.2, "nginx": 1.5, "kubectl": 1.0, "direct": 0.8}.items():
        yield against("stdout, 32 KiB frames", "stdout-32768", peer, limit)
    yield against("stdout, 4 KiB frames", "stdout-4096", "haproxy", 1.0)
    yield against("stdout, 1 KiB frames", "stdout-1024", "haproxy", 1.0)
    yield against("stdout, 256 B frames", "stdout-256", "haproxy", 0.8)
    yield against("stdout, 64 B frames", "stdout-64", "haproxy", 0.6)
    yield against("stdout, 64 B frames", "stdout-64", "messages", 30)
    yield against("stdin, 32 KiB masked frames", "stdin-32768", "haproxy", 1.0)


def _logs(table: Table) -> Iterator[Must]:
    """A line a message is what nobody else does: it is held against the body that `kubectl proxy` hands on."""
    for line, chunk in SHAPES:
        body, lines = (f"{name}-{line}-{chunk}" for name in ("log", "log-lines"))
        text = f"lines of {line} B in chunks of {chunk} B"
        unit = f"x {_PEERS['kubectl']}"
        ratio = table.ratios(body, "ours", "kubectl", _SPEED)
        yield Must(f"log, {text}", limit=1.0, at_most=False, unit=unit, rounds=ratio)
        ratio = table.ratios(lines, "ours", "kubectl", _SPEED, other_row=body)
        yield Must(f"log by WebSocket, {text}", limit=1.0, at_most=False, unit=unit, rounds=ratio)


def _fifty(table: Table) -> Iterator[Must]:
    total = table.values("fifty", "ours", "sum_over_one")
    least = table.values("fifty", "ours", "least_over_mean")
    yield Must("50 sessions, their sum", limit=1.0, at_most=False, unit="x one alone", rounds=total)
    yield Must("50 sessions, the least of them", limit=0.5, at_most=False, unit="x their mean", rounds=least)


def _memory(table: Table) -> Iterator[Must]:
    name = "kib_per_session"
    ratios = [table.ratios("growth", "ours", peer, name) for peer in ("haproxy", "nginx")]
    better = max(ratios, key=median) if all(ratios) else []
    unit = "x the better of HAProxy and nginx"
    plain, tls = (table.values(row, "ours", name) for row in ("growth", "held-tls"))
    rest = table.values("growth", "ours", "rest_rss_mib")
    yield Must("idle session, memory", limit=0.6, at_most=True, unit=unit, rounds=better)
    yield Must("idle session, memory", limit=20, at_most=True, unit="KiB", rounds=plain)
    yield Must("idle session, TLS from the client, memory", limit=34, at_most=True, unit="KiB", rounds=tls)
    yield Must("resident at rest", limit=80, at_most=True, unit="MiB", rounds=rest)


def _opening(table: Table) -> Iterator[Must]:
    """Against HAProxy the added times are subtracted, too: a ratio of differences near nothing says nothing."""
    for name, word in (("median_ms", "median"), ("p99_ms", "p99")):
        more = table.differences("opening", "ours", name, "haproxy")
        yield Must(f"opening, {word}", limit=0, at_most=True, unit="ms over HAProxy's", rounds=more)
    ratio = table.ratios("opening", "ours", "haproxy", "median_ms")
    yield Must("opening, one after another, median", limit=1.3, at_most=True, unit="x HAProxy's", rounds=ratio)
    spent = table.values("opening", "ours", "cpu_ms_per_opening")
    yield Must("opening, CPU", limit=1.0, at_most=True, unit="ms", rounds=spent)
    rate = table.values("opening", "ours", "per_core_second")
    yield Must("opening, rate", limit=300, at_most=False, unit="sessions per second per core", rounds=rate)


def _keystroke(table: Table) -> Iterator[Must]:
    row, alone = "keystroke", "with nothing beside it"
    spent = table.values("typing", "ours", "cpu_us_per_keystroke")
    added = table.differences("typing", "ours", "median_ms")
    over = table.differences("typing", "ours", "p99_ms", "haproxy")
    yield Must("keystroke, CPU", limit=100, at_most=True, unit="µs", rounds=spent)
    yield Must(f"keystroke's echo {alone}, median", limit=0.15, at_most=True, unit="ms added", rounds=added)
    yield Must(f"keystroke's echo {alone}, p99", limit=0, at_most=True, unit="ms over HAProxy's", rounds=over)
    half, most = (table.differences(row, "ours", name) for name in ("median_ms", "p99_ms"))
    over = table.differences(row, "ours", "p99_ms", "haproxy")
    yield Must("keystroke's echo beside a flood, median", limit=0.3, at_most=True, unit="ms added", rounds=half)
    yield Must("keystroke's echo beside a flood, p99", limit=3, at_most=True, unit="ms added", rounds=most)
    yield Must("keystroke's echo beside a flood, p99", limit=1, at_most=True, unit="ms over HAProxy's", rounds=over)


def _interrupt(table: Table) -> Iterator[Must]:
    what, row = "output still shown after Ctrl-C, a reader of 1 MB/s", "interrupt"
    more = table.differences(row, "ours", "kib_after")
    yield Must(what, limit=128, at_most=True, unit="KiB added", rounds=more)
    for peer in ("haproxy", "nginx"):
        ratio = table.ratios(row, "ours", peer, "kib_after")
        yield Must(what, limit=1, at_most=True, unit=f"x {_PEERS[peer]}", rounds=ratio)


def _recorded(table: Table) -> Iterator[Must]:
    """A session that is recorded, beside one that isn't."""
    target, unit = "recorded", "x one that isn't recorded"
    for row, text in (("stdout-64", "stdout, 64 B frames"), ("stdout-32768", "stdout, 32 KiB frames")):
        ratio = table.ratios(row, target, "ours", _SPEED)
        yield Must(f"recorded: {text}", limit=0.5, at_most=False, unit=unit, rounds=ratio)
    for row, beside in (("typing", "with nothing beside it"), ("keystroke", "beside a flood that is recorded, too")):
        late = table.differences(row, target, "median_ms", "ours")
        what = f"recorded: keystroke's echo {beside}, median"
        yield Must(what, limit=0.1, at_most=True, unit="ms more", rounds=late)
    more = table.differences("growth", target, "kib_per_session", "ours")
    yield Must("recorded: idle session, memory", limit=64, at_most=True, unit="KiB more", rounds=more)


def _cost_and_growth(table: Table) -> Iterator[Must]:
    for row, text in (
        ("stdout-64", "stdout, 64 B frames"),
        ("stdout-32768", "stdout, 32 KiB frames"),
        ("stdin-32768", "stdin, 32 KiB masked frames"),
    ):
        cost = table.ratios(row, "ours", "haproxy", "cpu_seconds_per_gb")
        yield Must(f"CPU per GB, {text}", limit=0.9, at_most=True, unit="x HAProxy", rounds=cost)
    for name, word in (("kib", "memory"), ("seconds", "time")):
        bend = table.values("growth", "ours", f"{name}_last_over_before")
        unit = "x a session of the step before"
        yield Must(f"growth, {word} of the last step", limit=1.25, at_most=True, unit=unit, rounds=bend)


def all_of(table: Table) -> list[Must]:
    """In the order of the demand."""
    parts = (_real, _throughput, _logs, _fifty, _memory, _opening, _keystroke, _interrupt, _recorded, _cost_and_growth)
    return [must for part in parts for must in part(table)]
