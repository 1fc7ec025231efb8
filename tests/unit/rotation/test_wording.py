"""What an operator reads while it waits."""

from __future__ import annotations

import pytest
from support.rotating import KEYS, Secret, fleet

from k8s_ws_proxy.rotation.plan import For, Wait
from k8s_ws_proxy.rotation.wording import clock, duration, waits

NOW = 1_735_689_600.0
STATE = Secret(secret=KEYS[0], billing=KEYS[0]).state()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (0.4, "0s"), (59.6, "1m00s"), (61, "1m01s"), (600, "10m00s"), (3720, "1h02m"), (90000, "25h00m")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def waiting(why, nodes=("a", "b", "c"), missing=2, silent=0, *, lasted=0.0, **more):
    some = fleet(*nodes)
    gone = some.pods[:missing]
    for pod in gone[:silent]:
        some.didnt_answer(pod, "503: connection refused", NOW)
    return waits(Wait(why, gone, gone, 1.0, **more), STATE, some, lasted=lasted, now=NOW)


def test_who_is_late_is_named():
    assert waiting(For.EVERY_POD_HAS_IT) == (
        "2 of 3 pods not known to accept the new key (a, b); a kubelet may take two minutes"
    )
    assert waiting(For.NO_POD_HAS_THE_OLD, missing=1) == (
        "1 of 3 pods not known to have dropped the old key (a); a kubelet may take two minutes"
    )


def test_too_long_a_wait_has_a_likely_cause():
    assert waiting(For.EVERY_POD_HAS_IT, lasted=151.0).endswith("its directory named in SHARED_SECRET_DIR?")


def test_who_does_not_answer_is_named_with_why_and_no_kubelet_is_blamed_for_it():
    assert waiting(For.EVERY_POD_HAS_IT, silent=2) == (
        "2 of 3 pods not known to accept the new key; no answer from a (503: connection refused), "
        "b (503: connection refused): mend, or --waive"
    )
    assert waiting(For.EVERY_POD_HAS_IT, silent=1).endswith("mend, or --waive; a kubelet may take two minutes")


def test_of_very_many_some_are_named():
    nodes = [f"n{number:02}" for number in range(30)]
    told = waiting(For.EVERY_POD_HAS_IT, nodes, missing=30, silent=25)
    assert "n09 (503: connection refused) and 15 more: mend" in told
    assert "n10" not in told
    assert waiting(For.EVERY_POD_HAS_IT, nodes, missing=30).startswith("30 of 30 pods not known to accept the new key;")


def test_who_does_not_answer_is_named_also_while_there_is_only_time_to_pass():
    some = fleet("a")
    some.didnt_answer(some.pods[0], "not within 10 s", NOW)
    told = waits(Wait(For.OLD_UNUSED, some.pods, (), 1.0, due=NOW + 9), STATE, some, lasted=0.0, now=NOW)
    assert told.endswith("in 9s, if nobody uses it; no answer from a (not within 10 s): mend, or --waive")


def test_whose_uses_count_too_is_told_and_what_ends_that():
    told = waits(
        Wait(For.OLD_UNUSED, (), (), 1.0, due=NOW + 9, copies=("billing",)), STATE, fleet("a"), lasted=0.0, now=NOW
    )
    assert told.endswith(
        "other entries hold it, too, and count as uses: 'keys rotate --key billing' ends that for 'billing'"
    )


def test_no_pod_at_all():
    some = fleet()
    some.starting = 2
    told = waits(Wait(For.A_POD, (), (), 1.0), STATE, some, lasted=0.0, now=NOW)
    assert told == "no pod of the proxy runs; 2 are starting"


def test_when_the_old_key_may_go():
    due = NOW + 421
    assert (
        waiting(For.OLD_UNUSED, missing=0, due=due)
        == f"the old key may go at {clock(due)}, in 7m01s, if nobody uses it"
    )
    assert waiting(For.OLD_UNUSED, missing=0, due=due, last_used=NOW - 179).endswith("; it was last used 2m59s ago")
    assert waiting(For.OLD_UNUSED, missing=1) == "1 of 3 pods to be asked whether the old key is unused (a)"
