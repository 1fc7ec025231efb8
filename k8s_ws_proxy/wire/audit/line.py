"""An event as a line: one JSON object, in ASCII, that holds the hash of the line before it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from k8s_ws_proxy.wire.audit.events import Event

GENESIS: Final = "0" * 64
"""What stands for the line before the first one, where there is none."""
LONGEST: Final = 1000 * 1000
"""Bytes that no line has more of: one that would is told without command and groups.

None does as a rule, since a request's line has 128 KiB at most. A NATS server takes 1 MiB.
"""
_NAMES: Final[dict[Any, tuple[tuple[str, str], ...]]] = {}  # found out once for each class
_MOST_TEXT: Final = 4096  # characters of any text but a command's arguments


@dataclass(frozen=True, slots=True)
class Place:
    """A line's place: in which run of which daemon, at what time, after which line.

    ``time`` is RFC 3339 with microseconds, ``daemon`` the run's id, ``seq`` counts its lines from 1, and ``prev`` is
    the SHA-256 of the line before it, in hex.
    """

    time: str
    seq: int
    node: str
    daemon: str
    prev: str


def line_of(event: Event, place: Place) -> bytes:
    """``event`` at ``place``, as a line without its end."""
    line = _data(event, place)
    if len(line) > LONGEST:
        line = _data(replace(event, subject=replace(event.subject, command=None, groups=())), place)
    return line


def _data(event: Event, place: Place) -> bytes:
    told: dict[str, Any] = {
        "audit": True,
        "time": place.time,
        "event": event.name,
        "seq": place.seq,
        "node": place.node,
        "daemon": place.daemon,
        "prev": place.prev,
        **_record(event.subject),
    }
    for name, key in _names(event.__class__):
        if name != "subject":
            told[key] = _value(getattr(event, name))
    # ASCII only: no byte in it is one that a terminal would obey, or that a reader takes for a line's end.
    text = json.dumps(told, separators=(", ", ": ")).replace("\x7f", "\\u007f")
    return text.encode("ascii")


def digest(data: bytes) -> str:
    """What the next line says of the line ``data``: its SHA-256, without the line's end."""
    return hashlib.sha256(data).hexdigest()


def key_of(name: str) -> str:
    """A field's name in a line: ``exit_code`` is ``exitCode``, as the session API writes names."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _record(record: Any) -> dict[str, Any]:
    return {key: _value(getattr(record, name), name) for name, key in _names(type(record))}


def _names(record: Any) -> tuple[tuple[str, str], ...]:
    """The fields of a record's class, and what they are called in a line."""
    if (found := _NAMES.get(record)) is None:
        found = _NAMES[record] = tuple((each.name, key_of(each.name)) for each in fields(record))
    return found


def _value(value: Any, name: str = "") -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _text(value if name == "command" else value[:_MOST_TEXT])
    if isinstance(value, tuple):
        return [_value(each, name) for each in value]
    return _record(value)


def _text(text: str) -> str:
    """It may hold bytes that are no UTF-8, of which JSON would make halves of characters: they are shown escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
