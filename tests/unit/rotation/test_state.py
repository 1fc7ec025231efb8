"""The Secret's annotation and the patches: what they hold, what they keep, and what can't be read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rotating import KEYS, PRINTS, ROTATE, Secret, b64

from k8s_ws_proxy.errors import RotationError
from k8s_ws_proxy.rotation import state as states
from k8s_ws_proxy.rotation.plan import Promote, Remember, Remove, Replace, Stage
from k8s_ws_proxy.rotation.record import ANNOTATION, Old, Phase, Record, Until, dump, parse
from k8s_ws_proxy.wire.requests.key_names import entry_of

NOW = 1_735_689_600.123
RECORD = Record(
    id="a1",
    phase=Phase.OVERLAP,
    until=Until.RETIRED,
    new=PRINTS[1],
    entry="next",
    overlap=600.0,
    staged=NOW,
    promoted=NOW + 60,
    old=(Old("previous", PRINTS[0], NOW + 70), Old("previous-2", PRINTS[2])),
)


def test_a_record_is_read_as_it_was_written():
    assert parse(dump(RECORD)) == RECORD


@given(st.floats(0, 4e9), st.sampled_from(Phase), st.sampled_from(Until), st.booleans())
def test_any_record_is_read_as_it_was_written(when, phase, until, immediate):
    record = dataclasses.replace(RECORD, staged=when, retired=when, phase=phase, until=until, immediate=immediate)
    read = parse(dump(record))
    assert read.staged == pytest.approx(when, abs=0.001)
    assert dataclasses.replace(read, staged=when, retired=when) == record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "1",
        "[" * 100_000,
        dump(RECORD).replace('"overlap"', '"nearly"'),
        dump(RECORD).replace("2025-01-01T00:00:00.123Z", "yesterday"),
        dump(RECORD).replace("2025-01-01T00:00:00.123Z", "2025-01-01T00:00:00"),
        dump(RECORD).replace('"a1"', "17"),
        dump(RECORD).replace("600.0", '"long"'),
    ],
    ids=range(11),
)
def test_a_record_that_somebody_changed_is_told(text):
    with pytest.raises(RotationError, match=f"{ANNOTATION} can't be understood"):
        parse(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_stands_in_the_annotation_is_a_record_or_told(value):
    with pytest.raises(RotationError):
        parse(json.dumps({"version": 1, "id": value, "phase": value, "staged": value, "old": value}))


def test_a_record_of_another_version_names_it():
    with pytest.raises(RotationError, match="another version"):
        parse(dump(RECORD).replace('"version": 1', '"version": 2'))


@pytest.mark.parametrize(
    ("entries", "words"),
    [({}, "there is nothing"), ({"token": KEYS[0], "a": KEYS[1]}, "there is a, token. Name the right one with --key")],
)
def test_a_secret_without_the_entry_says_which_there_are(entries, words):
    with pytest.raises(RotationError, match=words):
        Secret(**entries).state()


def test_a_secret_that_is_no_base64_is_told_without_its_value():
    with pytest.raises(RotationError) as told:
        states.read({"metadata": {}, "data": {"secret": "not base64!"}}, "secret")
    assert "not base64!" not in str(told.value)


def test_an_immutable_secret_is_told_with_the_way_out():
    with pytest.raises(RotationError, match="immutable: true"):
        states.check_mutable({"immutable": True})
    states.check_mutable({"immutable": False})


def test_white_space_around_a_key_is_no_part_of_its_fingerprint():
    assert Secret(secret=b"\n" + KEYS[0] + b"\n").state().current.fingerprint == PRINTS[0]


def test_no_key_is_in_any_repr():
    secret = Secret(secret=KEYS[0])
    patch = states.stage(secret.state(), KEYS[1], id_="x", until=Until.RETIRED, overlap=1, now=NOW)
    for text in (repr(secret.state()), repr(patch)):
        for key in KEYS[:2]:
            assert b64(key) not in text
            assert key.decode() not in text


def roles(secret):
    state = secret.state()
    return {entry.name: state.role(entry) for entry in state.entries}


def test_the_patches_of_a_rotation():
    secret = Secret(secret=KEYS[0])
    secret.carry_out(Stage(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[0], "next": KEYS[1]}
    assert roles(secret) == {"secret": "current", "next": "next"}
    secret.carry_out(Promote(), ROTATE, now=NOW + 1)
    assert secret.keys == {"secret": KEYS[1], "previous": KEYS[0]}
    assert roles(secret) == {"secret": "current", "previous": "previous"}
    secret.carry_out(Remember({PRINTS[0]: NOW + 2}), ROTATE, now=NOW + 3)
    assert secret.state().record.old == (Old("previous", PRINTS[0], pytest.approx(NOW + 2, abs=0.001)),)
    secret.carry_out(Remove(), ROTATE, now=NOW + 4)
    assert secret.keys == {"secret": KEYS[1]}
    assert secret.state().record.phase is Phase.RETIRING


def test_another_entry_than_the_default_one_keeps_its_name_in_those_of_its_keys():
    """A daemon tells from the name whose key it is, whoever reads it when."""
    entries = {"secret": KEYS[0], "billing": KEYS[1]}
    data = {name: b64(key) for name, key in entries.items()}
    manifest = {"metadata": {"resourceVersion": "1"}, "data": data}
    staged = states.stage(states.read(manifest, "billing"), KEYS[2], id_="x", until=Until.RETIRED, overlap=1, now=NOW)
    assert set(staged.body["data"]) == {"billing.next"}
    manifest["data"] |= staged.body["data"]
    manifest["metadata"] |= staged.body["metadata"]
    state = states.read(manifest, "billing")
    promoted = states.promote(state, until=Until.RETIRED, overlap=1, now=NOW)
    assert promoted.body["data"] == {
        "billing": b64(KEYS[2]),
        "billing.next": None,
        "billing.previous": b64(KEYS[1]),
    }
    assert {entry_of(name) for name in promoted.body["data"]} == {"billing"}


def test_the_old_key_is_kept_byte_for_byte():
    secret = Secret(secret=KEYS[0] + b"\n")
    for step in (Stage(), Promote()):
        secret.carry_out(step, ROTATE, now=NOW)
    assert secret.keys["previous"] == KEYS[0] + b"\n"


def test_entries_of_others_are_left_alone_also_where_their_names_are_taken():
    secret = Secret(secret=KEYS[0], next=KEYS[20], previous=KEYS[21], **{"previous-2": KEYS[22]})
    others = {"next": KEYS[20], "previous": KEYS[21], "previous-2": KEYS[22]}
    secret.carry_out(Stage(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[0], "next-2": KEYS[1], **others}
    secret.carry_out(Promote(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[1], "previous-3": KEYS[0], **others}
    assert {name for name, role in roles(secret).items() if role == "other"} == set(others)
    secret.carry_out(Remove(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[1], **others}


def test_a_second_rotation_by_force_keeps_every_old_key():
    secret = Secret(secret=KEYS[0])
    for step in (Stage(), Promote(), Stage()):
        secret.carry_out(step, ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[1], "previous": KEYS[0], "next": KEYS[2]}
    secret.carry_out(Promote(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[2], "previous": KEYS[0], "previous-2": KEYS[1]}
    secret.carry_out(Remove(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[2]}


def test_staging_by_force_takes_the_place_of_what_was_staged():
    secret = Secret(secret=KEYS[0])
    for step in (Stage(), Stage()):
        secret.carry_out(step, ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[0], "next": KEYS[2]}


@pytest.mark.parametrize("steps", [[], [Stage()], [Stage(), Promote()], [Stage(), Promote(), Stage()]])
def test_a_leaked_key_goes_at_once_and_with_it_all_of_a_rotation_s(steps):
    secret = Secret(secret=KEYS[0], other=KEYS[20])
    for step in steps:
        secret.carry_out(step, ROTATE, now=NOW)
    before = secret.state()
    secret.carry_out(Replace(), ROTATE, now=NOW)
    state = secret.state()
    assert set(secret.keys) == {"secret", "other"}
    assert secret.keys["secret"] not in KEYS[: secret.made - 1]
    gone = {entry.fingerprint for entry in before.entries} - {PRINTS[20]}
    assert {old.fingerprint for old in state.record.old} == gone
    assert (state.record.phase, state.record.immediate) == (Phase.RETIRING, True)


def test_a_copy_of_the_leaked_key_goes_too():
    secret = Secret(secret=KEYS[0], copy=KEYS[0], other=KEYS[20])
    secret.carry_out(Replace(), ROTATE, now=NOW)
    assert set(secret.keys) == {"secret", "other"}


def test_an_old_entry_that_somebody_gave_another_value_is_not_ours_to_remove():
    secret = Secret(secret=KEYS[0])
    for step in (Stage(), Promote()):
        secret.carry_out(step, ROTATE, now=NOW)
    secret.object["data"]["previous"] = b64(KEYS[30])
    secret.carry_out(Remove(), ROTATE, now=NOW)
    assert secret.keys == {"secret": KEYS[1], "previous": KEYS[30]}


def test_a_patch_of_what_was_changed_meanwhile_is_a_conflict():
    secret = Secret(secret=KEYS[0])
    patch = states.stage(secret.state(), KEYS[1], id_="x", until=Until.RETIRED, overlap=1, now=NOW)
    secret.touch()
    assert not secret.patch(patch)
    assert secret.keys == {"secret": KEYS[0]}
