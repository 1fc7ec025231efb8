"""A recording on the person's own terminal: in its time, faster, paused, and the terminal as it was afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.descriptors import Input, Output
from k8s_ws_proxy.cli.session import Ending
from k8s_ws_proxy.cli.terminal import Terminal
from k8s_ws_proxy.wire.recording.cast_reader import OUTPUT, RESIZE, CastReader
from k8s_ws_proxy.wire.recording.harmless import AFTERWARDS, Harmless
from k8s_ws_proxy.wire.recording.newlines import Newlines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from k8s_ws_proxy.wire.recording.cast_reader import Event

QUIT: Final = b"q\x03\x1d"  # q, Ctrl-C, Ctrl-]
PAUSE: Final = b" "
STEP: Final = b"."
_LITTLE: Final = 0.25  # seconds that an event may be late without moving those that follow it


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast: ``speed`` times as fast, and no pause longer than ``idle_limit`` seconds of the recording's time."""

    speed: float = 1.0
    idle_limit: float | None = None


async def play(cast: AsyncIterator[bytes], pace: Pace, *, raw: bool) -> Ending:
    """Show it until its end, or the person leaves it. The terminal is as it was before, then.

    With ``raw`` what does more to a terminal than draw is shown, too. Raises ProxyError, BrokenPipeError.
    """
    keys = Terminal(0) if os.isatty(0) else None
    with Input(0) if keys else contextlib.nullcontext() as source, Output(1) as out:
        player = _Player(cast, pace, out, raw=raw)
        with keys.raw() if keys else contextlib.nullcontext():
            try:
                await player.run(source)
            finally:
                await _put_in_order(out)
    return Ending(status=0, message="its last line is torn: it was cut off there" if player.torn else "")


async def _put_in_order(out: Output) -> None:
    if not os.isatty(1):
        return
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await out.write(f"{AFTERWARDS}\r\n".encode())


class _Player:
    def __init__(self, cast: AsyncIterator[bytes], pace: Pace, out: Output, *, raw: bool) -> None:
        self.torn = False
        self._cast = cast
        self._pace = pace
        self._out = out
        self._harmless = None if raw else Harmless()
        self._newlines = Newlines() if os.isatty(1) else None
        self._going = True
        self._steps = 0
        self._news = asyncio.Event()
        self._due = 0.0  # when the last event was to be shown, by _now()
        self._stood = 0.0  # seconds that the person had it stopped
        self._stopped = 0.0  # the loop's time at which they did

    async def run(self, source: Input | None) -> None:
        """Show all of it, and heed keys meanwhile. Raises ProxyError, OSError."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._show(), name="show")]
                if source is not None:
                    tasks.append(group.create_task(self._heed(source), name="heed keys"))
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _show(self) -> None:
        reader, last, told = CastReader(), 0.0, False
        async for data in self._cast:
            events = reader.feed(data)
            if reader.header is not None and not told:
                told = True
                self._due = self._now()
                self._compare((reader.header.columns, reader.header.rows))
            for event in events:
                last = await self._event(event, last)
        for event in reader.end():
            last = await self._event(event, last)
        self.torn = reader.torn

    async def _event(self, event: Event, last: float) -> float:
        """Show it when it is due; its time."""
        pause = event.at - last
        if self._pace.idle_limit is not None:
            pause = min(pause, self._pace.idle_limit)
        self._due += pause / self._pace.speed
        await self._wait()
        if event.code == OUTPUT:
            text = self._newlines.pass_on(event.data) if self._newlines else event.data
            text = self._harmless.pass_on(text) if self._harmless else text
            await self._out.write(text.encode("utf-8", "replace"))
        elif event.code == RESIZE:
            self._compare(event.size)
        return event.at

    async def _wait(self) -> None:
        """Until it is due, and as long as it is stopped; or until the next step.

        What has passed since the event before counts, also where it was waited for: one that comes when it is over
        is due at once.
        """
        await asyncio.sleep(0)  # in a flood there are keys to be heeded, too
        while (rest := self._due - self._now()) > 0 or not self._going:
            if self._steps:
                self._steps -= 1
                break
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest if self._going else None):
                    await self._news.wait()
        # By when it was due and not by when it is shown: what each is late by would add up. But what comes long after
        # it was due, or before by a step, has those that follow it at their distance.
        if not 0 <= self._now() - self._due <= _LITTLE:
            self._due = self._now()

    def _now(self) -> float:
        """Seconds of the loop's time, without those that it was stopped."""
        return (asyncio.get_running_loop().time() if self._going else self._stopped) - self._stood

    def _stop_or_go_on(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._going:
            self._stopped = now
        else:
            self._stood += now - self._stopped
        self._going, self._steps = not self._going, 0

    async def _heed(self, source: Input) -> None:
        while data := await source.read():
            for key in data:
                if key in QUIT:
                    return
                if key in PAUSE:
                    self._stop_or_go_on()
                elif key in STEP and not self._going:
                    self._steps += 1
                self._news.set()
        await asyncio.Event().wait()  # nobody types any more: it is shown to its end

    def _compare(self, size: tuple[int, int] | None) -> None:
        """Say so where it doesn't fit into this terminal."""
        own = Terminal(1).size() if os.isatty(1) else None
        if own is not None and size is not None and (size[0] > own[0] or size[1] > own[1]):
            text = f"it is {size[0]}x{size[1]}, and yours {own[0]}x{own[1]}: what doesn't fit is shown wrongly"
            with contextlib.suppress(OSError, ValueError):
                print(f"\r\nk8s-ws-proxy: {text}\r", file=sys.stderr, flush=True)
