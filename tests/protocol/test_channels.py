"""Subprotocols, and ``metav1.Status`` on channel 3 in every form that an apiserver was seen to send."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing import channels
from k8s_ws_proxy.wire.framing.channels import (
    FORWARD_SUBPROTOCOLS,
    TUNNEL,
    V4,
    V5,
    choose_subprotocol,
    exit_code,
    failure,
    parse_status,
)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["v4.channel.k8s.io"], "v4.channel.k8s.io"),
        (["v5.channel.k8s.io"], "v5.channel.k8s.io"),
        (["v5.channel.k8s.io", "v4.channel.k8s.io"], "v5.channel.k8s.io"),
        (["v4.channel.k8s.io", "v5.channel.k8s.io"], "v4.channel.k8s.io"),
        (["v3.channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"], "v4.channel.k8s.io"),
        (["base64.channel.k8s.io", "channel.k8s.io", "v5.channel.k8s.io"], "v5.channel.k8s.io"),
        (["v3.channel.k8s.io"], None),
        (["v4.base64.channel.k8s.io"], None),
        (["V4.CHANNEL.K8S.IO"], None),
        ([""], None),
        ([], None),
    ],
)
def test_the_first_known_subprotocol_in_the_clients_order(offered, chosen):
    assert choose_subprotocol(offered) == chosen


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([TUNNEL], TUNNEL),
        ([V5, V4, TUNNEL], V4),
        ([TUNNEL, V4], TUNNEL),
        ([V5], None),
        (["SPDY/3.1"], None),
        (["spdy/3.1+portforward.k8s.io"], None),
        ([], None),
    ],
)
def test_the_subprotocols_of_a_port_forward(offered, chosen):
    assert choose_subprotocol(offered, FORWARD_SUBPROTOCOLS) == chosen


def status_of(payload):
    status = parse_status(payload)
    return "no Status" if status is None else exit_code(status)


def exited(code, command=""):
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {command}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


CAUSE = {"reason": "ExitCode", "message": "3"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param({"metadata": {}, "status": "Success"}, 0, id="exit 0"),
        pytest.param({"status": "Success"}, 0, id="exit 0, without metadata"),
        pytest.param(exited(3, "error executing command [sh -c exit 3], exit code 3"), 3, id="exit 3"),
        pytest.param(exited(137), 137, id="killed, or its pod deleted"),
        pytest.param(exited(143), 143, id="terminated"),
        pytest.param(exited(255), 255, id="exit 255"),
        pytest.param(
            {"metadata": {}, "status": "Failure", "message": "no such file", "reason": "InternalError", "code": 500},
            None,
            id="never ran",
        ),
        pytest.param({"status": "Failure", "details": {"causes": [{"message": "no such file"}]}}, None, id="no reason"),
        pytest.param({"status": "Failure", "details": {"causes": [{"reason": "x"}, CAUSE]}}, 3, id="second cause"),
        pytest.param({"status": "Failure", "details": {"causes": [CAUSE, exited(4)]}}, 3, id="the first one counts"),
        pytest.param({"status": "Failure", "details": {"causes": []}}, None, id="no cause"),
        pytest.param({"status": "Failure", "details": {}}, None, id="no causes"),
        pytest.param({"status": "Failure", "details": None}, None, id="details null"),
        pytest.param({"status": "Failure", "details": "x"}, None, id="details text"),
        pytest.param({"status": "Failure", "details": {"causes": {}}}, None, id="causes no list"),
        pytest.param({"status": "Failure", "details": {"causes": [None, 1, "x", []]}}, None, id="causes no objects"),
        pytest.param({"status": "Failure", "details": {"causes": [{"reason": "ExitCode"}]}}, None, id="no message"),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "three"}]}}, None, id="words"
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": None}]}}, None, id="null"
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": [3]}]}}, None, id="a list"
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "9" * 5000}]}},
            None,
            id="more digits than an int takes",
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": float("inf")}]}},
            None,
            id="infinity",
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": float("nan")}]}},
            None,
            id="not a number",
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "9" * 20}]}},
            None,
            id="more than an exit code has",
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "-1"}]}}, -1, id="negative"
        ),
        pytest.param(
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3221225786"}]}},
            3221225786,
            id="Windows has 32 bits without a sign",
        ),
        pytest.param({"status": "success"}, None, id="another case is no Success"),
        pytest.param({"status": None}, None, id="status null"),
        pytest.param({"status": {"status": "Success"}}, None, id="status an object"),
        pytest.param({"status": "Failure", "code": 0}, None, id="a code is no exit code"),
    ],
)
def test_the_exit_code_of_a_status(status, code):
    assert status_of(json.dumps(status).encode()) == code


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"command terminated with non-zero exit code",  # channel 3 without a subprotocol
        b"\xff\xfe\xfd",
        b"{",
        b'{"status":"Success"',
        b"null",
        b"3",
        b'"Success"',
        b'["status"]',
        b"{}",
        b'{"kind":"Status"}',
        b"[" * 100_000,
        b'{"status":' * 50_000,
        b'{"status":' + b"9" * 5000 + b"}",
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_what_is_no_status(payload):
    assert status_of(payload) == "no Status"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_status_or_none(payload):
    assert status_of(payload) is None or status_of(payload) == "no Status" or isinstance(status_of(payload), int)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["ExitCode", "3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "details", "causes", "reason", "message"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_has_an_exit_code_or_none(value):
    status = parse_status(json.dumps(value).encode())
    assert status is None or exit_code(status) is None or isinstance(exit_code(status), int)


@pytest.mark.parametrize("message", ["it broke", 'with "quotes" and \\', "é✓", "two\nlines", "\ud800", ""])
def test_a_failure_of_ours_is_a_status_without_an_exit_code(message):
    made = failure(message, reason="InternalError", code=500)
    assert json.loads(made) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message.encode("utf-8", "replace").decode(),
        "reason": "InternalError",
        "code": 500,
    }
    assert status_of(made) is None


def test_the_numbers_of_the_channels():
    names = ("STDIN", "STDOUT", "STDERR", "STATUS", "RESIZE", "CLOSE")
    assert [getattr(channels, name) for name in names] == [0, 1, 2, 3, 4, 255]
