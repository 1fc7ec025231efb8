"""Who may be in a TLS handshake, and who has to give up the place."""

from __future__ import annotations

import asyncio

import pytest

from k8s_ws_proxy.web.handshakes import AT_ONCE, PATIENCE, Handshakes


class Crowd:
    """Tasks that have, or want, a place: how many are in one now, and were together. Its clock goes on by ``later``."""

    def __init__(self):
        self.now = 0.0
        self.timers = []
        self.handshakes = Handshakes(self)
        self.under_way = self.most = self.done = self.ended = 0
        self.tasks = []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.timers.append((when, callback))
        return self

    def create_future(self):
        return asyncio.get_running_loop().create_future()

    async def join(self, count=1, *, stands_still=True):
        """So many more come; those that don't stand still are through in a few turns of the loop."""
        came = [asyncio.get_running_loop().create_task(self._shake_hands(stands_still)) for _ in range(count)]
        self.tasks += came
        await asyncio.sleep(0)
        return came[-1]

    async def _shake_hands(self, stands_still):
        task = asyncio.current_task()
        async with self.handshakes.place(task.cancel):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                await (self.create_future() if stands_still else asyncio.sleep(0))
                self.done += 1
            except asyncio.CancelledError:
                self.ended += 1
                raise
            finally:
                self.under_way -= 1

    async def later(self):
        """The time has passed that one may take; what follows from that has happened."""
        self.now += PATIENCE
        due, self.timers = self.timers, []
        for when, callback in due:
            assert when <= self.now
            callback()
        await self.settle()

    async def settle(self):
        for _ in range(8):
            await asyncio.sleep(0)

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def crowd():
    crowd = Crowd()
    yield crowd
    await crowd.close()


async def test_as_many_as_there_are_places_are_under_way_however_many_are_ended_at_once(crowd):
    await crowd.join(800)
    for _ in range(5):
        await crowd.later()
        await crowd.join()
        assert crowd.under_way == AT_ONCE == crowd.most
    assert crowd.ended == 5 * AT_ONCE


async def test_who_stands_still_goes_though_nobody_new_comes(crowd):
    await crowd.join(4 * AT_ONCE)
    for _ in range(5):
        await crowd.later()
    assert crowd.ended == 3 * AT_ONCE
    assert crowd.under_way == AT_ONCE, "nobody waits for their places"


async def test_who_means_well_comes_in_between_those_that_stand_still(crowd):
    await crowd.join(40)
    await crowd.join(stands_still=False)
    await crowd.join(160)
    for _ in range(6):
        await crowd.later()
    assert crowd.done == 1


async def test_a_place_that_was_given_to_one_who_leaves_is_the_next_ones(crowd):
    first = await crowd.join(AT_ONCE)
    await crowd.join(stands_still=False)
    leaves = await crowd.join(stands_still=False)
    first.add_done_callback(lambda _: leaves.cancel())  # it has been given the place, and doesn't know it yet
    first.cancel()
    await crowd.settle()
    assert leaves.cancelled()
    assert crowd.done == 1
    assert crowd.most == AT_ONCE


async def test_who_leaves_while_waiting_takes_no_place_along(crowd):
    await crowd.join(AT_ONCE, stands_still=False)
    leaves = await crowd.join()
    leaves.cancel()
    await crowd.settle()
    assert crowd.done == AT_ONCE
    await crowd.join(AT_ONCE + 1)
    assert crowd.under_way == AT_ONCE == crowd.most


async def test_who_leaves_in_the_turn_in_which_a_place_is_given_back_takes_none_along(crowd):
    first = await crowd.join(AT_ONCE)
    waits = await crowd.join()
    first.cancel()
    await asyncio.sleep(0)
    waits.cancel()
    await crowd.settle()
    await crowd.join(2)
    assert crowd.under_way == AT_ONCE == crowd.most
