"""What the tails of all terminals may take together."""

from __future__ import annotations

from k8s_ws_proxy.relay.tails import Tails
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.rules.tail import MOST, Tail

SAID = frames.frame(frames.BINARY, b"\1" + b"x" * 996)  # 1000 and a few bytes


def test_together_they_are_bounded_and_the_one_that_said_least_lately_goes_first():
    tails = Tails(max_bytes=4 * MOST)
    quiet, *loud = (Tail() for _ in range(20))
    tails.append(quiet, SAID)
    for _ in range(200):
        for tail in loud:
            tails.append(tail, SAID)
            assert tails.held <= 4 * MOST
            assert tails.held == sum(each.held for each in (quiet, *loud))
    assert quiet.held == 0
    assert quiet.replay()[1] is False


def test_one_that_was_let_go_begins_anew():
    tails = Tails()
    tail = Tail()
    tails.append(tail, SAID)
    tails.drop(tail)
    assert tails.held == 0
    tails.append(tail, frames.frame(frames.BINARY, b"\1$ "))
    assert tail.replay()[0].endswith(b"$ ")
    assert tails.held == tail.held > 0


def test_a_session_that_ended_holds_nothing():
    tails = Tails()
    for _ in range(100):
        tail = Tail()
        tails.append(tail, SAID)
        tails.drop(tail)
        tails.drop(tail)
    assert (tails.held, tails._tails) == (0, {})
