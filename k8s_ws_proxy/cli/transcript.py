"""A recording as the text that a person would have read: what scrolled away, and what stood on the screen.

The terminal is pyte's, which is in the extra ``export``. It knows no second screen, which programs such as vim draw on:
here that is a screen of its own, and what stood on it last is told when it is left.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.wire.recording.cast_reader import OUTPUT, RESIZE
from k8s_ws_proxy.wire.recording.harmless import Harmless
from k8s_ws_proxy.wire.recording.newlines import Newlines

try:
    import pyte
    from pyte.screens import Cursor, StaticDefaultDict
except ImportError as error:
    raise ProxyError(
        "this needs a terminal emulator: pip install 'k8s-ws-proxy[export]' (or the package pyte)"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from k8s_ws_proxy.wire.recording.cast_reader import Event, Header

_LARGEST: Final = 500  # columns and rows: pyte draws each character of the screen
_SECOND_SCREEN: Final = frozenset(mode << 5 for mode in (47, 1047, 1049))  # as pyte counts private modes


class Transcript:
    """Takes events, and gives lines without white space at their ends."""

    def __init__(self, header: Header) -> None:
        self._harmless, self._newlines = Harmless(), Newlines()
        self._lines: list[str] = []
        self._screen = _Screen(*_bounded(header.columns, header.rows), self._lines.append)
        self._stream = pyte.Stream(self._screen)

    def take(self, event: Event) -> Iterator[str]:
        """The lines that are over with it."""
        if event.code == OUTPUT:
            self._stream.feed(self._harmless.pass_on(self._newlines.pass_on(event.data)))
        elif event.code == RESIZE and event.size is not None:
            columns, rows = _bounded(*event.size)
            self._screen.resize(lines=rows, columns=columns)
        yield from self._lines
        self._lines.clear()

    def end(self) -> Iterator[str]:
        """What stands on the screen."""
        self._screen.tell()
        yield from self._lines
        self._lines.clear()


class _Screen(pyte.Screen):
    """One that hands on each line that is about to be gone, once."""

    def __init__(self, columns: int, rows: int, over: Callable[[str], None]) -> None:
        self._over = over
        self._told = 0  # lines from the top that were handed on already, and still stand there
        self._first: tuple[Any, ...] | None = None  # what the first screen had, while the second is shown
        super().__init__(columns, rows)

    def index(self) -> None:
        """Scroll, where the cursor is in the last line."""
        top, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and self._first is None:
            self._tell(1)
            self._told -= 1
        super().index()

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Make it so large. In a smaller one the cursor stays where it was, so lines go at the top."""
        if lines is not None and lines < self.lines:
            gone = max(0, self.cursor.y - lines + 1)
            if self._first is None:
                self._tell(gone)
            self._told = max(0, self._told - gone)
            kept = {number - gone: self.buffer[number] for number in range(gone, gone + lines)}
            self.buffer.clear()
            self.buffer.update(kept)
            self.cursor.y -= gone
            self.lines, self.margins = lines, None
            self.dirty.update(range(lines))
        super().resize(lines, columns)

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        """Clear it; all of it is told before."""
        if how == 2 and self._first is None:
            self.tell()
            self._told = 0
        super().erase_in_display(how, *args, **kwargs)

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        """Show the second screen, or what else it is."""
        super().set_mode(*modes, **kwargs)
        if _SECOND_SCREEN & self.mode and self._first is None:
            self._tell(self.cursor.y)
            self._first = self.buffer, self.cursor, self.margins, self._told
            self.buffer = defaultdict(lambda: StaticDefaultDict(self.default_char))
            self.cursor, self.margins, self._told = Cursor(0, 0), None, 0

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        """Show the first again."""
        super().reset_mode(*modes, **kwargs)
        if not _SECOND_SCREEN & self.mode and self._first is not None:
            self.tell()
            self.buffer, self.cursor, self.margins, self._told = self._first
            self._first = None
            self.cursor.y = min(self.cursor.y, self.lines - 1)  # it may be smaller by now
            self.dirty.update(range(self.lines))

    def tell(self) -> None:
        """All of its lines up to the last one that holds something."""
        last = max((number for number in range(self.lines) if self._line(number)), default=-1)
        self._tell(last + 1)

    def _tell(self, until: int) -> None:
        for number in range(self._told, until):
            self._over(self._line(number))
        self._told = max(self._told, until)

    def _line(self, number: int) -> str:
        row = self.buffer[number]
        return "".join(row[column].data for column in range(self.columns)).rstrip()


def _bounded(columns: int, rows: int) -> tuple[int, int]:
    return min(columns, _LARGEST), min(rows, _LARGEST)
