"""What ``recordings`` does with what a source of them tells."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support.archive import NOON, id_at

from k8s_ws_proxy.cli import recordings_ask
from k8s_ws_proxy.cli.playing import Pace
from k8s_ws_proxy.cli.session import Ending

SESSION = id_at(NOON)
PARTS = [b"%d" % number * 1000 for number in range(100)]


class Source:
    """Has one recording."""

    def __init__(self, *, waits=False):
        self.waits = waits
        self.silent = []
        self.asked = 1
        self.taken = 0
        self.all_taken = asyncio.Event()

    async def cast(self, session, *, follow=False):
        assert session == SESSION
        self.follows = follow
        for part in PARTS:
            self.taken += 1
            yield part
        self.all_taken.set()


def asking(source):
    """As who asks has it."""
    return lambda: contextlib.nullcontext(source)


@pytest.mark.parametrize("follow", [False, True])
async def test_what_is_played_is_taken_before_it_is_shown(follow, monkeypatch):
    source = Source()
    shown = []

    async def play(cast, pace, *, raw):
        await source.all_taken.wait()
        shown.append(b"".join([data async for data in cast]))
        return Ending(status=0)

    monkeypatch.setattr(recordings_ask, "play", play)
    await recordings_ask.played(SESSION, Pace(), raw=False, follow=follow)(asking(source))
    assert (shown, source.follows) == ([b"".join(PARTS)], follow)


async def test_what_waits_by_itself_is_not_copied(monkeypatch):
    source = Source(waits=True)

    async def play(cast, pace, *, raw):
        await anext(cast)
        await asyncio.sleep(0.05)
        assert source.taken == 1
        return Ending(status=0)

    monkeypatch.setattr(recordings_ask, "play", play)
    await recordings_ask.played(SESSION, Pace(), raw=False, follow=False)(asking(source))
