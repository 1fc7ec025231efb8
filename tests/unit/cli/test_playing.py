"""When a recording's events are shown, by a clock that has no other time than what is waited for."""

from __future__ import annotations

import asyncio
import json
import selectors

import pytest

from k8s_ws_proxy.cli.playing import Pace, _Player

HEADER = b'{"version":3,"term":{"cols":80,"rows":24}}\n'


class Selector(selectors.DefaultSelector):
    """Waits for nothing: the time is over at once."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing is waited for"
        self.now += timeout and max(timeout, 1e-6)  # a time that is too short to be added would never be over
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._clock = Selector()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now


class Screen:
    """Knows what was shown when; ``takes`` seconds for each piece."""

    def __init__(self, takes=0.0):
        self.shown = []
        self._takes = takes

    async def write(self, data):
        self.shown.append((data.decode(), round(asyncio.get_running_loop().time(), 3)))
        await asyncio.sleep(self._takes)


class Keys:
    """Pressed at these times."""

    def __init__(self, *pressed):
        self._pressed = list(pressed)

    async def read(self):
        if not self._pressed:
            await asyncio.Event().wait()
        at, key = self._pressed.pop(0)
        await asyncio.sleep(at - asyncio.get_running_loop().time())
        return key


def event(after, text):
    return json.dumps([after, "o", text]).encode() + b"\n"


async def of(came):
    """A recording whose pieces, each with the time at which it came, wait until they are taken."""
    queue = asyncio.Queue()

    async def come():
        for at, piece in came:
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            queue.put_nowait(piece)
        queue.put_nowait(b"")

    task = asyncio.get_running_loop().create_task(come())
    while piece := await queue.get():
        yield piece
    await task


def shown(*came, pace=None, keys=None, takes=0.0):
    """What is shown of it when."""
    screen = Screen(takes)

    async def main():
        await _Player(of(came), pace or Pace(), screen, raw=True).run(keys)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    return screen.shown


def test_what_comes_in_its_time_is_shown_when_it_comes():
    pieces = [(0.0, HEADER + event(0.0, "a")), (1.5, event(1.5, "b"))]
    pieces += [(1.5 + number / 10, event(0.1, str(number))) for number in range(1, 40)]
    assert shown(*pieces) == [("a", 0.0), ("b", 1.5), *((str(n), round(1.5 + n / 10, 3)) for n in range(1, 40))]


def test_what_showing_takes_does_not_add_up():
    events = b"".join(event(0.05, str(number)) for number in range(1, 101))
    assert shown((0.0, HEADER + events), takes=0.01) == [(str(n), round(n / 20, 3)) for n in range(1, 101)]


def test_what_comes_late_has_the_next_at_their_distance():
    assert shown((0.0, HEADER + event(1.0, "a")), (5.0, event(1.0, "b") + event(1.0, "c"))) == [
        ("a", 1.0),
        ("b", 5.0),
        ("c", 6.0),
    ]


def test_the_time_is_that_since_it_began_to_come():
    assert shown((3.0, HEADER), (3.5, event(1.0, "a"))) == [("a", 4.0)]


def test_faster_and_without_long_pauses():
    came = (0.0, HEADER + event(1.0, "a") + event(100.0, "b") + event(3.0, "c"))
    assert shown(came, pace=Pace(2.0, 4.0)) == [("a", 0.5), ("b", 2.5), ("c", 4.0)]


def test_a_pause_that_was_longer_than_they_may_be_is_made_up_by_nobody():
    pieces = [(0.0, HEADER + event(0.0, "a")), (100.0, event(100.0, "b") + event(1.0, "c")), (102.0, event(1.0, "d"))]
    assert shown(*pieces, pace=Pace(1.0, 2.0)) == [("a", 0.0), ("b", 100.0), ("c", 101.0), ("d", 102.0)]


@pytest.mark.parametrize("at_once", [True, False])
def test_while_it_is_stopped_no_time_passes(at_once):
    events = [event(1.0, text) for text in "abc"]
    came = (
        [(0.0, HEADER + b"".join(events))] if at_once else [(0.0, HEADER), *zip((1.0, 2.0, 3.0), events, strict=True)]
    )
    assert shown(*came, keys=Keys((1.5, b" "), (11.5, b" "))) == [("a", 1.0), ("b", 12.0), ("c", 13.0)]


def test_after_a_step_the_next_comes_at_its_distance():
    came = (0.0, HEADER + b"".join(event(10.0, text) for text in "abc"))
    assert shown(came, keys=Keys((5.0, b" "), (7.0, b"."), (8.0, b" "))) == [("a", 7.0), ("b", 18.0), ("c", 28.0)]
