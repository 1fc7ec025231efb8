"""Tickets: good once, for one thing, for a while; and bounded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.sessions import tickets
from k8s_ws_proxy.sessions.tickets import Issued, Tickets, Use

ALICE = Principal(Mode.RFC9421, "secret", user="alice")
SESSION, ANOTHER = "session-1", "session-2"


@dataclass(eq=False)
class Timer:
    """One that is due at ``when``."""

    when: float
    call: object
    due: list

    def cancel(self):
        self.due.remove(self)


class Clock:
    """Unix seconds, and what is to be called later."""

    def __init__(self):
        self.now = 1000.0
        self.due = []

    def later(self, seconds, call):
        timer = Timer(self.now + seconds, call, self.due)
        self.due.append(timer)
        return timer

    def go(self, seconds):
        self.now += seconds
        for timer in [each for each in self.due if each.when <= self.now]:
            timer.call()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def box(clock):
    return Tickets(3, clock=lambda: clock.now, later=clock.later)


def refused(call, *given):
    with pytest.raises(Refusal) as raised:
        call(*given)
    return raised.value


def test_once(box):
    ticket, expires = box.issue(SESSION, Use.STREAM, ALICE, 60)
    assert expires == 1060
    assert box.redeem(ticket, SESSION, Use.STREAM).principal == ALICE
    assert refused(box.redeem, ticket, SESSION, Use.STREAM).reason is Reason.BAD_TICKET


def test_looking_does_not_use_it_up(box):
    ticket, _ = box.issue(SESSION, Use.STREAM, ALICE, 60)
    assert box.look(ticket, SESSION, Use.STREAM) == box.redeem(ticket, SESSION, Use.STREAM)


def test_all_that_is_wrong_is_one_answer(box, clock):
    used, _ = box.issue(SESSION, Use.STREAM, ALICE, 60)
    box.redeem(used, SESSION, Use.STREAM)
    good, _ = box.issue(SESSION, Use.OBSERVE, ALICE, 60)
    wrong = [
        (used, SESSION, Use.STREAM),
        ("A" * 43, SESSION, Use.STREAM),
        ("", SESSION, Use.STREAM),
        (good, ANOTHER, Use.OBSERVE),
        (good, SESSION, Use.STREAM),
        (good, SESSION, Use.PEER),
    ]
    answers = {(str(error), error.reason) for error in (refused(box.look, *each) for each in wrong)}
    clock.now += 60  # before its timer has run
    expired = refused(box.look, good, SESSION, Use.OBSERVE)
    assert answers == {(str(expired), Reason.BAD_TICKET)}


def test_trying_another_door_does_not_use_it_up(box):
    ticket, _ = box.issue(SESSION, Use.OBSERVE, ALICE, 60)
    refused(box.redeem, ticket, ANOTHER, Use.OBSERVE)
    refused(box.redeem, ticket, SESSION, Use.STREAM)
    assert box.redeem(ticket, SESSION, Use.OBSERVE, Use.PEER).use is Use.OBSERVE


def test_it_is_forgotten_when_its_time_is_over(box, clock):
    box.issue(SESSION, Use.STREAM, ALICE, 60)
    clock.go(59)
    assert len(box) == 1
    clock.go(1)
    assert len(box) == 0


def test_only_so_many_are_out(box, clock):
    issued = [box.issue(SESSION, Use.STREAM, ALICE, 60)[0] for _ in range(3)]
    assert len(set(issued)) == 3
    assert refused(box.issue, SESSION, Use.STREAM, ALICE, 60).reason is Reason.TOO_MANY_TICKETS
    box.redeem(issued[0], SESSION, Use.STREAM)
    box.issue(SESSION, Use.STREAM, ALICE, 60)
    clock.go(60)
    assert len(box) == 0
    box.issue(SESSION, Use.STREAM, ALICE, 60)


def test_what_waits_takes_only_so_much_memory(monkeypatch, box):
    monkeypatch.setattr(tickets, "MOST_BYTES", 100)
    large = Issued(None, None, None, 60)
    first, _ = box.issue(SESSION, Use.STREAM, ALICE, 60, large)
    assert refused(box.issue, SESSION, Use.STREAM, ALICE, 60, large).reason is Reason.TOO_MANY_TICKETS
    box.issue(SESSION, Use.OBSERVE, ALICE, 60)
    box.redeem(first, SESSION, Use.STREAM)
    box.issue(SESSION, Use.STREAM, ALICE, 60, large)


def test_a_session_that_is_ended_has_no_tickets_left(box):
    issued = Issued("record", None, None, 1)
    stream, _ = box.issue(SESSION, Use.STREAM, ALICE, 60, issued)
    watch, _ = box.issue(SESSION, Use.OBSERVE, ALICE, 60)
    other, _ = box.issue(ANOTHER, Use.OBSERVE, ALICE, 60)
    assert list(box.waiting()) == [issued]
    assert box.revoke(SESSION) == issued
    assert box.revoke(SESSION) is None
    for ticket in (stream, watch):
        assert refused(box.look, ticket, SESSION, *Use).reason is Reason.BAD_TICKET
    assert box.look(other, ANOTHER, Use.OBSERVE)


def test_only_a_hash_of_it_is_kept(box):
    ticket, _ = box.issue(SESSION, Use.STREAM, ALICE, 60)
    assert len(ticket) == 43
    assert ticket not in repr(vars(box))


def test_one_that_is_used_leaves_no_timer(clock, box):
    ticket, _ = box.issue(SESSION, Use.STREAM, ALICE, 600)
    box.redeem(ticket, SESSION, Use.STREAM)
    assert not clock.due


def test_what_is_said_of_its_user_takes_memory_too(clock):
    box = Tickets(10_000, clock=lambda: clock.now, later=clock.later)
    many = replace(ALICE, groups=tuple(f"{number:062}" for number in range(64)))
    for _ in range(1000):
        box.issue(SESSION, Use.OBSERVE, many, 60)
    refusal = refused(lambda: [box.issue(SESSION, Use.OBSERVE, many, 60) for _ in range(2000)])
    assert refusal.reason is Reason.TOO_MANY_TICKETS
