"""Each reason: its name, and what is answered."""

from __future__ import annotations

import re

import pytest

from k8s_ws_proxy.errors import Reason
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
    Reason.NO_SUCH_RECORDING: Rule(404, "info"),
    Reason.BAD_RANGE: Rule(416, "info"),
    Reason.RECORDINGS_UNREADABLE: Rule(503, "error", retry_after=5),
    Reason.TOO_MANY_READERS: Rule(429, "warning", retry_after=5),
    Reason.NOT_A_TERMINAL: Rule(409, "info"),
    Reason.TOO_MANY_SESSIONS: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_IN_NAMESPACE: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_OF_USER: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_TICKETS: Rule(429, "warning", retry_after=5),
    Reason.TOO_MANY_REQUESTS: Rule(429, "warning", retry_after=1),
    Reason.TOO_MANY_HANDSHAKES: Rule(429, "warning", retry_after=1),
    Reason.TOO_MANY_CONNECTIONS: Rule(503, "warning", retry_after=1),
    Reason.NO_DESCRIPTORS: Rule(503, "error", retry_after=5),
    Reason.AUDIT_UNAVAILABLE: Rule(503, "error", retry_after=5),
    Reason.SHUTTING_DOWN: Rule(503, "info", retry_after=5),
    Reason.RECORDING_UNAVAILABLE: Rule(503, "error", retry_after=5),
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
