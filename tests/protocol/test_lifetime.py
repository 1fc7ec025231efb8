"""How long a session may last: idle, in all, and the notice before its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.rules.lifetime import NOTICE, Age, Lifetime, Limits

IDLE, LONG = Limits(idle=900), Limits(duration=3600)


def looks(limits, *times, active=()):
    """What is found at each of the times, when bytes have passed just before those that are ``active``."""
    lifetime = Lifetime(limits, 0.0)
    return [lifetime.look(now, active=now in active) for now in times]


def test_an_idle_session_is_told_a_minute_before_its_end():
    found = looks(IDLE, 0, 839, 840, 870, 899, 900)
    assert found == [Age.FINE, Age.FINE, Age.IDLE_SOON, Age.FINE, Age.FINE, Age.IDLE_OVER]


def test_a_byte_is_another_quarter_of_an_hour():
    assert looks(IDLE, 830, 1000, 1669, 1670, 1730, active=(830,)) == [
        *[Age.FINE] * 3,
        Age.IDLE_SOON,
        Age.IDLE_OVER,
    ]


def test_a_byte_after_the_notice_keeps_it_and_it_is_told_again_next_time():
    found = looks(IDLE, 845, 890, 905, 1740, 1800, active=(890,))
    assert found == [Age.IDLE_SOON, Age.FINE, Age.FINE, Age.IDLE_SOON, Age.IDLE_OVER]


def test_the_longest_duration_asks_nobody_for_bytes():
    found = looks(LONG, 3539, 3540, 3599, 3600, active=(3539, 3540, 3599, 3600))
    assert found == [Age.FINE, Age.DURATION_SOON, Age.FINE, Age.DURATION_OVER]


def test_a_short_limit_has_half_of_itself_as_notice():
    assert looks(Limits(idle=10), 4.9, 5, 9.9, 10) == [Age.FINE, Age.IDLE_SOON, Age.FINE, Age.IDLE_OVER]


def test_the_end_of_the_duration_is_told_before_that_of_patience():
    found = looks(Limits(idle=100, duration=100), 50, 60, 100, 120)
    assert found == [Age.DURATION_SOON, Age.IDLE_SOON, Age.DURATION_OVER, Age.DURATION_OVER]


def test_over_stays_over():
    assert looks(LONG, 3600, 3700, 3800, 3900)[1:] == [Age.DURATION_OVER] * 3


def test_without_a_limit_there_is_no_end():
    assert looks(Limits(), 1, 1e9) == [Age.FINE] * 2


@pytest.mark.parametrize("age", [age for age in Age if age is not Age.FINE])
def test_each_is_a_sentence(age):
    sentence = Lifetime(Limits(900, 3600), 0.0).sentence(age)
    assert any(number in sentence for number in ("60 s", "900 s", "3600 s"))
    assert len(sentence.encode()) <= 123, "it is a close frame's reason, too"


def test_fine_is_none():
    with pytest.raises(AssertionError):
        Lifetime(IDLE, 0.0).sentence(Age.FINE)


@given(st.floats(1, 1e5), st.lists(st.tuples(st.floats(0.01, 1e4), st.booleans()), max_size=50), st.booleans())
def test_nobody_is_ended_without_notice_or_early(limit, steps, idle):
    """However seldom one looks."""
    limits = Limits(idle=limit) if idle else Limits(duration=limit)
    lifetime, now, since, told_at = Lifetime(limits, 0.0), 0.0, 0.0, None
    for step, active in steps:
        now += step
        if active and idle:
            since, told_at = now, None
        match lifetime.look(now, active=active):
            case Age.IDLE_SOON | Age.DURATION_SOON:
                assert told_at is None
                told_at = now
            case Age.IDLE_OVER | Age.DURATION_OVER:
                assert told_at is not None
                assert now - told_at >= min(NOTICE, limit / 2)
                assert now - since >= limit


def waited(limits, *active, until=2000.0):
    """Everything that isn't fine, with its time, where a look is made when the last one said so.

    Bytes have passed at each of the times ``active``.
    """
    lifetime, now, found = Lifetime(limits, 0.0), 0.0, []
    while (now := (before := now) + lifetime.wait(now)) <= until:
        age = lifetime.look(now, active=any(before < at <= now for at in active))
        if age is not Age.FINE:
            found.append((now, age))
    return found


def test_a_look_is_due_when_something_is():
    assert waited(Limits(duration=1000), until=1050) == [(940, Age.DURATION_SOON), (1000, Age.DURATION_OVER)]
    assert waited(Limits(duration=3), until=4) == [(1.5, Age.DURATION_SOON), (3, Age.DURATION_OVER)]
    assert waited(Limits(idle=2), until=2.1) == [(1, Age.IDLE_SOON), (2, Age.IDLE_OVER)]
    assert waited(IDLE, until=910) == [(840, Age.IDLE_SOON), (900, Age.IDLE_OVER)]


def test_a_byte_counts_from_the_look_after_it():
    assert waited(IDLE, 100.0, until=1010) == [(945, Age.IDLE_SOON), (1005, Age.IDLE_OVER)]


def test_what_is_over_is_told_again_but_not_all_the_time():
    assert [now for now, _ in waited(Limits(duration=100))] == [50, *range(100, 2001, 50)]


def test_without_a_limit_no_look_is_due():
    assert Lifetime(Limits(), 0.0).wait(0.0) == float("inf")
