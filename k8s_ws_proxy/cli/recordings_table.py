"""Recordings for a person: a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.answers import printable
from k8s_ws_proxy.cli.sessions_table import MalformedAnswer, age, size, user_of
from k8s_ws_proxy.rfc3339 import unix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k8s_ws_proxy.cli.recordings_source import RecordingJson

_HEADINGS: Final = ("ID", "BEGAN", "POD", "CONTAINER", "USER", "NODE", "LASTED", "SIZE", "END")
_NOTHING: Final = "-"


def lines_of(recordings: Sequence[RecordingJson]) -> Iterator[str]:
    """The table; nothing for none. Raises MalformedAnswer."""
    if not recordings:
        return
    rows = [_HEADINGS, *map(_cells, recordings)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(told: RecordingJson) -> tuple[str, ...]:
    try:
        lasted = unix(told["ended"]) - unix(told["began"]) if told["ended"] else None
        ending = str(told["ending"] or told["state"])
        if told["exitCode"] is not None:
            ending = f"{ending} {told['exitCode']}"
        if told["problem"]:
            ending = f"{ending}, not whole"
        cells = (
            told["sessionId"],
            str(told["began"])[:19] + "Z",
            f"{told['namespace']}/{told['pod']}",
            told["container"],
            user_of(told),
            told["node"],
            _NOTHING if lasted is None else age(lasted),
            _NOTHING if told["size"] is None else size(int(told["size"])),
            ending,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedAnswer(f"that is no recording as k8s-ws-proxy tells of one: {error!r}") from error
    return tuple(map(_cell, cells))


def _cell(value: object) -> str:
    return printable(_NOTHING if value is None or value == "" else str(value)).replace("\n", "\ufffd")
