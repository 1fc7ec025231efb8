"""What is in a directory of recordings: one by its id, or all of them, newest first, a part at a time.

A session's id has the time when it was made in its first 48 bits (RFC 9562 §5.7), so ids are in the order of time, and
name the folder of their day. What is finished is known by its receipt, what goes on by what its daemon wrote down at
the begin. All of this blocks: it is for threads.
"""

from __future__ import annotations

import heapq
import itertools
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from k8s_ws_proxy.recordings.beneath import open_file, open_folder, read_file
from k8s_ws_proxy.recordings.directory import DAEMONS, OPEN
from k8s_ws_proxy.recordings.paths import RECEIPT, path_of, receipt_of
from k8s_ws_proxy.sessions.record import shorten
from k8s_ws_proxy.wire.recording.receipt import parse, watchers_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

RECORDING: Final = "recording"
FINISHED: Final = "finished"
FIELDS: Final = (
    "sessionId",
    "state",
    "node",
    "caller",
    "user",
    "groups",
    "reason",
    "peer",
    "impersonated",
    "subresource",
    "namespace",
    "pod",
    "container",
    "command",
    "tty",
    "began",
    "ended",
    "ending",
    "exitCode",
    "bytesIn",
    "bytesOut",
    "watchers",
    "recordingPath",
    "size",
    "sha256",
    "replaced",
    "problem",
)
"""What is told of a recording in a list: what its receipt says but its seal, and the state."""
LONGEST_COMMAND: Final = 4096  # characters that are told whole in a list
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
LATEST: Final = 253_402_300_799_999
"""Milliseconds, the last ones of the year 9999: no folder has a later day."""
_MAX_RECEIPT: Final = 1024 * 1024 + 1  # bytes that are read: one more than there may be
_MAX_RUNNING: Final = 20_000  # sessions that go on, of all daemons
AT_ONCE: Final = 1024
"""Ids of a day that are kept, whatever their number."""
_PART: Final = 1024 * 1024  # bytes of what is told that are handed on at once
LEVELS: Final = (re.compile(r"[0-9]{4}"), re.compile(r"[0-9]{2}"), re.compile(r"[0-9]{2}"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recordings: of a namespace, of a user, by the time when the session's id was made.

    ``start`` (inclusive) and ``end`` are Unix milliseconds up to LATEST. Where a list goes on, ``below`` is the id that
    it had come to.
    """

    namespace: str | None = None
    user: str | None = None
    start: int = 0
    end: int = LATEST
    below: str = ""

    def fits(self, known: Known) -> bool:
        """Whether it is one of them; its time was looked at before."""
        return self.namespace in (None, known.namespace) and self.user in (None, known.user)


@dataclass(frozen=True, slots=True)
class Known:
    """A recording. ``told`` is JSON, as a list tells it; ``daemon`` has it open, while its session goes on."""

    id: str
    namespace: str
    user: str | None
    daemon: str | None
    told: bytes


class Catalogue:
    """That of the directory ``root``. Each method raises OSError where it can't be read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, session: str) -> Known | None:
        """The recording of ``session``; None if there is none, or it isn't known whose it is."""
        if not _ID.fullmatch(session):
            return None
        for _ in range(2):  # it may be finished between the two looks
            if known := self._finished(session) or self._running(session, self.running().get(session)):
                return known
        return None

    def receipt(self, session: str) -> bytes | None:
        """Its receipt as it stands there; None if there is none."""
        try:
            return read_file(self.root, receipt_of(path_of(session)), _MAX_RECEIPT)
        except (FileNotFoundError, ValueError):
            return None

    def open(self, session: str) -> int | None:
        """A descriptor of the recording, which the caller closes; None if it isn't there."""
        try:
            return open_file(self.root, path_of(session))
        except (FileNotFoundError, ValueError):
            return None

    def running(self) -> dict[str, str]:
        """The sessions that aren't finished, each with its daemon."""
        return dict(itertools.islice(self._running_ones(), _MAX_RUNNING))

    def goes_on(self, known: Known) -> bool:
        """More may come of it."""
        if known.daemon is None or self.receipt(known.id) is not None:
            return False
        try:
            read_file(self.root, f"{DAEMONS}/{known.daemon}/{OPEN}/{known.id}", 0)
        except FileNotFoundError:
            return known.id in self.running()  # another daemon may have taken it over, to finish it
        return True

    def walk(self, wanted: Wanted) -> Walk:
        """Those that are wanted, newest first."""
        return Walk(self, wanted)

    def ids(self, wanted: Wanted, running: Iterable[str]) -> Iterator[str]:
        """Those that its times leave, newest first, each once; ``running`` have no receipt yet."""
        going_on: dict[str, list[str]] = {}
        for each in running:
            going_on.setdefault(path_of(each).rpartition("/")[0], []).append(each)
        for day in self._days(wanted):
            below = wanted.below or "g"
            while True:
                receipts = (name.removesuffix(RECEIPT) for name in self._names(day) if name.endswith(RECEIPT))
                going = going_on.get("/".join(day), ())
                found = newest(itertools.chain(going, receipts), wanted, below)
                yield from dict.fromkeys(found)
                if len(found) < AT_ONCE:
                    break
                below = found[-1]

    def look(self, session: str, running: Mapping[str, str]) -> Known | None:
        """What is known of one that ids() gave; None if it can't be read, or is gone."""
        try:
            return self._finished(session) or self._running(session, running.get(session))
        except OSError:
            return None

    def _days(self, wanted: Wanted) -> Iterator[tuple[str, ...]]:
        def below(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
            if len(names) == len(LEVELS):
                yield names
                return
            for name in sorted(self._names(names), reverse=True):
                if on_the_way((*names, name), wanted):
                    yield from below((*names, name))

        return below(())

    def _names(self, folder: Sequence[str]) -> Iterator[str]:
        try:
            fd = open_folder(self.root, folder)
        except FileNotFoundError:
            return
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    yield entry.name
        finally:
            os.close(fd)

    def _running_ones(self) -> Iterator[tuple[str, str]]:
        for daemon in self._names((DAEMONS,)):
            for session in self._names((DAEMONS, daemon, OPEN)):
                if _ID.fullmatch(session) and session < _prefix(LATEST):
                    yield session, daemon

    def _finished(self, session: str) -> Known | None:
        return None if (found := self.receipt(session)) is None else known_by(session, found)

    def _running(self, session: str, daemon: str | None) -> Known | None:
        if daemon is None or (fd := self.open(session)) is None:
            return None
        try:
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        try:
            facts = orjson.loads(read_file(self.root, f"{DAEMONS}/{daemon}/{OPEN}/{session}", _MAX_RECEIPT))
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        if not isinstance(facts, dict):
            return None
        more = {
            "sessionId": session,
            "recordingPath": path_of(session),
            "size": size,
            "watchers": watchers_in(facts),
        }
        return _known(session, {**facts, **more}, daemon)


class Walk:
    """A list as it goes on. ``last`` is the id that was looked at last, ``over`` says that there are no more.

    ``examined`` counts what was looked at, ``skipped`` what of it couldn't be read.
    """

    def __init__(self, catalogue: Catalogue, wanted: Wanted) -> None:
        self._catalogue = catalogue
        self._wanted = wanted
        self._running: Mapping[str, str] = {}
        self._ids: Iterator[str] | None = None
        self._next: str | None = None
        self.last = wanted.below
        self.over = False
        self.examined = 0
        self.skipped = 0

    def take(self, most: int, within: float) -> list[Known]:
        """The next ones among ``most`` that are looked at, in about ``within`` seconds; fewer if they are large.

        One is looked at in any case, so that a list goes on however long its folder took.
        """
        until = time.monotonic() + within
        if self._ids is None:
            self._running = self._catalogue.running()
            self._ids = self._catalogue.ids(self._wanted, self._running)
            self._next = next(self._ids, None)
        found: list[Known] = []
        size = 0
        for number in range(most):
            if self._next is None or size > _PART or (number and time.monotonic() > until):
                break
            self.last, self._next = self._next, next(self._ids, None)
            self.examined += 1
            known = self._catalogue.look(self.last, self._running)
            if known is None:
                self.skipped += 1
            elif self._wanted.fits(known):
                found.append(known)
                size += len(known.told)
        self.over = self._next is None
        return found


def newest(ids: Iterable[str], wanted: Wanted, below: str) -> list[str]:
    """The newest among ``ids`` that its times leave and that are older than ``below``: AT_ONCE of them at most."""
    start, end = _prefix(wanted.start), min(below, _prefix(wanted.end))
    return heapq.nlargest(AT_ONCE, (each for each in ids if start <= each < end and _ID.fullmatch(each)))


def on_the_way(names: tuple[str, ...], wanted: Wanted) -> bool:
    """Whether these folders, one within the other, are a day that its times leave, or lead to one."""
    if not all(level.fullmatch(name) for level, name in zip(LEVELS, names, strict=False)):
        return False
    path = "/".join(names)
    return _day(wanted.start)[: len(path)] <= path <= _day(wanted.end)[: len(path)]


def known_by(session: str, receipt: bytes) -> Known | None:
    """What a receipt tells of ``session``; None if it is no receipt, or another's."""
    if (facts := parse(receipt)) is None or facts["sessionId"] != session:
        return None
    return _known(session, facts)


def _known(session: str, facts: Mapping[str, Any], daemon: str | None = None) -> Known | None:
    namespace, user = facts.get("namespace"), facts.get("user")
    if not isinstance(namespace, str) or not isinstance(user, str | None):
        return None
    told = {name: facts.get(name) for name in FIELDS}
    told["state"] = RECORDING if daemon else FINISHED
    told["command"] = _shortened(told["command"])
    try:
        return Known(session, namespace, user, daemon, orjson.dumps(told))
    except orjson.JSONEncodeError:  # halves of characters, numbers without an end: nobody here wrote that
        return None


def _shortened(command: Any) -> Any:
    """One that is too long to be told whole in a list; its receipt has all of it."""
    if not isinstance(command, list) or sum(len(str(each)) for each in command) <= LONGEST_COMMAND:
        return command
    return shorten([str(each) for each in command])


def _prefix(milliseconds: int) -> str:
    """What an id that was made then begins with."""
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _day(milliseconds: int) -> str:
    day = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{day.year:04}/{day.month:02}/{day.day:02}"
