"""Who has to go when more connect than there is room for."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.web.pending import _READS_AT_ONCE, MAX_HEAD_BYTES, MAX_PLACES, MIN_PLACES, PendingConnections, places


class Door:
    """Pending connections, numbered; ``spare`` sessions may still be opened. Its clock goes on by ``tell``."""

    def __init__(self, spare=0):
        self.spare = spare
        self.out = []
        self.timers = []
        self.pending = PendingConnections(self, lambda: places(self.spare))

    def call_later(self, _seconds, callback):
        self.timers.append(callback)
        return asyncio.TimerHandle(0, callback, (), asyncio.get_running_loop())

    def enter(self, *guests):
        for guest in guests:
            self.pending.enter(guest, lambda guest=guest: self.out.append(guest))

    def tell(self):
        with capture_logs() as log:
            self.timers.pop()()
        return log


def evicted():
    return metrics.REFUSALS.labels("too_many_connections")._value.get()


@pytest.mark.parametrize(
    ("spare", "places"),
    [
        (-3, MIN_PLACES),
        (0, MIN_PLACES),
        (100, MIN_PLACES + 100),
        (MAX_PLACES - MIN_PLACES, MAX_PLACES),
        (2000, MAX_PLACES),
    ],
)
async def test_there_are_as_many_places_as_sessions_leave(spare, places):
    door = Door(spare)
    door.enter(*range(places))
    assert door.out == []
    door.enter("one more")
    assert door.out == [0]


async def test_when_sessions_take_the_room_the_next_to_come_finds_it_gone():
    door = Door(spare=3)
    door.enter(*range(MIN_PLACES + 3))
    door.spare = 0
    door.enter("one more")
    assert door.out == [0, 1, 2, 3]


async def test_whoever_has_left_has_no_place():
    door = Door()
    door.enter(*range(MIN_PLACES))
    door.pending.leave(0)
    door.pending.leave(0)
    door.enter("one more")
    assert door.out == []
    door.enter("and another")
    assert door.out == [1]


async def test_who_has_an_answer_under_way_goes_after_those_who_have_theirs():
    door = Door()
    door.enter(*range(MIN_PLACES))
    door.pending.answers(0, under_way=True)
    door.pending.answers(1, under_way=True)
    door.pending.answers(2, under_way=False)  # the newest, since it has had something of its answer
    door.enter("one more")
    door.pending.answers(1, under_way=False)
    door.enter("and another")
    assert door.out == [3, 4]
    for each in range(5, MIN_PLACES):
        door.pending.answers(each, under_way=True)
    for each in (2, 1, "one more", "and another"):
        door.pending.answers(each, under_way=True)
    door.enter("the last")
    assert door.out == [3, 4, 0], "of those alone the oldest, and not who has just come"
    door.pending.answers("gone", under_way=True)
    door.pending.leave("the last")
    door.enter("again")
    assert door.out == [3, 4, 0]


async def test_of_heads_that_are_too_much_together_the_first_goes():
    door = Door()
    door.enter("silent", "second", "first", "third")
    door.pending.holds("first", 1)
    door.pending.holds("second", MAX_HEAD_BYTES // 2)
    door.pending.holds("third", MAX_HEAD_BYTES // 2 - 1)
    assert door.out == []
    door.pending.holds("third", MAX_HEAD_BYTES // 2)
    assert door.out == ["first"]
    door.pending.holds("third", MAX_HEAD_BYTES // 2 + 1)
    assert door.out == ["first", "second"]
    door.pending.holds("first", MAX_HEAD_BYTES)  # it may have had more to say
    assert door.out == ["first", "second"]


async def test_what_a_known_caller_holds_does_not_count():
    door = Door()
    door.enter("known", "other")
    door.pending.holds("known", MAX_HEAD_BYTES)
    door.pending.leave("known")
    door.pending.holds("other", MAX_HEAD_BYTES)
    door.pending.holds("known", MAX_HEAD_BYTES)
    assert door.out == []


async def test_all_that_go_are_counted_and_told_in_one_line():
    door, before = Door(), evicted()
    door.enter(*range(MIN_PLACES + 500))
    assert (evicted() - before, len(door.timers)) == (500, 1)
    assert door.tell() == [
        {
            "event": "connections refused",
            "reason": "too_many_connections",
            "status": 503,
            "connections": 500,
            "log_level": "warning",
        }
    ]
    door.enter("one more")
    with capture_logs() as log:
        door.pending.close()
    assert [line["connections"] for line in log] == [1]
    with capture_logs() as log:
        door.pending.close()
    assert log == []


async def test_of_heads_that_have_begun_so_many_are_read_in_a_turn_and_the_rest_in_order():
    pending = PendingConnections(asyncio.get_running_loop(), lambda: 9999)
    read = []
    for number in range(3 * _READS_AT_ONCE):
        if pending.may_read(lambda number=number: read.append(number)):
            read.append(number)
    await asyncio.sleep(0)
    for turn in range(1, 3):
        assert read == list(range(turn * _READS_AT_ONCE))
        await asyncio.sleep(0)
    assert read == list(range(3 * _READS_AT_ONCE))
    await asyncio.sleep(0)
    assert pending.may_read(lambda: None), "a turn later it is as at the beginning"


async def test_those_that_were_put_off_count_in_the_turn_that_they_have():
    pending = PendingConnections(asyncio.get_running_loop(), lambda: 9999)
    read = []
    for number in range(2 * _READS_AT_ONCE):
        pending.may_read(lambda number=number: read.append(number))
    await asyncio.sleep(0)
    assert not pending.may_read(lambda: read.append("later"))
    await asyncio.sleep(0)
    assert read == list(range(_READS_AT_ONCE, 2 * _READS_AT_ONCE))
    await asyncio.sleep(0)
    assert read[-1] == "later"


async def test_a_read_that_fails_is_nobody_else_s(failures):
    pending = PendingConnections(asyncio.get_running_loop(), lambda: 9999)
    read = []
    for number in range(3 * _READS_AT_ONCE):
        later = (lambda: 1 // 0) if number == _READS_AT_ONCE else lambda number=number: read.append(number)
        pending.may_read(later)
    for _ in range(9):
        await asyncio.sleep(0)
    assert read == list(range(_READS_AT_ONCE + 1, 3 * _READS_AT_ONCE))
    assert pending.may_read(lambda: None)
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
