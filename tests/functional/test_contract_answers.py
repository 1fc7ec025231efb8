"""The contract, "Answers" and "Subprotocol": each row with what the caller gets and what the log says of it."""

from __future__ import annotations

import email.utils
import json
import time

import pytest
from support import rawws
from support.answers import API, ATTACH, CREDENTIAL_REASONS, PROXY, failed, refused, told_on_channel_3, wrong
from support.caller import (
    PIPES,
    TTY,
    V4,
    V5,
    api_exec,
    ask,
    close,
    get,
    opened,
    proxy_exec,
    refusal_of,
    request,
    run,
    say,
    script,
    signed_path,
)

from k8s_ws_proxy.devcluster import Death
from k8s_ws_proxy.wire.framing import frames

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH = pytest.mark.parametrize("target", [PROXY, API, ATTACH], ids=["/proxy exec", "/api exec", "/proxy attach"])
DIALECTS = pytest.mark.parametrize("target", [PROXY, API], ids=["/proxy", "/api"])


@pytest.fixture
def cluster(shared_cluster):
    """One for all of these: no test leaves a trace in it."""
    return shared_cluster


@pytest.fixture
def daemon(shared_daemon):
    """Likewise."""
    return shared_daemon


@pytest.fixture
def lines(shared_lines):
    """What that daemon logs during the test."""
    return shared_lines


@DIALECTS
async def test_bad_path(daemon, target, lines):
    target = target.replace("shell", "Shell", 1)
    answer = await ask(daemon, target, headers={})
    await refused(lines, target, answer, status=404, reason="bad_path", level="debug")


@BOTH
async def test_no_upgrade_asked_for(daemon, target, dials, lines):
    answer = await get(daemon, target, daemon.headers(signed_path(target)))
    assert answer.headers["upgrade"] == "websocket"
    await refused(lines, target, answer, status=426, reason="upgrade_required", level="info")
    assert dials() == []


@BOTH
async def test_no_upgrade_asked_for_is_told_only_after_authentication(daemon, target, lines):
    answer = await get(daemon, target)
    await refused(lines, target, answer, status=401, reason="missing_timestamp", level="warning")


@DIALECTS
async def test_another_websocket_version_is_told_the_one_that_is_spoken(daemon, target, lines):
    data = request(daemon, target).replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8")
    answer = await say(daemon, data)
    assert answer.headers["sec-websocket-version"] == "13"
    await refused(lines, target, answer, status=426, reason="upgrade_required", level="info")


@BOTH
@pytest.mark.parametrize("reason", CREDENTIAL_REASONS)
async def test_credential(daemon, target, reason, dials, lines):
    answer = await ask(daemon, target, headers=wrong(daemon, target, reason))
    await refused(lines, target, answer, status=401, reason=reason, level="warning")
    date = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    assert abs(date - time.time()) < 300, "what a caller is to compare its clock with"
    assert "www-authenticate" in answer.headers
    assert dials() == []


@BOTH
@pytest.mark.parametrize(
    "offer", [["v3.channel.k8s.io"], ["channel.k8s.io", "base64.channel.k8s.io"], ["V5.CHANNEL.K8S.IO"]]
)
async def test_only_unknown_subprotocols(daemon, target, offer, dials, lines):
    answer = await ask(daemon, target, subprotocols=offer)
    text = await refused(lines, target, answer, status=400, reason="unknown_subprotocol", level="info")
    assert V4 in text
    assert V5 in text
    assert dials() == []


# What the embedded cluster refuses: the answer's status, and what is told of it.
REFUSED = {
    "pod missing": ({"pod": "nope", "container": "nope"}, 404, 'pods "nope" not found'),
    "namespace missing": ({"namespace": "nope"}, 404, 'pods "shell" not found'),
    "container unknown": ({"container": "nope"}, 400, "container nope is not valid for pod shell"),
    "pod pending": ({"pod": "pending", "container": "pending"}, 400, "pod pending does not have a host assigned"),
    "container completed": ({"pod": "quick", "container": "quick"}, 500, 'container not found ("quick")'),
}


@pytest.mark.parametrize(("where", "status", "message"), REFUSED.values(), ids=REFUSED)
async def test_the_apiserver_refuses_on_proxy(daemon, where, status, message, lines):
    told = await told_on_channel_3(daemon, proxy_exec("true", **{**PIPES, **where}))
    assert told["message"] == message
    assert told["code"] == status
    line = await failed(lines, "upstream_refused")
    assert message in line["detail"]
    assert line["namespace"] == where.get("namespace", "default")
    assert line["container"] == where.get("container", "shell")


@pytest.mark.parametrize(("where", "status", "message"), REFUSED.values(), ids=REFUSED)
async def test_the_apiserver_refuses_on_api(daemon, where, status, message, lines):
    parameters = {name: value for name, value in {"container": "shell", **where}.items() if value is not None}
    answer = await ask(daemon, api_exec("true", stdout="true", **parameters))
    assert answer.status == status
    if answer.headers["content-type"].startswith("text/plain"):
        assert answer.body.decode() == message
    else:
        body = json.loads(answer.body)
        assert (body["kind"], body["message"], body["code"]) == ("Status", message, status)
        assert "details" not in body or body["details"].get("causes") is None, "the apiserver's own, untouched"
    assert answer.headers["connection"] == "close"
    await failed(lines, "upstream_refused")


ODD_REFUSALS = {
    "an empty body": (403, b"", "application/json", 403),
    "not JSON": (500, b"<html>", "application/json", 500),
    "JSON that is no Status": (500, b"[1]", "application/json", 500),
    "text": (503, b"go away", "text/plain", 503),
    "not an error": (200, b"hello", "text/plain", 502),
    "a redirect": (302, b"", "text/plain", 502),
}


@DIALECTS
@pytest.mark.parametrize(("code", "body", "kind", "status"), ODD_REFUSALS.values(), ids=ODD_REFUSALS)
async def test_the_apiserver_refuses_oddly(cluster, daemon, target, code, body, kind, status, lines):
    cluster.faults.refuse(code, body, content_type=kind)
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
        assert told["message"] == (
            "go away" if body == b"go away" else "hello" if body == b"hello" else told["message"]
        )
    else:
        answer = await ask(daemon, target)
        assert answer.status == status
        if status == code:
            assert (answer.body, answer.headers["content-type"]) == (body, kind)
        else:
            assert refusal_of(answer, target)[1] == "upstream_refused"
    line = await failed(lines, "upstream_refused")
    assert str(code) in line["detail"]


@pytest.mark.parametrize("character", ["é", "日", "🙂", "x"])
@pytest.mark.parametrize("lead", ["", "a", "ab", "abc"])
async def test_a_long_reason_is_cut_to_123_bytes_between_characters(cluster, daemon, character, lead):
    message = lead + character * 300
    body = json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": 403}).encode()
    cluster.faults.refuse(403, body)
    async with opened(daemon, PROXY) as ws:
        ended = await ws.finish()
    assert ended.status["message"] == message
    size = len(character.encode())
    assert 123 - size < len(ended.reason.encode()) <= 123
    assert message.startswith(ended.reason)


@DIALECTS
async def test_the_command_ended(daemon, target, lines):
    ended = await run(daemon, target)
    assert ended.status == {"metadata": {}, "status": "Success"}
    assert (ended.code, ended.reason) == (frames.NORMAL, "")
    line = await lines.event("session ended")
    assert (line["level"], line["reason"]) == ("info", "command_ended")
    assert (line["exit_code"], line["close_code"]) == (0, frames.NORMAL)


async def test_the_command_ended_otherwise(daemon, lines):
    assert (await run(daemon, script("exit 7"))).exit_code == 7
    line = await lines.event("session ended")
    assert (line["level"], line["reason"], line["exit_code"]) == ("info", "command_ended", 7)


async def test_the_client_left(daemon, cluster, lines):
    async with opened(daemon, proxy_exec("cat", **TTY)) as ws:
        await close(ws)
        await ws.finish()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    line = await lines.event("session ended")
    assert (line["level"], line["reason"]) == ("info", "client_left")


@pytest.mark.parametrize("how", list(Death), ids=lambda how: how.name)
async def test_upstream_is_lost(daemon, cluster, how, lines):
    cluster.faults.die_after(20, how)
    ended = await run(daemon, script("cat /dev/zero"))
    assert ended.code == frames.INTERNAL_ERROR
    assert ended.status["status"] == "Failure"
    assert ended.exit_code is None
    line = await lines.event("session ended")
    assert (line["level"], line["reason"], line["exit_code"]) == ("warning", "upstream_lost", None)
    assert line["close_code"] == frames.INTERNAL_ERROR


SUBPROTOCOLS = {
    "v4 alone": ([V4], V4),
    "v5 alone": ([V5], V5),
    "v5 first": ([V5, V4], V5),
    "v4 first": ([V4, V5], V4),
    "unknown, then v4, then v5": (["v3.channel.k8s.io", V4, V5], V4),
    "none": ([], None),
}


@DIALECTS
@pytest.mark.parametrize(("offer", "chosen"), SUBPROTOCOLS.values(), ids=SUBPROTOCOLS)
async def test_subprotocol(daemon, target, offer, chosen):
    async with opened(daemon, target, subprotocols=offer) as ws:
        assert ws.answer.headers.get("sec-websocket-protocol") == chosen
        ended = await ws.finish()
    assert ended.exit_code == 0, "channel 3 is JSON, even where no subprotocol was offered"


async def test_subprotocols_over_several_headers(daemon):
    headers = [*daemon.headers(signed_path(PROXY)).items(), ("Sec-WebSocket-Protocol", V4)]
    data = rawws.request(PROXY, headers, subprotocols=["v3.channel.k8s.io"])
    async with rawws.connected(daemon.port, data) as ws:
        assert (ws.answer.status, ws.answer.headers["sec-websocket-protocol"]) == (101, V4)


@DIALECTS
async def test_no_extension_is_ever_accepted(daemon, target):
    headers = {**daemon.headers(signed_path(target)), "Sec-WebSocket-Extensions": "permessage-deflate"}
    async with rawws.connected(daemon.port, rawws.request(target, headers)) as ws:
        assert ws.answer.status == 101
        assert "sec-websocket-extensions" not in ws.answer.headers
