"""The contract, "Answers" and "Subprotocol": each row with what the caller gets and what the log says of it."""

from __future__ import annotations

import email.utils
import json
import signal
import time

import pytest
from support import rawws
from support.caller import (
    PIPES,
    TTY,
    V4,
    V5,
    api_exec,
    ask,
    close,
    get,
    on_terminal,
    opened,
    proxy_exec,
    refusal_of,
    request,
    run,
    say,
    script,
    signed_path,
    with_query,
)

from k8s_ws_proxy.devcluster import Death
from k8s_ws_proxy.wire import frames
from k8s_ws_proxy.wire.channels import STATUS, STDOUT

PROXY = proxy_exec("true", **PIPES)
API = api_exec("true", container="shell", stdout="true")
ATTACH = with_query("/proxy/attach/default/web/web", **PIPES)
BOTH = pytest.mark.parametrize("target", [PROXY, API, ATTACH], ids=["/proxy exec", "/api exec", "/proxy attach"])
DIALECTS = pytest.mark.parametrize("target", [PROXY, API], ids=["/proxy", "/api"])


async def refused(daemon, target, answer, *, status, reason, level):
    """Assert a refusal: the answer, its body in the dialect, its log line and no other."""
    assert answer.status == status
    text, told = refusal_of(answer, target)
    assert told == reason
    assert len(text) > 20, "a sentence for a person"
    assert daemon.secret.decode() not in answer.body.decode()
    line = await daemon.event("request refused", reason=reason)
    assert line["level"] == level
    assert line["status"] == status
    assert line["method"] == "GET"
    assert line["path"] == target.partition("?")[0]
    assert line["peer"] == "127.0.0.1"
    assert [each for each in daemon.log if each["event"] == "request refused"] == [line]
    return text


def dialled(cluster):
    return [seen.target for seen in cluster.observed.seen if seen.target != "/version"]


@DIALECTS
async def test_bad_path(daemon, target):
    target = target.replace("shell", "Shell", 1)
    answer = await ask(daemon, target, headers={})
    await refused(daemon, target, answer, status=404, reason="bad_path", level="debug")


@BOTH
async def test_no_upgrade_asked_for(daemon, cluster, target):
    answer = await get(daemon, target, daemon.headers(signed_path(target)))
    assert answer.headers["upgrade"] == "websocket"
    await refused(daemon, target, answer, status=426, reason="upgrade_required", level="info")
    assert dialled(cluster) == []


@BOTH
async def test_no_upgrade_asked_for_is_told_only_after_authentication(daemon, target):
    answer = await get(daemon, target)
    await refused(daemon, target, answer, status=401, reason="missing_timestamp", level="warning")


@DIALECTS
async def test_another_websocket_version_is_told_the_one_that_is_spoken(daemon, target):
    data = request(daemon, target).replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8")
    answer = await say(daemon, data)
    assert answer.headers["sec-websocket-version"] == "13"
    await refused(daemon, target, answer, status=426, reason="upgrade_required", level="info")


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


CREDENTIAL_REASONS = [
    "missing_timestamp",
    "malformed_timestamp",
    "missing_hmac",
    "malformed_hmac",
    "expired",
    "bad_signature",
]


@BOTH
@pytest.mark.parametrize("reason", CREDENTIAL_REASONS)
async def test_credential(daemon, cluster, target, reason):
    answer = await ask(daemon, target, headers=wrong(daemon, target, reason))
    await refused(daemon, target, answer, status=401, reason=reason, level="warning")
    date = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    assert abs(date - time.time()) < 300, "what a caller is to compare its clock with"
    assert "www-authenticate" in answer.headers
    assert dialled(cluster) == []


@pytest.mark.parametrize("reason", CREDENTIAL_REASONS)
async def test_a_failed_credential_reveals_neither_namespace_nor_pod(start, reason):
    daemon = await start(ALLOWED_NAMESPACES="default", MAX_SESSIONS="1")
    told = []
    async with opened(daemon, on_terminal("cat")):  # full, too
        for namespace, pod in (("default", "shell"), ("default", "nope"), ("secret", "shell"), ("nope", "nope")):
            target = proxy_exec(namespace=namespace, pod=pod)
            answer = await ask(daemon, target, headers=wrong(daemon, target, reason))
            told.append((answer.status, json.loads(answer.body), answer.headers.keys()))
    assert told == [told[0]] * 4
    assert told[0][0] == 401


@BOTH
async def test_namespace_not_allowed(start, cluster, target):
    daemon = await start(ALLOWED_NAMESPACES="team-a, team-b")
    answer = await ask(daemon, target)
    text = await refused(daemon, target, answer, status=403, reason="namespace_denied", level="warning")
    assert "default" in text
    assert dialled(cluster) == []
    assert (await run(daemon, proxy_exec("true", namespace="team-a", pod="web", container="web"))).exit_code == 0


@BOTH
@pytest.mark.parametrize(
    "offer", [["v3.channel.k8s.io"], ["channel.k8s.io", "base64.channel.k8s.io"], ["V5.CHANNEL.K8S.IO"]]
)
async def test_only_unknown_subprotocols(daemon, cluster, target, offer):
    answer = await ask(daemon, target, subprotocols=offer)
    text = await refused(daemon, target, answer, status=400, reason="unknown_subprotocol", level="info")
    assert V4 in text
    assert V5 in text
    assert dialled(cluster) == []


@DIALECTS
async def test_too_many_sessions(start, cluster, target):
    daemon = await start(MAX_SESSIONS="1")
    async with opened(daemon, on_terminal("cat")) as ws:
        before = dialled(cluster)
        answer = await ask(daemon, target)
        assert int(answer.headers["retry-after"]) > 0
        await refused(daemon, target, answer, status=429, reason="too_many_sessions", level="warning")
        assert dialled(cluster) == before
        await close(ws)
        await ws.finish()
    await daemon.event("session ended")
    assert (await run(daemon, target)).exit_code == 0


@DIALECTS
async def test_shutting_down(daemon, cluster, target):
    async with opened(daemon, on_terminal("cat")):
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down")
        before = dialled(cluster)
        answer = await ask(daemon, target)
        assert int(answer.headers["retry-after"]) > 0
        await refused(daemon, target, answer, status=503, reason="shutting_down", level="info")
        assert dialled(cluster) == before


# What the embedded cluster refuses: the answer's status, and what is told of it.
REFUSED = {
    "pod missing": ({"pod": "nope", "container": "nope"}, 404, 'pods "nope" not found'),
    "namespace missing": ({"namespace": "nope"}, 404, 'pods "shell" not found'),
    "container unknown": ({"container": "nope"}, 400, "container nope is not valid for pod shell"),
    "no container named, pod has two": (
        {"container": None},
        400,
        "a container name must be specified for pod shell, choose one of: [shell side]",
    ),
    "pod pending": ({"pod": "pending", "container": "pending"}, 400, "pod pending does not have a host assigned"),
    "container completed": ({"pod": "quick", "container": "quick"}, 500, 'container not found ("quick")'),
}


async def failed(daemon, reason):
    line = await daemon.event("session failed")
    assert line["level"] == "warning"
    assert line["reason"] == reason
    assert not [each for each in daemon.log if each["event"] in {"session opened", "session ended"}]
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


@pytest.mark.parametrize(("where", "status", "message"), REFUSED.values(), ids=REFUSED)
async def test_the_apiserver_refuses_on_proxy(daemon, where, status, message):
    told = await told_on_channel_3(daemon, proxy_exec("true", **{**PIPES, **where}))
    assert told["message"] == message
    assert told["code"] == status
    line = await failed(daemon, "upstream_refused")
    assert message in line["detail"]
    assert line["namespace"] == where.get("namespace", "default")
    assert line["container"] == where.get("container", "shell")


@pytest.mark.parametrize(("where", "status", "message"), REFUSED.values(), ids=REFUSED)
async def test_the_apiserver_refuses_on_api(daemon, where, status, message):
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
    await failed(daemon, "upstream_refused")


@DIALECTS
async def test_the_apiserver_forbids(cluster, tmp_path, start, target):
    cluster.write_kubeconfig(tmp_path / "kubeconfig", "nobody")
    daemon = await start()
    message = (
        'pods "shell" is forbidden: User "system:serviceaccount:default:nobody" cannot get resource "pods/exec" '
        'in API group "" in the namespace "default"'
    )
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
    else:
        answer = await ask(daemon, target)
        assert answer.status == 403
        told = json.loads(answer.body)
    assert (told["message"], told["reason"], told["code"]) == (message, "Forbidden", 403)
    await failed(daemon, "upstream_refused")


@DIALECTS
async def test_the_apiserver_does_not_take_the_token(cluster, daemon, target):
    cluster.replace_token(cluster.token("proxy"), None)
    if target is PROXY:
        assert (await told_on_channel_3(daemon, target))["code"] == 401
    else:
        answer = await ask(daemon, target)
        assert answer.status == 401
        assert json.loads(answer.body)["reason"] == "Unauthorized"
    await failed(daemon, "upstream_refused")
    assert len(dialled(cluster)) == 2, "once more after the configuration was read again"


@DIALECTS
async def test_the_kubelet_is_down(cluster, daemon, target):
    cluster.faults.kubelet_up = False
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
    else:
        answer = await ask(daemon, target)
        assert answer.status == 500
        told = json.loads(answer.body)
    assert told["message"].startswith("error dialing backend: dial tcp")
    await failed(daemon, "upstream_refused")


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
async def test_the_apiserver_refuses_oddly(cluster, daemon, target, code, body, kind, status):
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
    line = await failed(daemon, "upstream_refused")
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
async def test_the_apiserver_can_not_be_reached(cluster, daemon, target):
    await cluster.stop_listening()
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
        assert told["code"] == 502
    else:
        answer = await ask(daemon, target)
        assert answer.status == 502
        text, reason = refusal_of(answer, target)
        assert reason == "upstream_unreachable"
        assert str(cluster.port) not in text, "addresses are for the log"
    line = await failed(daemon, "upstream_unreachable")
    assert str(cluster.port) in line["detail"]


@DIALECTS
async def test_the_apiserver_times_out(cluster, start, target):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="300ms")
    cluster.faults.hang()
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
        assert told["code"] == 504
        assert told["message"] == "The apiserver didn't answer within 0.3 s."
    else:
        answer = await ask(daemon, target)
        assert answer.status == 504
        assert refusal_of(answer, target)[1] == "upstream_timeout"
    await failed(daemon, "upstream_timeout")
    assert (await run(daemon, target)).exit_code == 0


@DIALECTS
async def test_the_command_ended(daemon, target):
    ended = await run(daemon, target)
    assert ended.status == {"metadata": {}, "status": "Success"}
    assert (ended.code, ended.reason) == (frames.NORMAL, "")
    line = await daemon.event("session ended")
    assert (line["level"], line["reason"]) == ("info", "command_ended")
    assert (line["exit_code"], line["close_code"]) == (0, frames.NORMAL)


async def test_the_command_ended_otherwise(daemon):
    assert (await run(daemon, script("exit 7"))).exit_code == 7
    line = await daemon.event("session ended")
    assert (line["level"], line["reason"], line["exit_code"]) == ("info", "command_ended", 7)


async def test_the_client_left(daemon, cluster):
    async with opened(daemon, proxy_exec("cat", **TTY)) as ws:
        await close(ws)
        await ws.finish()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    line = await daemon.event("session ended")
    assert (line["level"], line["reason"]) == ("info", "client_left")


@pytest.mark.parametrize("how", list(Death), ids=lambda how: how.name)
async def test_upstream_is_lost(daemon, cluster, how):
    cluster.faults.die_after(20, how)
    ended = await run(daemon, script("cat /dev/zero"))
    assert ended.code == frames.INTERNAL_ERROR
    assert ended.status["status"] == "Failure"
    assert ended.exit_code is None
    line = await daemon.event("session ended")
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


async def test_the_order_of_questions(start, cluster):
    """Path, credential, namespace, limits, dial: each is asked before the next, whatever is wrong there."""
    daemon = await start(ALLOWED_NAMESPACES="default", MAX_SESSIONS="1")
    cluster.faults.kubelet_up = True
    nowhere = proxy_exec(namespace="nope", pod="nope", container="nope")
    async with opened(daemon, on_terminal("echo up; cat")) as ws:
        await ws.until(STDOUT, b"up")
        before = dialled(cluster)
        for target, headers, status in (
            (nowhere + "/", {}, 404),
            (nowhere, {}, 401),
            (nowhere, None, 403),
            (proxy_exec(pod="nope"), None, 429),
        ):
            assert (await ask(daemon, target, headers=headers)).status == status
        assert dialled(cluster) == before
        await close(ws)
        await ws.finish()
    await daemon.event("session ended")
    async with opened(daemon, proxy_exec(pod="nope")) as ws:
        assert (await ws.finish()).code == frames.INTERNAL_ERROR
