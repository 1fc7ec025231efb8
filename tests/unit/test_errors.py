"""The table from reason to answer, and the tree of errors."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from k8s_ws_proxy import errors
from k8s_ws_proxy.errors import ProxyError, Reason, SettingsError, UpstreamRefused, UpstreamTimeout
from k8s_ws_proxy.reasons import Rule

TABLE = {
    Reason.BAD_PATH: Rule(404, "debug"),
    Reason.METHOD_NOT_ALLOWED: Rule(405, "info"),
    Reason.UPGRADE_REQUIRED: Rule(426, "info"),
    Reason.MALFORMED_REQUEST: Rule(400, "info"),
    Reason.REQUEST_TIMEOUT: Rule(408, "info"),
    Reason.BAD_QUERY: Rule(400, "info"),
    Reason.BAD_BODY: Rule(400, "info"),
    Reason.BAD_HANDSHAKE: Rule(400, "info"),
    Reason.UNKNOWN_SUBPROTOCOL: Rule(400, "info"),
    Reason.MISSING_TIMESTAMP: Rule(401, "warning"),
    Reason.MALFORMED_TIMESTAMP: Rule(401, "warning"),
    Reason.MISSING_HMAC: Rule(401, "warning"),
    Reason.MALFORMED_HMAC: Rule(401, "warning"),
    Reason.EXPIRED: Rule(401, "warning"),
    Reason.BAD_SIGNATURE: Rule(401, "warning"),
    Reason.MALFORMED_SIGNATURE: Rule(401, "warning"),
    Reason.SIGNATURE_INCOMPLETE: Rule(401, "warning"),
    Reason.REPLAYED: Rule(401, "warning"),
    Reason.DIGEST_MISMATCH: Rule(401, "warning"),
    Reason.TWO_CREDENTIALS: Rule(401, "warning"),
    Reason.SIGNATURE_V2_REQUIRED: Rule(401, "warning"),
    Reason.SIGNATURE_NOT_ACCEPTED: Rule(401, "warning"),
    Reason.BAD_TICKET: Rule(401, "warning"),
    Reason.SUBJECT_DENIED: Rule(401, "warning"),
    Reason.CERTIFICATE_EXPIRED: Rule(401, "warning"),
    Reason.MALFORMED_IDENTITY: Rule(400, "warning"),
    Reason.IDENTITY_UNSIGNED: Rule(400, "warning"),
    Reason.WRONG_NODE: Rule(421, "warning"),
    Reason.USER_REQUIRED: Rule(403, "warning"),
    Reason.IDENTITY_DENIED: Rule(403, "warning"),
    Reason.ORIGIN_DENIED: Rule(403, "warning"),
    Reason.ACCESS_DENIED: Rule(403, "warning"),
    Reason.NAMESPACE_DENIED: Rule(403, "warning"),
    Reason.SUBRESOURCE_DENIED: Rule(403, "warning"),
    Reason.PORT_DENIED: Rule(403, "warning"),
    Reason.NO_RUNNING_POD: Rule(404, "warning"),
    Reason.NO_SUCH_SESSION: Rule(404, "info"),
    Reason.NOT_A_TERMINAL: Rule(409, "info"),
    Reason.TOO_MANY_SESSIONS: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_IN_NAMESPACE: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_OF_USER: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_TICKETS: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_REQUESTS: Rule(429, "warning", retry_after=1),
    Reason.TOO_MANY_HANDSHAKES: Rule(429, "warning", retry_after=1),
    Reason.TOO_MANY_CONNECTIONS: Rule(503, "warning", retry_after=1),
    Reason.NO_DESCRIPTORS: Rule(503, "error", retry_after=5),
    Reason.SHUTTING_DOWN: Rule(503, "info", retry_after=5),
    Reason.UPSTREAM_REFUSED: Rule(502, "warning"),
    Reason.UPSTREAM_UNREACHABLE: Rule(502, "warning"),
    Reason.UPSTREAM_TIMEOUT: Rule(504, "warning"),
    Reason.UPSTREAM_PROTOCOL: Rule(502, "warning"),
    Reason.INTERNAL_ERROR: Rule(500, "error"),
}


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_each_reason_has_its_row(reason):
    assert reason.rule == TABLE[reason]


def test_reasons_are_snake_case_and_never_the_same():
    values = [reason.value for reason in Reason]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", value) for value in values)


def test_the_tree_in_the_docstring_is_the_tree():
    drawn, path = {}, []
    for line in inspect.getdoc(errors).splitlines():
        if found := re.match(r"^( *[│├└─ ]*)([A-Z]\w+)(?:\s|$)", line.removeprefix("    ")):
            depth = len(found[1]) // 4
            if not depth and found[2] != "ProxyError":
                continue
            path = [*path[:depth], found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    real = {
        name: one.__mro__[1].__name__
        for name, one in vars(errors).items()
        if inspect.isclass(one) and issubclass(one, ProxyError)
    }
    assert drawn == real


def test_what_the_peer_may_read_and_what_goes_to_the_log_are_two_texts():
    error = ProxyError("for the peer", detail="for the log")
    assert (str(error), error.detail) == ("for the peer", "for the log")
    assert ProxyError("for the peer").detail == ""


def test_settings_errors_show_every_mistake():
    error = SettingsError(["a is wrong", "b is wrong"])
    assert str(error) == "the settings are wrong:\n  - a is wrong\n  - b is wrong"
    assert error.mistakes == ["a is wrong", "b is wrong"]


def test_an_upstream_error_carries_the_status_for_the_apiservers_own_path():
    assert UpstreamTimeout("late").status == 504
    refused = UpstreamRefused("no", status=403, content_type="application/json", body=b"{}")
    assert (refused.status, refused.content_type, refused.body) == (403, "application/json", b"{}")
    assert refused.reason is Reason.UPSTREAM_REFUSED


def test_errors_that_are_caught_within_stand_beside_the_tree():
    package = Path(errors.__file__).parent
    raised = set()
    for path in package.rglob("*.py"):
        if "devcluster" not in path.parts and path.name != "errors.py":
            raised |= set(re.findall(r"^class (\w+)\((?:Exception|\w*Error)\):", path.read_text("utf-8"), re.MULTILINE))
    assert len(raised) >= 8
    assert {name for name in raised if name not in (errors.__doc__ or "")} == set()
