"""What pods say of their keys, and which pods count."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rotating import fleet, says

from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.rotation.fleet import NotAReportError, parse_pods, parse_report

NOW = 1_735_689_600.0


def keys_body(*, now=NOW, started=NOW - 100, keys=(("secret", "f00", None),), **more):
    told = {
        "started": rfc3339(started),
        "now": rfc3339(now),
        "keys": [
            {"id": id_, "fingerprint": print_, "since": rfc3339(started), "last_used": used and rfc3339(used)}
            for id_, print_, used in keys
        ],
        **more,
    }
    return json.dumps({name: value for name, value in told.items() if value is not ...}).encode()


def test_a_report():
    report = parse_report(keys_body(keys=[("a", "f00", None), ("b", "baa", NOW - 5)]), asked=NOW - 1, answered=NOW)
    assert report.keys == {"f00": None, "baa": NOW - 5}
    assert (report.asked, report.started) == (NOW - 1, NOW - 100)


@pytest.mark.parametrize("off", [-3600.0, -1.0, 0.0, 1.0, 3600.0])
def test_a_pods_clock_may_be_off(off):
    body = keys_body(now=NOW + off, started=NOW + off - 100, keys=[("a", "f00", NOW + off - 7)])
    report = parse_report(body, asked=NOW, answered=NOW)
    assert report.keys == {"f00": pytest.approx(NOW - 7)}
    assert report.started == pytest.approx(NOW - 100)


def test_without_the_pods_clock_its_times_are_taken_as_they_are():
    report = parse_report(
        keys_body(keys=[("a", "f00", NOW - 7)], now=NOW + 50).replace(b'"now"', b'"x"'), asked=NOW, answered=NOW
    )
    assert report.keys == {"f00": NOW - 7}


def test_a_key_without_a_fingerprint_is_none_of_a_rotation_s():
    assert parse_report(keys_body(keys=[("a", None, None)]), asked=NOW, answered=NOW).keys == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"started": 1, "keys": []}',
        keys_body().replace(b"keys", b"kees"),
        b"[" * 100_000,
    ],
    ids=range(7),
)
def test_what_is_no_report(body):
    with pytest.raises(NotAReportError):
        parse_report(body, asked=NOW, answered=NOW)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.text() | st.floats(),
        lambda x: (
            st.lists(x) | st.dictionaries(st.sampled_from(["started", "now", "keys", "fingerprint", "last_used"]), x)
        ),
    ).map(lambda x: json.dumps(x).encode())
)
def test_whatever_answers_is_a_report_or_not(body):
    with contextlib.suppress(NotAReportError):
        parse_report(body, asked=NOW, answered=NOW)


def item(name="p", *, phase="Running", owner="ds", controller=True, deleting=False, node="n"):
    metadata = {"uid": f"uid-{name}", "name": name}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": controller}]
    if deleting:
        metadata["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase}}


def test_the_pods_that_count():
    items = [
        item("runs"),
        item("starts", phase="Pending"),
        item("ended", phase="Succeeded"),
        item("failed", phase="Failed"),
        item("leaves", deleting=True),
        item("another's", owner="other"),
        item("not controlled", controller=False),
        item("nobody's", owner=None),
    ]
    pods, starting = parse_pods(items, owner="ds")
    assert [pod.name for pod in pods] == ["runs"]
    assert starting == 1
    assert len(parse_pods(items, owner=None)[0]) == 4


def test_what_a_pod_said_is_forgotten_with_it():
    some = fleet("a", "b")
    says(some, "a", 0, at=NOW)
    some.didnt_answer(some.pods[1], "asleep", NOW)
    some.now_runs([some.pods[1]], 0)
    assert (some.reports, some.silent) == ({}, {"uid-b": "asleep"})
    some.now_runs([], 2)
    assert (some.silent, some.tried, some.starting) == ({}, {}, 2)


def test_a_pod_that_answers_again_is_not_silent():
    some = fleet("a")
    some.didnt_answer(some.pods[0], "asleep", NOW)
    says(some, "a", 0, at=NOW)
    assert some.silent == {}
    some.didnt_answer(some.pods[0], "asleep again", NOW + 1)
    assert list(some.reports) == ["uid-a"], "what it said before stands"
