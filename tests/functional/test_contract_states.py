"""The contract, "Answers": the rows that need a daemon or an apiserver in a state of their own."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from support.answers import API, ATTACH, CREDENTIAL_REASONS, PROXY, failed, refused, told_on_channel_3, wrong
from support.caller import (
    PIPES,
    Lines,
    ask,
    close,
    on_terminal,
    opened,
    proxy_exec,
    refusal_of,
    request,
    run,
)

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDOUT

BOTH = pytest.mark.parametrize("target", [PROXY, API, ATTACH], ids=["/proxy exec", "/api exec", "/proxy attach"])
DIALECTS = pytest.mark.parametrize("target", [PROXY, API], ids=["/proxy", "/api"])


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
async def test_namespace_not_allowed(start, target, dials):
    daemon = await start(ALLOWED_NAMESPACES="team-a, team-b")
    lines = Lines(daemon)
    answer = await ask(daemon, target)
    text = await refused(lines, target, answer, status=403, reason="namespace_denied", level="warning")
    assert "default" in text
    assert dials() == []
    assert (await run(daemon, proxy_exec("true", namespace="team-a", pod="web", container="web"))).exit_code == 0


@pytest.mark.parametrize(("target", "others"), [(PROXY, "attach,log"), (API, "attach"), (ATTACH, "exec,portforward")])
async def test_subresource_switched_off(start, target, others, dials):
    daemon = await start(ALLOWED_SUBRESOURCES=others)
    lines = Lines(daemon)
    answer = await ask(daemon, target)
    text = await refused(lines, target, answer, status=403, reason="subresource_denied", level="warning")
    assert "ALLOWED_SUBRESOURCES" in text
    assert dials() == []


async def test_the_namespace_comes_before_the_subresource(start):
    daemon = await start(ALLOWED_SUBRESOURCES="log", ALLOWED_NAMESPACES="team-a")
    assert refusal_of(await ask(daemon, PROXY), PROXY)[1] == "namespace_denied"
    elsewhere = proxy_exec(namespace="team-a")
    assert refusal_of(await ask(daemon, elsewhere), elsewhere)[1] == "subresource_denied"


@DIALECTS
async def test_too_many_sessions(start, target, dials):
    daemon = await start(MAX_SESSIONS="1")
    lines = Lines(daemon)
    async with opened(daemon, on_terminal("cat")) as ws:
        before = dials()
        answer = await ask(daemon, target)
        assert int(answer.headers["retry-after"]) > 0
        await refused(lines, target, answer, status=429, reason="too_many_sessions", level="warning")
        assert dials() == before
        await close(ws)
        await ws.finish()
    await daemon.event("session ended")
    assert (await run(daemon, target)).exit_code == 0


@DIALECTS
async def test_too_many_sessions_in_a_namespace(start, target, dials):
    daemon = await start(MAX_SESSIONS_PER_NAMESPACE="1")
    lines = Lines(daemon)
    async with opened(daemon, on_terminal("cat")):
        before = dials()
        answer = await ask(daemon, target)
        assert int(answer.headers["retry-after"]) > 0
        reason = "too_many_sessions_in_namespace"
        text = await refused(lines, target, answer, status=429, reason=reason, level="warning")
        assert "default" in text
        assert dials() == before
        other = proxy_exec("true", namespace="team-a", pod="web", container="web", **PIPES)
        assert (await run(daemon, other)).exit_code == 0


@DIALECTS
async def test_too_many_handshakes(start, cluster, target, dials):
    """Counted is what is being dialled; what is open is not."""
    daemon = await start(MAX_HANDSHAKES="1")
    async with opened(daemon, on_terminal("cat")), opened(daemon, on_terminal("cat")):
        before = len(dials())
        cluster.faults.hang()
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(request(daemon, PROXY))
        await cluster.observed.wait_for(lambda: len(dials()) == before + 1)
        lines = Lines(daemon)
        answer = await ask(daemon, target)
        assert answer.headers["retry-after"] == "1"
        await refused(lines, target, answer, status=429, reason="too_many_handshakes", level="warning")
        assert len(dials()) == before + 1
        writer.transport.abort()
        await daemon.event("client left before the session opened")
        cluster.faults.clear()
        assert (await run(daemon, target)).exit_code == 0


@DIALECTS
async def test_shutting_down(daemon, target, dials, lines):
    async with opened(daemon, on_terminal("cat")):
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.event("shutting down")
        before = dials()
        answer = await ask(daemon, target)
        assert int(answer.headers["retry-after"]) > 0
        await refused(lines, target, answer, status=503, reason="shutting_down", level="info")
        assert dials() == before


@DIALECTS
async def test_the_apiserver_forbids(cluster, tmp_path, start, target):
    cluster.write_kubeconfig(tmp_path / "kubeconfig", "nobody")
    daemon = await start()
    lines = Lines(daemon)
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
    await failed(lines, "upstream_refused")


@DIALECTS
async def test_the_apiserver_does_not_take_the_token(cluster, daemon, target, dials, lines):
    cluster.replace_token(cluster.token("proxy"), None)
    if target is PROXY:
        assert (await told_on_channel_3(daemon, target))["code"] == 401
    else:
        answer = await ask(daemon, target)
        assert answer.status == 401
        assert json.loads(answer.body)["reason"] == "Unauthorized"
    await failed(lines, "upstream_refused")
    assert len(dials()) == 2, "once more after the configuration was read again"


@DIALECTS
async def test_the_kubelet_is_down(cluster, daemon, target, lines):
    cluster.faults.kubelet_up = False
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
    else:
        answer = await ask(daemon, target)
        assert answer.status == 500
        told = json.loads(answer.body)
    assert told["message"].startswith("error dialing backend: dial tcp")
    await failed(lines, "upstream_refused")


@DIALECTS
async def test_the_apiserver_can_not_be_reached(cluster, daemon, target, lines):
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
    line = await failed(lines, "upstream_unreachable")
    assert str(cluster.port) in line["detail"]


@DIALECTS
async def test_the_apiserver_times_out(cluster, start, target):
    daemon = await start(WS_HANDSHAKE_TIMEOUT="2s")
    lines = Lines(daemon)
    cluster.faults.hang()
    if target is PROXY:
        told = await told_on_channel_3(daemon, target)
        assert told["code"] == 504
        assert told["message"] == "The apiserver didn't answer within 2 s."
    else:
        answer = await ask(daemon, target)
        assert answer.status == 504
        assert refusal_of(answer, target)[1] == "upstream_timeout"
    await failed(lines, "upstream_timeout")
    assert (await run(daemon, target)).exit_code == 0


async def test_the_order_of_questions(start, cluster, dials):
    """Path, credential, namespace, limits, dial: each is asked before the next, whatever is wrong there."""
    daemon = await start(ALLOWED_NAMESPACES="default", MAX_SESSIONS="1")
    cluster.faults.kubelet_up = True
    nowhere = proxy_exec(namespace="nope", pod="nope", container="nope")
    async with opened(daemon, on_terminal("echo up; cat")) as ws:
        await ws.until(STDOUT, b"up")
        before = dials()
        for target, headers, status in (
            (nowhere + "/", {}, 404),
            (nowhere, {}, 401),
            (nowhere, None, 403),
            (proxy_exec(pod="nope"), None, 429),
        ):
            assert (await ask(daemon, target, headers=headers)).status == status
        assert dials() == before
        await close(ws)
        await ws.finish()
    await daemon.event("session ended")
    async with opened(daemon, proxy_exec(pod="nope")) as ws:
        assert (await ws.finish()).code == frames.INTERNAL_ERROR
