"""Is this peer still there? Scripts of ticks, and what each answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.rules.liveness import BUSY, Health, Liveness, Verdict

FINE, UNSENT, UNANSWERED = Health(), Health(unsent=True), Health(unanswered=True)
STUCK = Health(unsent=True, unanswered=True)
UNREAD = Health(unread=True)
WAIT, PING, DEAD = Verdict.WAIT, Verdict.PING, Verdict.DEAD


def verdicts(*script):
    """Run ``script``: Health is a tick, "heard" and numbers (bytes sent) are what they say; the ticks' verdicts."""
    peer, out = Liveness(), []
    for step in script:
        if step == "heard":
            peer.heard()
        elif isinstance(step, int):
            peer.sent(step)
        else:
            out.append(peer.tick(step))
    return out


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([FINE, FINE], [PING, DEAD], id="silent from the start"),
        pytest.param(["heard", FINE, FINE], [PING, DEAD], id="dead on the second tick after its last byte"),
        pytest.param([FINE, "heard", FINE, "heard", FINE, FINE], [PING, PING, PING, DEAD], id="any byte is life"),
        pytest.param([FINE, "heard", FINE, FINE], [PING, PING, DEAD], id="one answer is good for one ping"),
        pytest.param([FINE, UNSENT, UNSENT, UNSENT], [PING, WAIT, WAIT, WAIT], id="no deadline while output is unsent"),
        pytest.param([UNSENT, FINE, FINE], [WAIT, PING, DEAD], id="no ping behind unsent output"),
        pytest.param([FINE, UNSENT, FINE, FINE], [PING, WAIT, PING, DEAD], id="a deadline begins anew after it"),
        pytest.param([FINE, UNREAD, UNREAD], [PING, PING, PING], id="no deadline while its pong can't be read"),
        pytest.param([FINE, UNREAD, FINE], [PING, PING, DEAD], id="nor longer than that"),
        pytest.param([FINE, UNREAD, "heard", FINE], [PING, PING, PING], id="and there its pong was"),
        pytest.param(["heard", UNANSWERED, UNANSWERED], [PING, DEAD], id="unanswered, but heard a moment ago"),
        pytest.param([FINE, UNANSWERED], [PING, DEAD], id="unanswered and not heard"),
        pytest.param([UNSENT, STUCK], [WAIT, DEAD], id="unanswered counts though output is unsent"),
        pytest.param([UNSENT, "heard", STUCK, STUCK], [WAIT, WAIT, DEAD], id="a byte holds that off for a tick"),
        pytest.param([FINE, BUSY, FINE], [PING, DEAD], id="as much as 64 KiB sent since is no excuse"),
        pytest.param([FINE, BUSY + 1, FINE], [PING, PING], id="more than 64 KiB sent since may keep it busy"),
        pytest.param([BUSY + 1, FINE, FINE, FINE], [PING, PING, PING], id="counted since it was last heard"),
        pytest.param([FINE, BUSY, 1, FINE], [PING, PING], id="and added up"),
        pytest.param([BUSY + 1, FINE, "heard", FINE, FINE], [PING, PING, DEAD], id="once heard it has no excuse"),
        pytest.param([FINE, UNREAD, Health(unread=True, unanswered=True)], [PING, PING, DEAD], id="so does it here"),
        pytest.param([FINE, BUSY + 1, FINE, UNANSWERED], [PING, PING, DEAD], id="unanswered overrides the excuse"),
    ],
)
def test_script(script, expected):
    assert verdicts(*script) == expected


@given(st.lists(st.sampled_from(["heard", 1, BUSY, FINE, UNSENT, UNREAD, UNANSWERED, STUCK]), max_size=40))
def test_from_any_state_a_silent_peer_that_takes_all_we_send_is_dead_within_two_ticks(history):
    peer = Liveness()
    for step in [*history, "heard"]:
        if step == "heard":
            peer.heard()
        elif isinstance(step, int):
            peer.sent(step)
        else:
            peer.tick(step)
    assert [peer.tick(FINE), peer.tick(FINE)] == [PING, DEAD]


@given(st.lists(st.sampled_from([FINE, UNSENT, UNANSWERED, STUCK]), max_size=40))
def test_a_peer_heard_in_every_period_is_never_dead(ticks):
    peer = Liveness()
    for health in ticks:
        peer.heard()
        assert peer.tick(health) is (WAIT if health.unsent else PING)
