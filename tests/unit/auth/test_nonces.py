"""A signature is good once, whatever the clock does, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.auth.nonces import Nonces
from k8s_ws_proxy.errors import Reason, Refusal

NOW = 1_790_000_000.5
KEY, OTHER = b"k" * 32, b"o" * 32


def used(nonces, nonce, created, now=NOW, key=KEY):
    """The reason why it is refused; None if it isn't."""
    try:
        nonces.use(key, nonce, int(created), now)
    except Refusal as refusal:
        return refusal.reason
    return None


def test_once():
    nonces = Nonces(60)
    assert used(nonces, "a", NOW) is None
    assert used(nonces, "a", NOW) is Reason.REPLAYED
    assert used(nonces, "a", NOW + 1) is Reason.REPLAYED, "also with another created"
    assert used(nonces, "b", NOW) is None


def test_once_for_each_key():
    nonces = Nonces(60)
    assert used(nonces, "a", NOW) is None
    assert used(nonces, "a", NOW, key=OTHER) is None


def test_it_is_remembered_as_long_as_its_signature_is_good_and_no_longer():
    nonces = Nonces(60)
    assert used(nonces, "a", NOW) is None
    assert used(nonces, "b", NOW + 60, now=NOW + 60) is None
    assert used(nonces, "a", NOW, now=NOW + 60) is Reason.REPLAYED
    assert len(nonces) == 2
    assert used(nonces, "c", NOW + 61, now=NOW + 61) is None
    assert len(nonces) == 2


def test_without_room_nothing_is_forgotten_and_nobody_comes_in():
    nonces = Nonces(60, capacity=2)
    assert used(nonces, "a", NOW) is None
    assert used(nonces, "b", NOW) is None
    assert used(nonces, "c", NOW) is Reason.TOO_MANY_REQUESTS
    assert used(nonces, "a", NOW) is Reason.REPLAYED
    assert used(nonces, "c", NOW + 61, now=NOW + 61) is None


def test_a_clock_that_goes_ahead_and_comes_back_opens_no_window():
    nonces = Nonces(60)
    assert used(nonces, "a", NOW) is None
    assert used(nonces, "b", NOW + 3600, now=NOW + 3600) is None
    assert used(nonces, "a", NOW, now=NOW + 1) is Reason.EXPIRED, "it was forgotten, and that is known"
    assert used(nonces, "c", NOW + 2, now=NOW + 2) is None


def test_a_clock_that_goes_back_opens_no_window():
    nonces = Nonces(60)
    assert used(nonces, "a", NOW) is None
    assert used(nonces, "b", NOW + 100, now=NOW + 100) is None
    assert used(nonces, "a", NOW, now=NOW - 30) is Reason.EXPIRED
    assert used(nonces, "b", NOW + 100, now=NOW + 50) is Reason.REPLAYED


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(-60, 60), st.one_of(st.just(0), st.integers(-500, 500))), max_size=60
    )
)
def test_no_order_of_events_lets_one_in_twice(events):
    """Any requests, each with its created as far from the clock as is allowed, and a clock that jumps as it likes."""
    nonces, now, let_in = Nonces(60), 1_000_000, set()
    for nonce, away, jump in events:
        now += jump
        signature = (str(nonce), now + away)
        if used(nonces, *signature, now=now) is None:
            assert signature not in let_in
            let_in.add(signature)


def test_what_is_remembered_is_bounded():
    nonces = Nonces(60, capacity=1000)
    for number in range(5000):
        used(nonces, f"{number}", NOW + number // 10, now=NOW + number // 10)
    assert len(nonces) <= 1000


@pytest.mark.parametrize("nonce", ["a" * 128, "\x20" * 16])
def test_what_is_remembered_does_not_grow_with_the_nonce(nonce):
    nonces = Nonces(60)
    assert used(nonces, nonce, NOW) is None
    assert {len(one) for one in nonces._used} == {16}
