"""Several entries in one Secret, one for each caller: each is rotated by itself, and takes nothing from another."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support.rotating import KEYS, PRINTS, RETIRE, ROTATE, Secret, b64, decide, fleet, says

from k8s_ws_proxy.errors import RotationError, RotationRefused
from k8s_ws_proxy.rotation.plan import Done, Finish, For, Promote, Remember, Remove, Replace, Stage, Wait
from k8s_ws_proxy.rotation.record import ANNOTATION, OTHERS, Phase, Record, Until, parse_others

NOW = 1_735_689_600.0
BILLING = KEYS[30]
IMMEDIATE = dataclasses.replace(ROTATE, immediate=True)
STEPS = (Stage(), Promote(), Remove(), Finish())
UNDER_WAY = [Phase.STAGED, Phase.OVERLAP, Phase.RETIRING]


def secret_at(phase, key="secret", *, intent=ROTATE):
    """The entries ``secret`` (KEYS[0]) and ``billing``, and a rotation of ``key`` that was left in this phase."""
    secret = Secret(secret=KEYS[0], billing=BILLING)
    for step in STEPS[: 1 + list(Phase).index(phase)]:
        secret.carry_out(step, intent, now=NOW, key=key)
    return secret


def all_have(secret, *, at):
    """Two pods that have what the Secret holds."""
    some = fleet("a", "b")
    for node in "ab":
        says(some, node, *(KEYS.index(key) for key in secret.keys.values()), at=at)
    return some


def to_the_end(secret, key, *, now, intent=ROTATE):
    """Go on with the rotation of ``key`` until it is done; the steps that were taken."""
    steps = []
    while True:
        step = decide(secret.state(key), all_have(secret, at=now), intent, now=now)
        if isinstance(step, Done):
            return steps
        if isinstance(step, Wait):
            now += step.pause
            continue
        steps.append(type(step))
        record = secret.carry_out(step, intent, now=now, key=key).record
        intent = dataclasses.replace(intent, id=record.id, immediate=False)
        now += 1


def as_an_older_version_wrote_it(secret):
    record = json.loads(secret.annotations[ANNOTATION])
    del record["key"]
    secret.annotations[ANNOTATION] = json.dumps(record)


@pytest.mark.parametrize("phase", UNDER_WAY)
@pytest.mark.parametrize("old", [False, True], ids=["", "an older version's record"])
def test_a_leaked_key_takes_nothing_from_the_rotation_of_another_entry(phase, old):
    secret = secret_at(phase)
    if old:
        as_an_older_version_wrote_it(secret)
    before, record = secret.keys, secret.state().record
    step = decide(secret.state("billing"), all_have(secret, at=NOW), IMMEDIATE, now=NOW)
    assert step == Replace()
    secret.carry_out(step, IMMEDIATE, now=NOW, key="billing")
    assert secret.keys == {**before, "billing": KEYS[secret.made - 1]}
    assert secret.state().record == record
    replaced = secret.state("billing").record
    assert (replaced.phase, replaced.immediate) == (Phase.RETIRING, True)
    assert [gone.fingerprint for gone in replaced.old] == [PRINTS[30]]


@pytest.mark.parametrize("phase", UNDER_WAY)
def test_both_go_on_to_their_end_afterwards(phase):
    secret = secret_at(phase)
    secret.carry_out(Replace(), IMMEDIATE, now=NOW, key="billing")
    mine = dataclasses.replace(ROTATE, id=secret.state().record.id)
    steps = to_the_end(secret, "secret", now=NOW + 1, intent=mine)
    assert [step.__name__ for step in steps] == ["Promote", "Remove", "Finish"][list(Phase).index(phase) :]
    assert to_the_end(secret, "billing", now=NOW + 2000) == [Finish]
    assert secret.keys == {"secret": KEYS[1], "billing": KEYS[2]}
    assert {record.key: record.phase for record in secret.state().records} == {
        "secret": Phase.DONE,
        "billing": Phase.DONE,
    }


def test_a_leaked_key_takes_with_it_what_its_own_rotation_left():
    secret = secret_at(Phase.OVERLAP)
    for step in STEPS[:2]:
        secret.carry_out(step, ROTATE, now=NOW, key="billing")
    assert set(secret.keys) == {"secret", "previous", "billing", "billing.previous"}
    secret.carry_out(Replace(), IMMEDIATE, now=NOW, key="billing")
    assert set(secret.keys) == {"secret", "previous", "billing"}


def test_a_staged_key_does_not_land_in_another_entry():
    secret = secret_at(Phase.STAGED, intent=dataclasses.replace(ROTATE, until=Until.STAGED))
    assert decide(secret.state("billing"), all_have(secret, at=NOW), ROTATE, now=NOW) == Stage()
    assert to_the_end(secret, "billing", now=NOW) == [Stage, Promote, Remove, Finish]
    assert secret.keys == {"secret": KEYS[0], "next": KEYS[1], "billing": KEYS[2]}
    assert to_the_end(secret, "secret", now=NOW + 2000) == [Promote, Remove, Finish]
    assert secret.keys == {"secret": KEYS[1], "billing": KEYS[2]}


@pytest.mark.parametrize("phase", [*UNDER_WAY, Phase.DONE])
@pytest.mark.parametrize(("of", "other"), [("secret", "billing"), ("billing", "secret")])
def test_nobody_is_told_of_a_change_where_another_entry_is_rotated(phase, of, other):
    secret = secret_at(phase, of)
    some = all_have(secret, at=NOW)
    for intent in (ROTATE, dataclasses.replace(ROTATE, until=Until.PROMOTED)):
        assert decide(secret.state(other), some, intent, now=NOW) == Stage()
    assert decide(secret.state(other), some, RETIRE, now=NOW) == Done(nothing=True)
    assert secret.state(other).record is None


def copied(key, *steps, intent=ROTATE):
    """Both entries hold KEYS[0], and a rotation of ``key`` has taken these steps."""
    secret = Secret(secret=KEYS[0], billing=KEYS[0])
    for step in steps:
        secret.carry_out(step, intent, now=NOW, key=key)
    return secret


BOTH = pytest.mark.parametrize(("key", "other"), [("secret", "billing"), ("billing", "secret")])


@BOTH
def test_uses_of_a_key_that_another_entry_holds_too_count_and_that_is_told(key, other):
    secret, some, now = copied(key, Stage(), Promote()), fleet("a"), NOW + 601
    secret.carry_out(Remember({PRINTS[0]: now - 60}), ROTATE, now=now, key=key)
    says(some, "a", 0, 1, at=now, used={0: now - 60})
    wait = decide(secret.state(key), some, ROTATE, now=now)
    assert (wait.why, wait.due, wait.copies) == (For.OLD_UNUSED, now + 540, (other,))
    assert secret.state(key).ends(other) == f"'keys rotate{'' if other == 'secret' else f' --key {other}'}'"


@BOTH
def test_what_another_entry_holds_too_no_pod_has_to_drop(key, other):
    secret = copied(key, Stage(), Promote(), Remove())
    some, now = fleet("a"), NOW + 1
    says(some, "a", 0, 1, at=now, used={0: now})
    assert decide(secret.state(key), some, ROTATE, now=now) == Finish()
    secret.carry_out(Finish(), ROTATE, now=now, key=key)
    state = secret.state(key)
    assert state.copied(state.record) == (other,)
    assert to_the_end(secret, other, now=now + 2) == [Stage, Promote, Remove, Finish]
    assert secret.keys == {key: KEYS[1], other: KEYS[2]}
    assert state.copied(secret.state(key).record) == (other,)
    assert secret.state(key).copied(state.record) == ()


def test_what_another_rotation_keeps_ends_with_that_one():
    secret = copied("secret", Stage(), Promote(), intent=dataclasses.replace(ROTATE, until=Until.PROMOTED))
    for step in (Stage(), Promote()):
        secret.carry_out(step, ROTATE, now=NOW, key="billing")
    state = secret.state("billing")
    assert state.copied(state.record) == ("previous",)
    assert state.ends("previous") == "'keys retire'"
    state = secret.state()
    assert state.copied(state.record) == ("billing.previous",)
    assert state.ends("billing.previous") == "'keys retire --key billing'"


@pytest.mark.parametrize("steps", [(), (Stage(),), (Stage(), Promote())])
def test_a_leaked_key_takes_its_copies_with_it(steps):
    secret = copied("secret", *steps)
    step = decide(secret.state(), all_have(secret, at=NOW), IMMEDIATE, now=NOW)
    assert step == Replace()
    secret.carry_out(step, IMMEDIATE, now=NOW)
    assert secret.keys == {"secret": KEYS[secret.made - 1]}
    assert PRINTS[0] in {old.fingerprint for old in secret.state().record.old}


def test_a_leaked_key_that_comes_back_is_waited_for():
    secret = copied("secret", Replace(), intent=IMMEDIATE)
    secret.object["data"]["billing"] = b64(KEYS[0])
    some = fleet("a")
    says(some, "a", 0, 1, at=NOW + 1)
    assert decide(secret.state(), some, IMMEDIATE, now=NOW + 1).why is For.NO_POD_HAS_THE_OLD


def test_an_entry_that_no_daemon_reads_is_no_copy():
    secret = Secret(**{"secret": KEYS[0], ".before": KEYS[0]})
    assert secret.state().copies(PRINTS[0]) == ()


def test_rotations_at_the_same_time_have_entries_and_ends_of_their_own():
    secret = secret_at(Phase.OVERLAP)
    secret.carry_out(Stage(), ROTATE, now=NOW, key="billing")
    secret.carry_out(Promote(), ROTATE, now=NOW, key="billing")
    assert secret.keys == {
        "secret": KEYS[1],
        "previous": KEYS[0],
        "billing": KEYS[2],
        "billing.previous": BILLING,
    }
    for key, other in (("secret", "billing"), ("billing", "secret")):
        state = secret.state(key)
        assert (state.record.key, [one.key for one in state.others]) == (key, [other])
        roles = {entry.name: state.role(entry) for entry in state.entries}
        assert roles == {key: "current", other: "other", "previous": "previous", "billing.previous": "previous"}
    assert to_the_end(secret, "billing", now=NOW) == [Remove, Finish]
    assert secret.keys == {"secret": KEYS[1], "previous": KEYS[0], "billing": KEYS[2]}
    assert secret.state().others == ()
    assert secret.state("billing").others == (secret.state().record,)


def test_what_is_refused_names_the_entry_to_go_on_with():
    promoted = secret_at(Phase.OVERLAP, "billing", intent=dataclasses.replace(ROTATE, until=Until.PROMOTED))
    with pytest.raises(RotationRefused, match="'keys retire --key billing' ends that"):
        decide(promoted.state("billing"), fleet("a"), ROTATE, now=NOW)
    with pytest.raises(RotationRefused, match="'keys rotate --key billing' goes on"):
        decide(secret_at(Phase.STAGED, "billing").state("billing"), fleet("a"), RETIRE, now=NOW)


@pytest.mark.parametrize(("phase", "name"), [(Phase.STAGED, "billing.next"), (Phase.OVERLAP, "billing.previous")])
@pytest.mark.parametrize("intent", [ROTATE, RETIRE, IMMEDIATE], ids=["rotate", "retire", "immediate"])
def test_what_a_rotation_keeps_is_not_rotated_itself(phase, name, intent):
    secret = secret_at(phase, "billing")
    with pytest.raises(RotationRefused, match="'keys retire --now --key billing' takes its old keys away at once"):
        decide(secret.state(name), fleet("a"), intent, now=NOW)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("key", ["secret", "billing"])
def test_an_older_versions_record_is_of_the_entry_that_its_names_tell(phase, key):
    secret = secret_at(phase, key)
    told = secret.state(key).records
    as_an_older_version_wrote_it(secret)
    for asked in ("secret", "billing"):
        assert secret.state(asked).records == told


def test_an_older_versions_record_of_a_leaked_key_is_of_the_entry_that_holds_the_new_one():
    secret = Secret(secret=KEYS[0], billing=BILLING)
    secret.carry_out(Replace(), IMMEDIATE, now=NOW, key="billing")
    as_an_older_version_wrote_it(secret)
    assert (secret.state().record, secret.state("billing").record.key) == (None, "billing")
    secret.object["data"]["billing"] = b64(KEYS[29])
    assert secret.state().record.key == "secret", "nothing tells any more: whoever looks has to be told of it"


def test_an_older_version_put_a_key_in_another_entry():
    """It took the record for the one of whatever entry it was asked to rotate."""
    secret = secret_at(Phase.STAGED)
    record = json.loads(secret.annotations[ANNOTATION])
    del record["key"]
    record |= {
        "phase": "overlap",
        "promoted": record["staged"],
        "old": [{"entry": "billing.previous", "fingerprint": PRINTS[30], "lastUsed": None}],
    }
    secret.annotations[ANNOTATION] = json.dumps(record)
    secret.object["data"] = {"secret": b64(KEYS[0]), "billing": b64(KEYS[1]), "billing.previous": b64(BILLING)}
    assert [one.key for one in secret.state().records] == ["billing"]


def test_an_older_version_reads_what_it_knows_and_leaves_the_rest():
    secret = secret_at(Phase.STAGED)
    first = json.loads(secret.annotations[ANNOTATION])
    assert set(first) - {"key"} == {
        *("version", "id", "phase", "until", "new", "entry", "overlapSeconds", "staged", "promoted", "retired"),
        *("finished", "immediate", "follows", "old"),
    }
    assert OTHERS not in secret.annotations
    secret.carry_out(Stage(), ROTATE, now=NOW, key="billing")
    assert json.loads(secret.annotations[ANNOTATION]) == first, "its record stays where an older version looks"
    assert [one.key for one in parse_others(secret.annotations[OTHERS])] == ["billing"]
    as_an_older_version_wrote_it(secret)
    assert to_the_end(secret, "secret", now=NOW) == [Promote, Remove, Finish]
    assert secret.state("billing").record.phase is Phase.STAGED


def test_of_two_records_of_one_entry_the_later_one_counts():
    """An older version doesn't see what stands in the second annotation, and begins another rotation in the first."""
    secret = secret_at(Phase.DONE)
    secret.carry_out(Stage(), ROTATE, now=NOW, key="billing")
    later = json.loads(secret.annotations[OTHERS])[0] | {"id": "later", "staged": "2025-01-01T00:01:00.000Z"}
    secret.annotations[ANNOTATION] = json.dumps(later)
    assert secret.state("billing").record.id == "later"
    secret.annotations[ANNOTATION] = json.dumps(later | {"staged": "2024-12-31T23:00:00.000Z"})
    assert secret.state("billing").record.id != "later"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"version": 1}]', "no key"])
def test_a_second_annotation_that_somebody_changed_is_told_by_its_name(text):
    secret = secret_at(Phase.DONE)
    secret.carry_out(Stage(), ROTATE, now=NOW, key="billing")
    if text == "no key":
        text = secret.annotations[OTHERS].replace('"key": "billing"', '"key": ""')
    secret.annotations[OTHERS] = text
    with pytest.raises(RotationError, match=f"{OTHERS} can't be understood"):
        secret.state()


def test_what_was_done_long_ago_is_forgotten_and_what_is_under_way_never():
    secret = Secret(
        **{f"caller-{number:03}": f"the key of caller {number:03}, 32 bytes.".encode() for number in range(150)}
    )
    names = list(secret.keys)
    for number, name in enumerate(names):
        secret.made = 1
        for step in (Stage(), *(() if number < 20 else (Promote(), Remove(), Finish()))):
            secret.carry_out(step, ROTATE, now=NOW + number, key=name)
    records = secret.state(names[0]).records
    assert [one.key for one in records if one.phase is Phase.STAGED] == names[:20]
    assert [one.key for one in records if one.phase is Phase.DONE] == names[50:]
    assert len(secret.annotations[OTHERS]) < 100 * 1024
    del secret.object["data"][names[60]]
    secret.carry_out(Stage(), ROTATE, now=NOW, key=names[70])
    assert names[60] not in [one.key for one in secret.state(names[0]).records]


def test_a_record_tells_what_to_type():
    record = secret_at(Phase.OVERLAP).state().record
    assert isinstance(record, Record)
    assert record.command("retire") == "'keys retire'"
    assert dataclasses.replace(record, key="billing").command("retire") == "'keys retire --key billing'"
