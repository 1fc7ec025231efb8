"""Asciicast as it is read, a part at a time: v3 (times since the event before) and v2 (since the begin).

docs.asciinema.org, "asciicast v3" and "asciicast v2". What isn't that is refused, and what is kept of a file is a line
at most, so that whoever wrote it decides nothing about our memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from k8s_ws_proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTPUT: Final = "o"
RESIZE: Final = "r"
EXIT: Final = "x"
MAX_LINE: Final = 4 * 1024 * 1024
"""Bytes of a line: an event is a read's, and a command in the header may have 128 KiB."""
_LARGEST: Final = 9999  # columns or rows
_LONGEST: Final = 10**9  # seconds from the begin, some thirty years
_NANO: Final = 10**9
_SIZE: Final = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", re.ASCII)


class NotACast(ProxyError):
    """It is no asciicast that can be read; the message says in which line."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in the first line. ``timestamp`` is Unix seconds, ``idle_time_limit`` seconds.

    Texts are as the file has them: a terminal might obey what is in them.
    """

    version: int
    columns: int
    rows: int
    timestamp: float | None = None
    title: str = ""
    command: str = ""
    tags: tuple[str, ...] = ()
    idle_time_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """``code`` at ``at`` seconds from the begin: one of the constants here, or another, which is passed over."""

    at: float
    code: str
    data: str

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and rows of a resize; None of what isn't one."""
        found = _SIZE.fullmatch(self.data) if self.code == RESIZE else None
        return (int(found[1]), int(found[2])) if found else None


class CastReader:
    """Reads one. ``header`` is there once its line is; ``torn`` says, at the end, that the last line wasn't whole."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self.torn = False
        self.comments: list[str] = []  # the last ones, as they stand there
        self._rest = bytearray()
        self._line = 0
        self._now = 0  # nanoseconds: what was rounded isn't added up

    def feed(self, data: bytes) -> list[Event]:
        """The events in whose lines ``data`` has the end. Raises NotACast."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        events = [event for line in lines if (event := self._read(line)) is not None]
        if len(self._rest) > MAX_LINE:
            self._line += 1
            self._refuse(f"it has more than {MAX_LINE} bytes")
        return events

    def end(self) -> list[Event]:
        """The file is over: the last line's event, if nothing but its end is missing.

        Raises NotACast where there is no header.
        """
        rest = bytes(self._rest)
        self._rest.clear()
        events: list[Event] = []
        if rest:
            try:
                found = self._read(rest)
            except NotACast:
                self.torn = True
            else:
                events = [] if found is None else [found]
        if self.header is None:
            raise NotACast("it is no asciicast: there is no header")
        return events

    def _read(self, line: bytes) -> Event | None:
        self._line += 1
        if len(line) > MAX_LINE:
            self._refuse(f"it has more than {MAX_LINE} bytes")
        if self.header is None:
            self.header = self._header(line)
            return None
        if line.startswith(b"#") and self.header.version == 3:
            self.comments = [*self.comments[-9:], line[1:].strip().decode("utf-8", "replace")]
            return None
        if not line.strip():
            return None
        return self._event(line)

    def _event(self, line: bytes) -> Event:
        found = self._json(line)
        if not isinstance(found, list) or len(found) != 3:
            self._refuse("it is no event: a list of a time, a code and a text")
        time, code, data = found
        if not isinstance(code, str) or len(code) != 1 or not isinstance(data, str):
            self._refuse("it is no event: a list of a time, a code and a text")
        seconds = self._seconds(time)
        nanoseconds = round(seconds * _NANO)
        assert self.header is not None
        # v2 has the time since the begin; what comes late there is taken as it comes.
        self._now = self._now + nanoseconds if self.header.version == 3 else max(self._now, nanoseconds)
        if self._now > _LONGEST * _NANO:
            self._refuse("its time is too far off")
        return Event(self._now / _NANO, code, data)

    def _header(self, line: bytes) -> Header:
        found = self._json(line)
        version = found.get("version") if isinstance(found, dict) else None
        if type(version) is not int or version not in (2, 3):
            self._refuse("it is no header of asciicast v2 or v3")
        if version == 3:
            term = found.get("term")
            if not isinstance(term, dict):
                self._refuse("the header has no term")
            size = term.get("cols"), term.get("rows")
        else:
            size = found.get("width"), found.get("height")
        columns, rows = map(self._characters, size)
        tags = found.get("tags")
        return Header(
            version,
            columns,
            rows,
            self._number(found, "timestamp"),
            self._text(found, "title"),
            self._text(found, "command"),
            self._texts(tags) if tags is not None else (),
            self._number(found, "idle_time_limit"),
        )

    def _characters(self, value: Any) -> int:
        if type(value) is not int or not 1 <= value <= _LARGEST:
            self._refuse(f"the terminal's size isn't from 1 to {_LARGEST}")
        return value

    def _number(self, found: dict[str, Any], name: str) -> float | None:
        value = found.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 10**12:
            self._refuse(f"{name} isn't a number that it can be")
        return float(value)

    def _text(self, found: dict[str, Any], name: str) -> str:
        value = found.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._refuse(f"{name} isn't a text")
        return value

    def _texts(self, value: Sequence[Any]) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._refuse("tags isn't a list of texts")
        return tuple(value)

    def _seconds(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
            self._refuse("its time isn't a number of seconds")
        return float(value)

    def _json(self, line: bytes) -> Any:
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            self._refuse("it isn't JSON in UTF-8")

    def _refuse(self, why: str) -> NoReturn:
        raise NotACast(f"line {self._line} can't be read as asciicast: {why}")
