"""A thread that does one thing after the other, as the loop sees it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest
from support.recorder import settled

from k8s_ws_proxy.worker import Worker


@pytest.fixture
async def worker():
    made = Worker("test", asyncio.get_running_loop())
    yield made
    made.stop()


class Bulk:
    """What an order has to do with."""


async def test_in_their_order_and_each_told_in_the_loop(worker):
    told = []
    loop_thread = threading.get_ident()
    for number in range(100):
        worker.do(lambda number=number: (number, threading.get_ident()), told.append, told.append)
    await worker.rest()
    assert [number for number, _ in told] == list(range(100))
    assert loop_thread not in {ident for _, ident in told}


async def test_what_fails_is_told_and_the_next_is_done(worker):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await worker.result(fail)
    assert await worker.result(lambda: 1) == 1


async def test_some_together_are_told_when_the_last_is_done(worker, failures):
    """And each by itself: of one that fails, or whose end can't be told, no other hears."""
    hold, told = threading.Event(), []

    def work(number):
        if number == 3:
            assert hold.wait(60)
        return 1 // number

    def done(found):
        told.append(found)
        if len(told) == 1:
            raise ValueError("can't be told")

    worker.do_each([(lambda number=number: work(number), done, told.append) for number in (1, 0, 2, 3)])
    worker.do(lambda: "next", told.append, told.append)
    await settled(lambda: worker.at_it() > 0.05)
    assert told == []
    hold.set()
    await settled(lambda: len(told) == 5)
    assert [found if isinstance(found, int | str) else type(found) for found in told] == [
        1,
        ZeroDivisionError,
        0,
        0,
        "next",
    ]
    assert [str(error) for error in failures] == ["can't be told"]


async def test_who_waits_no_longer_holds_up_nobody(worker):
    hold, done = threading.Event(), []
    held = asyncio.get_running_loop().create_task(worker.result(lambda: done.append(hold.wait(60))))
    await settled(lambda: worker.at_it() > 0)
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    hold.set()
    await worker.rest()
    assert done == [True]


async def test_it_keeps_nothing_of_what_is_done(worker):
    """A portion of what was written may have half a MiB."""
    bulk = Bulk()
    gone = weakref.ref(bulk)
    worker.do(lambda bulk=bulk: id(bulk), lambda _: None, lambda _: None)
    del bulk
    await worker.rest()
    await settled(lambda: worker.at_it() == 0)
    gc.collect()
    assert gone() is None


async def test_after_stop_no_more_is_done():
    worker, done = Worker("stopped", asyncio.get_running_loop()), []
    (thread,) = [each for each in threading.enumerate() if each.name == "stopped"]
    worker.do(lambda: done.append(1), lambda _: None, lambda _: None)
    worker.stop()
    worker.do(lambda: done.append(2), lambda _: None, lambda _: None)
    await asyncio.to_thread(thread.join)
    assert done == [1]


def test_a_loop_that_is_closed_is_not_told():
    loop = asyncio.new_event_loop()
    worker = Worker("late", loop)
    hold = threading.Event()
    worker.do(lambda: hold.wait(60), lambda _: None, lambda _: None)
    loop.close()
    hold.set()
    worker.stop()
    (thread,) = [each for each in threading.enumerate() if each.name == "late"]
    thread.join()
