"""Whether an audit trail is whole: no line is removed, changed, moved or cut (docs/audit.md, "The chain").

Each line holds the hash of the one before it in its run. A run begins with the hash of the last line that stood in its
file, or with zeros. Several runs may stand in one file, one after the other or among each other, as several daemons'
lines do where logs are collected; other lines of a log may stand between them. Where the oldest files are gone, the
lines of each run that was going on then begin somewhere in its middle.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from k8s_ws_proxy.rfc3339 import rfc3339, unix
from k8s_ws_proxy.wire.audit.line import GENESIS, LONGEST, digest

_RECENT: Final = 4096  # lines of a node after which another run may have begun
_APART: Final = 3600.0  # seconds: of two daemons on a node each sends its own lines, and one may be held up so long
_MARK: Final = b'{"audit": true'  # how a line begins that was written by a daemon
# What a line's place looks like: whoever forged one can't have it printed on somebody's terminal.
_DAEMON: Final = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)
_EVENT: Final = re.compile(r"[a-z]{1,32}(?:\.[a-z]{1,32})*", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", re.ASCII)


class Kind(Enum):
    """What is wrong; the value is the word for it."""

    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Spot:
    """A line's number, from 1, in which file."""

    file: str
    number: int

    def __str__(self) -> str:
        """For a person."""
        return f"{self.file}, line {self.number}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, where it is seen, and in words."""

    kind: Kind
    spot: Spot
    text: str

    def __str__(self) -> str:
        """For a person."""
        return f"{self.spot}: {self.kind.value}: {self.text}"


@dataclass(slots=True)
class Run:
    """One run of a daemon, as far as it was read. ``first`` and ``last`` are its lines' numbers in the run."""

    daemon: str
    node: str
    first: int
    last: int
    digest: str
    spot: Spot
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """What the chain needs of a line."""

    daemon: str
    node: str
    seq: int
    prev: str
    time: str
    last: bool
    digest: str


class _Unreadable(Exception):
    """A line of the trail that can't be read any more."""

    def __init__(self, text: str, kind: Kind) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class _Gap:
    """Lines of a run that aren't where they should be."""

    daemon: str
    first: int
    last: int


@dataclass(slots=True)
class Chains:
    """What was read so far. ``fault`` is the first thing that is wrong.

    Lines are given in their order, files as they were rotated, the oldest first.
    """

    lines: int = 0
    began: str = ""
    ended: str = ""
    runs: dict[str, Run] = field(default_factory=dict)
    _fault: Fault | None = None
    _gap: _Gap | None = None
    _told: dict[str, tuple[str, str]] = field(default_factory=dict)  # of each node, its lines' first and last time
    _recent: dict[str, deque[str]] = field(default_factory=dict)  # of each node, its lines' digests
    _wanted: dict[str, tuple[Spot, str]] = field(default_factory=dict)  # what new runs say that they began after

    def feed(self, data: bytes, spot: Spot, *, whole: bool = True) -> None:
        """One line, without its end; it isn't ``whole`` where the file ends without one."""
        data = data.rstrip(b"\r")
        try:
            read = _read(data)
        except _Unreadable as error:
            self._found(Fault(error.kind, spot, str(error)) if whole else _torn(spot))
            return
        if read is None:
            if not whole and data.startswith(b"{") and not data.endswith(b"}"):
                self._found(_torn(spot))
            return
        if not whole:
            self._found(_torn(spot))
        self.lines += 1
        self.began = min(self.began or read.time, read.time)
        self.ended = max(self.ended, read.time)
        run = self.runs.get(read.daemon)
        if run is None:
            self._begin(read, spot)
        else:
            self._go_on(run, read, spot)
        self._wanted.pop(read.digest, None)
        self._recent.setdefault(read.node, deque(maxlen=_RECENT)).append(read.digest)
        first, last = self._told.get(read.node, (read.time, read.time))
        self._told[read.node] = min(first, read.time), max(last, read.time)

    @property
    def fault(self) -> Fault | None:
        """The first thing that is wrong with what was read; when all of it was, also what is missing for good."""
        if self._fault is None and self._wanted:
            spot, daemon = next(iter(self._wanted.values()))
            return Fault(
                Kind.REMOVED,
                spot,
                f"the run {daemon} began after a line that isn't there: what stood before it was removed or changed",
            )
        return self._fault

    def _begin(self, read: _Read, spot: Spot) -> None:
        known = self._recent.get(read.node)
        if known is not None and not self._began_before_all(read):
            if read.seq == 1 and read.prev != GENESIS and read.prev not in known:
                # It may come yet: of two daemons on a node each sends its own lines.
                self._wanted[read.prev] = spot, read.daemon
            elif read.seq > 1:
                self._miss(read.daemon, 1, read.seq - 1, spot)
        self.runs[read.daemon] = Run(read.daemon, read.node, read.seq, read.seq, read.digest, spot, read.last)

    def _began_before_all(self, read: _Read) -> bool:
        """Whether its run may have begun before all lines of its node that are here, in a file that is gone.

        Then all of these were told between its begin and this line of it. What was told with a clock that was ahead,
        or is dated so by who put it there, wasn't.
        """
        first, last = self._told[read.node]
        return _began(read.daemon) < first and last <= _later(read.time, _APART)

    def _go_on(self, run: Run, read: _Read, spot: Spot) -> None:
        if read.seq <= run.last:
            self._out_of_order(run, read, spot)
            return
        if read.seq > run.last + 1:
            self._miss(run.daemon, run.last + 1, read.seq - 1, spot)
        elif read.prev != run.digest:
            self._found(
                Fault(
                    Kind.CHANGED,
                    run.spot,
                    f"it was changed after it was written: {spot} holds another hash of it (line {run.last} of the run "
                    f"{run.daemon})",
                )
            )
        elif run.stopped:
            self._found(Fault(Kind.CHANGED, spot, f"the run {run.daemon} had ended before it"))
        run.last, run.digest, run.spot = read.seq, read.digest, spot
        run.stopped = read.last

    def _miss(self, daemon: str, first: int, last: int, spot: Spot) -> None:
        if self._fault is None:
            self._gap = _Gap(daemon, first, last)
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        self._found(
            Fault(
                Kind.REMOVED,
                spot,
                f"{lines} of the run {daemon} should stand before it, and {_are(first, last)} not there",
            )
        )

    def _out_of_order(self, run: Run, read: _Read, spot: Spot) -> None:
        gap = self._gap
        if (
            gap is not None
            and gap.daemon == run.daemon
            and gap.first <= read.seq <= gap.last
            and self._fault is not None
        ):
            where = self._fault.spot
            self._gap = None
            self._fault = Fault(
                Kind.MOVED,
                where,
                f"line {read.seq} of the run {run.daemon} should stand before it, and stands in {spot}",
            )
        else:
            self._found(
                Fault(Kind.MOVED, spot, f"line {read.seq} of the run {run.daemon} comes after its line {run.last}")
            )

    def _found(self, fault: Fault) -> None:
        if self._fault is None:
            self._fault = fault


@dataclass(frozen=True, slots=True)
class Label:
    """What is needed of a line to send it on: its event's name, its id, and when it was told.

    The id is the same for each copy of a line, and for no other line: by it NATS knows a repeat.
    """

    event: str
    id: str
    time: str


def label_of(data: bytes) -> Label:
    """Of a line of the trail. Raises ValueError where it is none."""
    try:
        read = _read(data)
    except _Unreadable as error:
        raise ValueError(str(error)) from error
    event = json.loads(data).get("event") if read else None
    if read is None or not isinstance(event, str) or not _EVENT.fullmatch(event):
        raise ValueError("it isn't a line of the audit trail")
    return Label(event, f"{read.daemon}-{read.seq}", read.time)


def end_of(tail: bytes) -> tuple[str | None, int]:
    """The digest of the last whole line in the ``tail`` of a file, and how many bytes of an unfinished one follow.

    What follows and isn't the beginning of such a line isn't counted.
    """
    whole, _, torn = tail.rpartition(b"\n")
    length = len(torn) if torn[: len(_MARK)] == _MARK[: len(torn)] else 0
    for line in reversed(whole.split(b"\n")):
        try:
            read = _read(line)
        except _Unreadable:
            continue
        if read is not None:
            return read.digest, length
    return None, length


def _began(daemon: str) -> str:
    """When the run began, as its id tells (RFC 9562 §5.7), in a line's form. Where it doesn't tell, after all lines."""
    try:
        found = uuid.UUID(daemon)
        return rfc3339((found.int >> 80) / 1000, "microseconds") if found.version == 7 else "~"
    except (ValueError, OverflowError):  # of which the last is of a time that no calendar has
        return "~"


def _later(time: str, seconds: float) -> str:
    """``time``, so much later; the same where no calendar has it."""
    try:
        return rfc3339(unix(time) + seconds, "microseconds")
    except (ValueError, OverflowError):
        return time


def _torn(spot: Spot) -> Fault:
    return Fault(Kind.CUT, spot, "the file ends before this line does: it is the last one, and cut off")


def _are(first: int, last: int) -> str:
    return "is" if first == last else "are"


def _read(data: bytes) -> _Read | None:
    """What stands in a line; None where it is none of the trail's. Raises _Unreadable where it was one."""
    marked = data.startswith(_MARK)
    if not data.startswith(b"{"):
        if b'"daemon": "' in data and b'"prev": "' in data:
            raise _Unreadable("its beginning is gone, or something stands before it", Kind.CUT)
        return None
    if len(data) > LONGEST + 1024 and marked:
        raise _Unreadable("it is longer than any line is", Kind.CHANGED)
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        if marked:
            raise _Unreadable("it isn't JSON: it was cut, or something was put into it", Kind.CUT) from None
        return None
    if not isinstance(found, dict) or found.get("audit") is not True:
        return None
    daemon, node, seq, prev, time = (found.get(name) for name in ("daemon", "node", "seq", "prev", "time"))
    if (
        not (isinstance(daemon, str) and _DAEMON.fullmatch(daemon))
        or not (isinstance(prev, str) and _DIGEST.fullmatch(prev))
        or not (isinstance(time, str) and _TIME.fullmatch(time))
        or not (isinstance(node, str) and type(seq) is int and seq >= 1)
    ):
        raise _Unreadable("its daemon, node, seq, prev or time isn't one", Kind.CHANGED)
    return _Read(daemon, node, seq, prev, time, found.get("event") == "daemon.stopped", digest(data))
