"""What the contract says of every answer: asserted once, for all tests that get one."""

from __future__ import annotations

import time

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STATUS
from support.caller import PIPES, V5, api_exec, opened, proxy_exec, refusal_of, signed_path, with_query

PROXY = proxy_exec("true", **PIPES)
API = api_exec("true", container="shell", stdout="true")
ATTACH = with_query("/proxy/attach/default/web/web", **PIPES)

CREDENTIAL_REASONS = [
    "missing_timestamp",
    "malformed_timestamp",
    "missing_hmac",
    "malformed_hmac",
    "expired",
    "bad_signature",
]


async def refused(lines, target, answer, *, status, reason, level):
    """Assert a refusal: the answer, its body in the dialect, its log line and no other."""
    assert answer.status == status
    text, told = refusal_of(answer, target)
    assert told == reason
    assert len(text) > 20, "a sentence for a person"
    assert lines.daemon.secret.decode() not in answer.body.decode()
    line = await lines.event("request refused", reason=reason)
    assert line["level"] == level
    assert line["status"] == status
    assert line["method"] == "GET"
    assert line["path"] == target.partition("?")[0]
    assert line["peer"] == "127.0.0.1"
    assert [each for each in lines.new if each["event"] == "request refused"] == [line]
    return text


async def failed(lines, reason):
    line = await lines.event("session failed")
    assert line["level"] == "warning"
    assert line["reason"] == reason
    assert not [each for each in lines.new if each["event"] in {"session opened", "session ended"}]
    return line


async def told_on_channel_3(daemon, target):
    """The Status of a session that never was, its whole course asserted."""
    async with opened(daemon, target) as ws:
        assert ws.answer.headers["sec-websocket-protocol"] == V5
        ended = await ws.finish()
    assert ended.output.keys() == {STATUS}
    assert ended.code == frames.INTERNAL_ERROR
    assert 0 < len(ended.reason.encode()) <= 123
    assert ended.status["status"] == "Failure"
    assert ended.exit_code is None
    assert ended.status["message"].startswith(ended.reason[:100])
    return ended.status


def wrong(daemon, target, kind):
    path = signed_path(target)
    good = daemon.headers(path)
    timestamp, signature = good
    match kind:
        case "missing_timestamp":
            return {signature: good[signature]}
        case "missing_hmac":
            return {timestamp: good[timestamp]}
        case "malformed_timestamp":
            return {**good, timestamp: "1e9"}
        case "malformed_hmac":
            return {**good, signature: good[signature][:-1]}
        case "expired":
            return daemon.headers(path, now=time.time() - 400)
        case "bad_signature":
            return daemon.headers(path + "x")
    raise AssertionError(kind)
