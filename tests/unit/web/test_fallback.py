"""What is kept for kubectl's second attempt: whose, for how long, and how much."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.web.fallback import Fallback, asks_for_spdy

ALICE, BOB = Principal(Mode.CLIENT_CERT, "alice"), Principal(Mode.CLIENT_CERT, "bob")
NOT_SPOKEN = Reason.UPGRADE_REQUIRED
PATH = "/api/v1/namespaces/default/pods/web/exec?command=true"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timers():
    """What is to be called later: seconds, and what."""
    return []


@pytest.fixture
def fallback(clock, timers):
    return Fallback(clock, lambda *timer: timers.append(timer))


def test_what_nobody_asks_for_again_is_let_go_by_itself(fallback, clock, timers):
    fallback.keep(ALICE, first(), refused())
    clock.now += 5
    fallback.keep(BOB, first(), refused())
    while timers:
        seconds, look = timers.pop()
        clock.now += seconds
        look()
    assert not fallback._answers
    fallback.keep(ALICE, first(), refused())
    assert len(timers) == 1


def test_a_long_request_is_not_kept(fallback):
    path = PATH + "&command=" + "x" * 100_000
    fallback.keep(ALICE, first(path), refused())
    assert all(len(key) == 32 for key in fallback._answers)
    assert told(fallback, ALICE, path) == (403, "no")


def first(path=PATH):
    return make_mocked_request("GET", path, {"Upgrade": "websocket"})


def second(path=PATH):
    return make_mocked_request("POST", path, {"Upgrade": "SPDY/3.1"})


def refused(text="no", status=403, **headers):
    return web.Response(status=status, text=text, headers=headers)


def told(fallback, principal, path=PATH):
    """Status and body of the second attempt's answer, or the reason where there is nothing to tell again."""
    try:
        answer = fallback.answer(principal, second(path))
    except Refusal as refusal:
        return refusal.reason
    return answer.status, answer.body.decode()


def test_what_asks_for_spdy():
    assert asks_for_spdy(second())
    assert not asks_for_spdy(first())
    assert not asks_for_spdy(make_mocked_request("GET", PATH))


def test_a_refusal_is_told_again_once(fallback):
    fallback.keep(ALICE, first(), refused("the pod is pending", 400))
    assert told(fallback, ALICE) == (400, "the pod is pending")
    assert told(fallback, ALICE) is NOT_SPOKEN


def test_it_is_told_to_its_caller_and_for_its_request_only(fallback):
    fallback.keep(ALICE, first(), refused())
    assert told(fallback, BOB) is NOT_SPOKEN
    assert told(fallback, ALICE, f"{PATH}&stdin=true") is NOT_SPOKEN
    assert told(fallback, ALICE) == (403, "no")


def test_when_to_try_again_is_told_again_too(fallback):
    fallback.keep(ALICE, first(), refused(status=429, **{"Retry-After": "5", "X-Other": "x"}))
    answer = fallback.answer(ALICE, second())
    assert answer.headers["Retry-After"] == "5"
    assert "X-Other" not in answer.headers


def test_a_session_is_no_refusal(fallback):
    fallback.keep(ALICE, first(), web.Response(status=200, text=""))
    assert told(fallback, ALICE) is NOT_SPOKEN


def test_it_is_forgotten_after_a_moment(fallback, clock):
    fallback.keep(ALICE, first(), refused())
    clock.now += 10.1
    assert told(fallback, ALICE) is NOT_SPOKEN


def test_the_last_refusal_counts(fallback):
    fallback.keep(ALICE, first(), refused("before"))
    fallback.keep(ALICE, first(), refused("after"))
    assert told(fallback, ALICE) == (403, "after")


def test_it_holds_so_many_and_so_much(fallback, clock):
    for number in range(300):
        fallback.keep(ALICE, first(f"{PATH}{number}"), refused())
    assert len(fallback._answers) == 128
    assert told(fallback, ALICE, f"{PATH}299") == (403, "no")
    fallback.keep(ALICE, first(), refused("x" * 10_000))
    assert told(fallback, ALICE) is NOT_SPOKEN
    clock.now += 11
    fallback.keep(ALICE, first(), refused())
    assert len(fallback._answers) == 1
