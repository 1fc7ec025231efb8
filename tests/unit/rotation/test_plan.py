"""The next step of a rotation, from any state that it can be left in."""

from __future__ import annotations

import dataclasses

import pytest
from support.rotating import KEYS, PRINTS, RETIRE, ROTATE, Secret, b64, decide, fleet, says

from k8s_ws_proxy.errors import RotationRefused
from k8s_ws_proxy.rotation.plan import Done, Finish, For, Intent, Promote, Remember, Remove, Replace, Stage, Verb, Wait
from k8s_ws_proxy.rotation.record import Phase, Until

NOW = 1_735_689_600.0
OVERLAP = 600.0


def secret_at(phase, intent=ROTATE, *, now=NOW):
    """A Secret that a rotation was left with in this phase, at ``now``; KEYS[0] is the old key, KEYS[1] the new one."""
    secret = Secret(secret=KEYS[0])
    steps = [Stage(), Promote(), Remove(), Finish()]
    for step in steps[: 1 + list(Phase).index(phase)]:
        secret.carry_out(step, intent, now=now)
    return secret


def step(secret, some, intent=ROTATE, *, now=NOW):
    return decide(secret.state(), some, intent, now=now)


def nodes(pods):
    return [pod.node for pod in pods]


def until(end, **more):
    return dataclasses.replace(ROTATE, until=end, **more)


@pytest.mark.parametrize("phase", [None, Phase.DONE])
def test_a_rotation_begins_with_a_new_key(phase):
    secret = Secret(secret=KEYS[0]) if phase is None else secret_at(phase)
    assert step(secret, fleet("a")) == Stage()
    assert step(secret, fleet("a"), dataclasses.replace(ROTATE, immediate=True)) == Replace()
    assert step(secret, fleet("a"), RETIRE) == Done(nothing=True)


@pytest.mark.parametrize("intent", [ROTATE, RETIRE, dataclasses.replace(ROTATE, immediate=True)])
def test_without_a_pod_nothing_is_begun(intent):
    with pytest.raises(RotationRefused, match="no pod of the proxy runs"):
        step(Secret(secret=KEYS[0]), fleet(), intent)


def test_a_rotation_under_way_waits_for_pods_that_are_being_replaced():
    none = fleet()
    wait = step(secret_at(Phase.OVERLAP), none, dataclasses.replace(ROTATE, id="rotation-2"))
    assert wait.why is For.A_POD
    none.starting = 1
    assert step(Secret(secret=KEYS[0]), none).why is For.A_POD


def test_not_every_node_can_be_waived():
    with pytest.raises(RotationRefused, match="every node is waived"):
        step(Secret(secret=KEYS[0]), fleet("a", "b"), dataclasses.replace(ROTATE, waived=frozenset("ab")))


def test_every_pod_must_have_the_new_key_before_it_becomes_the_current_one():
    secret, some = secret_at(Phase.STAGED), fleet("a", "b", "c")
    says(some, "a", 0, 1, at=NOW)
    says(some, "b", 0, at=NOW)
    wait = step(secret, some)
    assert (wait.why, nodes(wait.missing), nodes(wait.ask)) == (For.EVERY_POD_HAS_IT, ["b", "c"], ["b", "c"])
    says(some, "b", 0, 1, at=NOW)
    some.didnt_answer(some.pods[2], "asleep", NOW)
    assert nodes(step(secret, some).missing) == ["c"]
    says(some, "c", 0, 1, at=NOW)
    assert step(secret, some) == Promote()
    assert step(secret, some, until(Until.STAGED)) == Done()


def test_a_node_can_be_waived():
    secret, some = secret_at(Phase.STAGED), fleet("a", "b")
    says(some, "a", 0, 1, at=NOW)
    assert nodes(step(secret, some).missing) == ["b"]
    assert step(secret, some, dataclasses.replace(ROTATE, waived=frozenset({"b", "z"}))) == Promote()


def test_a_pod_that_starts_meanwhile_is_waited_for_and_one_that_goes_is_not():
    secret, some = secret_at(Phase.STAGED), fleet("a", "b")
    says(some, "a", 0, 1, at=NOW)
    late = fleet("a", "c").pods[1]
    some.now_runs([some.pods[0], late], 0)
    assert nodes(step(secret, some).missing) == ["c"]
    some.now_runs([some.pods[0]], 1)
    assert step(secret, some) == Promote()


@pytest.mark.parametrize("spoil", ["taken out", "changed"])
def test_a_staged_key_that_somebody_touched_is_no_longer_waited_for(spoil):
    secret, some = secret_at(Phase.STAGED), fleet("a")
    if spoil == "taken out":
        del secret.object["data"]["next"]
    else:
        secret.object["data"]["next"] = b64(KEYS[30])
    with pytest.raises(RotationRefused, match=r"somebody else writes this Secret.*--force"):
        step(secret, some)
    assert step(secret, some, dataclasses.replace(ROTATE, force=True)) == Stage()


def in_overlap(*used, now=NOW, started=0.0):
    """One pod that has both keys, whose uses of the old one it tells; promoted at NOW."""
    secret, some = secret_at(Phase.OVERLAP), fleet("a")
    says(some, "a", 0, 1, at=now, started=started, used={0: used[0]} if used else None)
    return secret, some


def test_an_old_key_stays_for_the_overlap_and_goes_when_a_pod_says_afterwards_that_nobody_used_it():
    secret, some = in_overlap()
    wait = step(secret, some, now=NOW + 1)
    assert (wait.why, wait.due, wait.missing) == (For.OLD_UNUSED, NOW + OVERLAP, ())
    assert 0 < wait.pause <= OVERLAP
    late = step(secret, some, now=NOW + OVERLAP + 1)
    assert nodes(late.ask) == nodes(late.missing) == ["a"], "what it said before the time was up proves nothing"
    says(some, "a", 0, 1, at=NOW + OVERLAP)
    assert step(secret, some, now=NOW + OVERLAP + 1) == Remove()


def test_a_use_puts_it_off_and_is_written_down():
    secret, some = in_overlap(NOW + 500, now=NOW + 600)
    remember = step(secret, some, now=NOW + 600)
    assert remember == Remember({PRINTS[0]: NOW + 500})
    secret.carry_out(remember, ROTATE, now=NOW + 600)
    wait = step(secret, some, now=NOW + 600)
    assert (wait.due, wait.last_used) == (pytest.approx(NOW + 1100), pytest.approx(NOW + 500))


def test_a_use_a_moment_later_is_not_written_down_again():
    secret, some = in_overlap(NOW + 500, now=NOW + 600)
    secret.carry_out(step(secret, some, now=NOW + 600), ROTATE, now=NOW + 600)
    says(some, "a", 0, 1, at=NOW + 601, used={0: NOW + 520})
    wait = step(secret, some, now=NOW + 601)
    assert (type(wait), wait.due) == (Wait, pytest.approx(NOW + 1120))


def test_what_was_written_down_holds_when_the_pod_has_forgotten_it():
    secret, some = in_overlap(NOW + 500, now=NOW + 600)
    secret.carry_out(step(secret, some, now=NOW + 600), ROTATE, now=NOW + 600)
    again = fleet("a")
    says(again, "a", 0, 1, at=NOW + 601, started=NOW - 1)
    assert step(secret, again, now=NOW + 601).due == pytest.approx(NOW + 1100)


def test_a_pod_that_started_in_the_overlap_knows_nothing_of_before():
    secret, some = in_overlap(now=NOW + 600, started=NOW + 200)
    assert step(secret, some, now=NOW + 601).due == NOW + 800


def test_restarts_do_not_put_it_off_for_ever():
    secret, some = in_overlap(now=NOW + 3000, started=NOW + 2900)
    watched = dataclasses.replace(ROTATE, since=NOW)
    assert step(secret, some, watched, now=NOW + 3001) == Remove()
    just_come = dataclasses.replace(ROTATE, since=NOW + 2990)
    assert step(secret, some, just_come, now=NOW + 3001).due == NOW + 3500


def test_every_pod_must_say_so_and_each_old_key_counts():
    secret, some = secret_at(Phase.OVERLAP), fleet("a", "b")
    for node in "ab":
        says(some, node, 0, 1, at=NOW + OVERLAP)
    assert step(secret, some, now=NOW + OVERLAP) == Remove()
    some.reports.pop("uid-b")
    some.didnt_answer(some.pods[1], "asleep", NOW + OVERLAP)
    assert nodes(step(secret, some, now=NOW + OVERLAP).missing) == ["b"]
    waived = dataclasses.replace(ROTATE, waived=frozenset({"b"}))
    assert step(secret, some, waived, now=NOW + OVERLAP) == Remove()


def test_the_old_key_stays_while_a_pod_lacks_the_new_one():
    secret, some = secret_at(Phase.OVERLAP), fleet("a", "b")
    says(some, "a", 0, 1, at=NOW + OVERLAP)
    says(some, "b", 0, at=NOW + OVERLAP)
    wait = step(secret, some, now=NOW + OVERLAP)
    assert (wait.why, nodes(wait.missing)) == (For.EVERY_POD_HAS_IT, ["b"])


def test_the_operators_overlap_goes_before_the_one_written_down():
    secret, some = in_overlap(now=NOW + 60)
    assert step(secret, some, dataclasses.replace(RETIRE, overlap=30.0), now=NOW + 60) == Remove()
    assert step(secret, some, dataclasses.replace(RETIRE, overlap=900.0), now=NOW + 60).due == NOW + 900


def test_retired_in_spite_of_its_use():
    secret, some = in_overlap(NOW + 1, now=NOW + 2)
    assert step(secret, some, dataclasses.replace(RETIRE, unused=False), now=NOW + 2) == Remove()


def test_it_is_done_when_every_pod_has_dropped_the_old_key():
    secret, some = secret_at(Phase.RETIRING), fleet("a", "b")
    says(some, "a", 0, 1, at=NOW + 1)
    says(some, "b", 1, at=NOW - 1)
    wait = step(secret, some, now=NOW + 2)
    assert (wait.why, nodes(wait.missing)) == (For.NO_POD_HAS_THE_OLD, ["a", "b"])
    says(some, "a", 1, at=NOW + 3)
    says(some, "b", 1, at=NOW + 3)
    assert step(secret, some, now=NOW + 4) == Finish()


def test_a_leaked_key_is_waited_for_everywhere():
    secret, some = Secret(secret=KEYS[0]), fleet("a")
    secret.carry_out(Replace(), ROTATE, now=NOW)
    says(some, "a", 0, at=NOW + 1)
    assert nodes(step(secret, some, now=NOW + 2).missing) == ["a"]
    says(some, "a", at=NOW + 2)
    assert nodes(step(secret, some, now=NOW + 2).missing) == ["a"], "it must have the new one, too"
    says(some, "a", 1, at=NOW + 3)
    assert step(secret, some, now=NOW + 3) == Finish()


@pytest.mark.parametrize("phase", [Phase.STAGED, Phase.OVERLAP, Phase.RETIRING])
def test_what_was_interrupted_goes_on_where_it_was(phase):
    assert isinstance(step(secret_at(phase), fleet("a")), Wait)


def test_after_a_stop_that_was_asked_for_a_second_rotation_is_refused_unless_forced():
    secret, some = secret_at(Phase.OVERLAP, until(Until.PROMOTED)), fleet("a")
    for intent in (ROTATE, until(Until.PROMOTED), until(Until.STAGED)):
        with pytest.raises(RotationRefused, match=r"in its overlap.*'keys retire' ends that; --force"):
            step(secret, some, intent)
    assert step(secret, some, dataclasses.replace(ROTATE, force=True)) == Stage()
    assert step(secret, some, dataclasses.replace(ROTATE, immediate=True)) == Replace()
    assert isinstance(step(secret, some, RETIRE), Wait)


def test_a_stop_after_staging_is_gone_on_from():
    secret, some = secret_at(Phase.STAGED, until(Until.STAGED)), fleet("a")
    says(some, "a", 0, 1, at=NOW)
    assert step(secret, some, until(Until.STAGED)) == Done()
    assert step(secret, some) == Promote()


def test_what_is_not_promoted_cannot_be_retired():
    with pytest.raises(RotationRefused, match="'keys rotate' goes on"):
        step(secret_at(Phase.STAGED), fleet("a"), RETIRE)


@pytest.mark.parametrize("phase", [Phase.STAGED, Phase.OVERLAP, Phase.RETIRING])
def test_a_leaked_key_goes_before_whatever_is_under_way(phase):
    assert step(secret_at(phase), fleet("a"), dataclasses.replace(ROTATE, immediate=True)) == Replace()


def test_to_replace_a_leaked_key_is_gone_on_from_and_not_done_twice():
    secret, immediate = Secret(secret=KEYS[0]), dataclasses.replace(ROTATE, immediate=True)
    secret.carry_out(Replace(), immediate, now=NOW)
    assert isinstance(step(secret, fleet("a"), immediate), Wait)
    assert step(secret, fleet("a"), dataclasses.replace(immediate, force=True)) == Replace()


@pytest.mark.parametrize("phase", [Phase.OVERLAP, Phase.RETIRING])
def test_a_current_key_that_somebody_changed_ends_it(phase):
    secret = secret_at(phase)
    secret.object["data"]["secret"] = b64(KEYS[30])
    with pytest.raises(RotationRefused, match="somebody changed it"):
        step(secret, fleet("a"))
    assert step(secret, fleet("a"), dataclasses.replace(ROTATE, force=True)) == Stage()


def test_a_run_ends_with_its_own_rotation_and_begins_no_other():
    own = Intent(Verb.ROTATE, id=secret_at(Phase.DONE).state().record.id)
    assert step(secret_at(Phase.DONE), fleet("a"), own) == Done()
    secret = secret_at(Phase.DONE)
    secret.carry_out(Stage(), ROTATE, now=NOW)
    assert step(secret, fleet("a"), own) == Done(followed=True)
    with pytest.raises(RotationRefused, match="another rotation"):
        step(secret_at(Phase.STAGED), fleet("a"), dataclasses.replace(own, id="mine"))


def test_looks_are_spaced_by_how_many_must_be_asked():
    small, large = secret_at(Phase.STAGED), fleet(*(f"n{number}" for number in range(5000)))
    assert step(small, fleet("a")).pause == 1.0
    assert step(small, large).pause == 30.0
    secret = secret_at(Phase.OVERLAP)
    for pod in large.pods:
        says_all = {PRINTS[0]: None, PRINTS[1]: None}
        large.reports[pod.uid] = dataclasses.replace(report_at(NOW), keys=says_all)
    wait = step(secret, large, now=NOW + 100)
    assert wait.ask == ()
    assert wait.pause == 500.0, "5,000 pods are asked every 500 seconds while there is only time to pass"


def report_at(asked):
    some = fleet("a")
    says(some, "a", at=asked)
    return some.reports["uid-a"]
