"""A recording in another form: asciicast v2 for older players, or text as a person would have read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from k8s_ws_proxy.wire.recording.cast_reader import EXIT, CastReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from k8s_ws_proxy.wire.recording.cast_reader import Event, Header


async def as_v2(cast: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same in asciicast v2 (docs.asciinema.org), which has no exit status. Raises ProxyError."""
    begun = False
    async for header, events in _read(cast):
        lines = b"" if begun else orjson.dumps(_v2_header(header)) + b"\n"
        begun = True
        for event in events:
            if event.code != EXIT:
                lines += orjson.dumps([round(event.at, 6), event.code, event.data]) + b"\n"
        yield lines


async def as_text(cast: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What a person would have read. Raises ProxyError, also where there is no terminal emulator."""
    from k8s_ws_proxy.cli.transcript import Transcript  # noqa: PLC0415 - an extra

    transcript = None
    async for header, events in _read(cast):
        transcript = transcript or Transcript(header)
        for event in events:
            yield "".join(f"{line}\n" for line in transcript.take(event)).encode("utf-8", "replace")
    if transcript is not None:
        yield "".join(f"{line}\n" for line in transcript.end()).encode("utf-8", "replace")


async def _read(cast: AsyncIterator[bytes]) -> AsyncIterator[tuple[Header, list[Event]]]:
    reader = CastReader()
    async for data in cast:
        events = reader.feed(data)
        if reader.header is not None:
            yield reader.header, events
    events = reader.end()
    assert reader.header is not None
    yield reader.header, events


def _v2_header(header: Header) -> dict[str, Any]:
    more = {
        "timestamp": None if header.timestamp is None else int(header.timestamp),
        "idle_time_limit": header.idle_time_limit,
        "title": header.title,
        "command": header.command,
    }
    return {
        "version": 2,
        "width": header.columns,
        "height": header.rows,
        **{name: value for name, value in more.items() if value},
    }
