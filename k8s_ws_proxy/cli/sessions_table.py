"""What proxies tell of their sessions, for a person: a table, one at length, and what has changed since."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.answers import printable
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.rfc3339 import unix

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    SessionJson = Mapping[str, Any]

NOTHING: Final = "-"
ENDED: Final = "ended"
SHORTEST: Final = 8  # characters of an id that are shown at least
_HEADINGS: Final = ("ID", "STATE", "POD", "CONTAINER", "USER", "NODE", "AGE", "IDLE", "KIND")
_MORE_HEADINGS: Final = ("WATCHERS", "PEER", "IN", "OUT", "REASON", "COMMAND")
_LONGEST_CELL: Final = 60  # characters of what somebody typed
_UNITS: Final = ("Ki", "Mi", "Gi", "Ti")
_MODES: Final = {"client_cert": "cert"}


class MalformedAnswer(ProxyError):
    """An answer isn't what the session API says."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a table keeps of a session; ``pod`` has its namespace before it, ``started`` is in Unix seconds."""

    id: str
    state: str
    pod: str
    container: str
    user: str
    node: str
    started: float
    idle: float | None
    kind: str
    watchers: int
    more: tuple[str, ...]

    @property
    def order(self) -> tuple[str, float, str]:
        """Where it stands in a table."""
        return (self.pod, self.started, self.id)

    def cells(self, id_: str, now: float, *, wide: bool) -> tuple[str, ...]:
        """As text, its id shown so."""
        idle = NOTHING if self.idle is None else age(self.idle)
        shown = (
            *(id_, self.state, self.pod, self.container, self.user, self.node),
            *(age(now - self.started), idle, self.kind),
        )
        return (*shown, str(self.watchers), *self.more) if wide else shown


def row_of(told: SessionJson, *, wide: bool) -> Row:
    """A session as a proxy tells it. Raises MalformedAnswer."""
    with _as_agreed():
        tty = "/tty" if told["tty"] else ""
        idle = told["idleSeconds"]
        more = (
            _line(told["peer"]),
            size(int(told["bytesIn"])),
            size(int(told["bytesOut"])),
            _cut(told["reason"]),
            _cut(" ".join(told["command"] or ())),
        )
        return Row(
            id=_line(told["sessionId"]),
            state=sys.intern(_line(told["state"])),
            pod=_line(f"{told['namespace']}/{told['pod']}"),
            container=sys.intern(_line(told["container"])),
            user=sys.intern(_line(user_of(told))),
            node=sys.intern(_line(told["node"])),
            started=unix(told["started"]),
            idle=None if idle is None else float(idle),
            kind=sys.intern(_line(f"{told['subresource']}{tty}")),
            watchers=len(told["watchers"]),
            more=more if wide else (),
        )


def user_of(told: SessionJson) -> str:
    """Its user, or else the key or the certificate that it came in by."""
    caller = told["caller"]
    credential = f"{_MODES.get(caller['mode'], 'key')}:{caller['name']}"
    return str(told["user"] or credential)


def age(seconds: float) -> str:
    """As kubectl writes one: two units at most, and only as exact as matters."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    return _two(days, "d", hours % 24, "h") if days < 8 else f"{days}d"


def size(number: int) -> str:
    """Bytes, in the unit that leaves four characters or so."""
    if number < 1024:
        return f"{number}B"
    power = min((number.bit_length() - 1) // 10, len(_UNITS))
    rest = number / 1024**power
    return f"{rest:.1f}{_UNITS[power - 1]}" if rest < 10 else f"{rest:.0f}{_UNITS[power - 1]}"


def shortest(ids: Collection[str]) -> int:
    """How many characters at their end tell these ids apart. UUIDv7s begin alike: with the time."""
    length = SHORTEST
    while length < 36 and len({each[-length:] for each in ids}) < len(set(ids)):
        length += 1
    return length


class Changes:
    """What is new of sessions that are told of again and again."""

    def __init__(self) -> None:
        self.known: dict[str, Row] = {}

    def since(self, rows: Iterable[Row], unheard: Collection[str] = ()) -> list[Row]:
        """Those that are new, have another state or other watchers, or are gone: these as ``ended``.

        Nothing is known of sessions on the nodes in ``unheard``.
        """
        found = {row.id: row for row in rows}
        lost = [row for row in self.known.values() if row.id not in found and row.node not in unheard]
        news = [row for row in found.values() if _is_news(self.known.get(row.id), row)]
        self.known |= found
        for row in lost:
            del self.known[row.id]
        gone = [replace(row, state=ENDED, idle=None, watchers=0) for row in lost]
        return sorted(news, key=lambda row: row.order) + sorted(gone, key=lambda row: row.order)


class Table:
    """Lines of one table, whose columns are as wide as its first rows made them.

    ``wide``: whole ids, and more columns.
    """

    def __init__(self, *, wide: bool) -> None:
        self._wide = wide
        self._ids: dict[str, str] = {}  # as they are shown
        self._length = SHORTEST
        self._widths: list[int] = []

    def lines(self, rows: Sequence[Row], now: float) -> Iterator[str]:
        """For these rows; none for none."""
        if rows and not self._widths:
            self._length = shortest([row.id for row in rows])
            head = (*_HEADINGS, *_MORE_HEADINGS) if self._wide else _HEADINGS
            widths = list(map(len, head))
            for row in rows:  # their cells are made twice: there may be a hundred thousand, and none is kept
                widths = list(map(max, widths, map(len, self._cells(row, now))))
            self._widths = widths
            yield self._line(head)
        for row in rows:
            yield self._line(self._cells(row, now))
            if row.state == ENDED and self._ids.get(short := row.id[-self._length :]) == row.id:
                del self._ids[short]

    def _cells(self, row: Row, now: float) -> tuple[str, ...]:
        return row.cells(self._shown(row.id), now, wide=self._wide)

    def _line(self, cells: Sequence[str]) -> str:
        return "   ".join(cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)).rstrip()

    def _shown(self, id_: str) -> str:
        """As it is shown all the time: short, unless another one was shown so before."""
        if self._wide:
            return id_
        short = id_[-self._length :]
        if self._ids.setdefault(short, id_) != id_:
            return id_
        return short


def at_length(told: SessionJson, now: float) -> Iterator[str]:
    """One session, a line for each that is known of it. Raises MalformedAnswer."""
    with _as_agreed():
        row = row_of(told, wide=True)
        idle = "" if row.idle is None else f", idle for {age(row.idle)}"
        lines = {
            "Session": row.id,
            "State": f"{row.state}{idle}",
            "Started": f"{_line(told['started'])} ({age(now - row.started)} ago)",
            "Pod": row.pod,
            "Container": row.container,
            "Node": row.node,
            "Kind": row.kind,
            "Command": _line(" ".join(told["command"] or ())),
            "User": _line(told["user"]),
            "Groups": _line(", ".join(map(str, told["groups"]))),
            "Reason": _line(told["reason"]),
            "Credential": _line(f"{told['caller']['mode']}, {told['caller']['name']}"),
            "Peer": _line(told["peer"]),
            "Bytes in": str(told["bytesIn"]),
            "Bytes out": str(told["bytesOut"]),
            "Watchers": _line(", ".join(f"{each['user']} ({each['mode']})" for each in told["watchers"])),
            "Recording": _line(told["recordingPath"]),
        }
    for name, text in lines.items():
        yield f"{name + ':':13}{text}"


@contextlib.contextmanager
def _as_agreed() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedAnswer(f"that is no session as k8s-ws-proxy tells of one: {error!r}") from error


def _is_news(before: Row | None, row: Row) -> bool:
    return before is None or (before.state, before.watchers) != (row.state, row.watchers)


def _two(greater: int, unit: str, less: int, of: str) -> str:
    return f"{greater}{unit}{less}{of}" if less else f"{greater}{unit}"


def _cut(value: object) -> str:
    text = _line(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _line(value: object) -> str:
    """``value`` on one line, without what a terminal would obey."""
    text = NOTHING if value is None or value == "" else str(value)
    return printable(text).replace("\n", "\ufffd")
