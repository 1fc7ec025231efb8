"""Watched and joined: what the others see of a terminal, who may, and what its owner notices."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from support import identities, rawws
from support.caller import PIPES, TTY, V5, proxy_exec, refusal_of, request
from support.sessions import SESSIONS, call, issue, listed, presented

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.roles import bind, role, rule, user
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT


@contextlib.asynccontextmanager
async def terminal(daemon, *command, **who):
    """A terminal, its size told, and the path of its session."""
    target = proxy_exec(*(command or ("cat",)), **TTY)
    data = rawws.request(target, daemon.headers_v2(target, **who), subprotocols=(V5,))
    async with rawws.connected(daemon.port, data) as ws:
        assert ws.answer.status == 101, ws.answer
        await ws.send(RESIZE, b'{"Width":100,"Height":30}')
        yield ws, f"{SESSIONS}/{ws.answer.headers['x-session-id']}"


@contextlib.asynccontextmanager
async def watching(daemon, one, mode="observe", **who):
    """Somebody who joins, signed."""
    target = f"{one}/watch?mode={mode}"
    data = rawws.request(target, daemon.headers_v2(target, **who), subprotocols=(V5,))
    async with rawws.connected(daemon.port, data) as ws:
        yield ws


async def test_a_late_one_sees_what_is_there_and_what_comes(daemon):
    async with terminal(daemon) as (owner, one):
        await owner.send(STDIN, b"early\n")
        await owner.until(STDOUT, b"early\r\nearly\r\n")
        async with watching(daemon, one, User="carol") as watcher:
            assert watcher.answer.status == 101
            assert watcher.answer.headers["sec-websocket-protocol"] == V5
            assert b'"Width":100' in (await watcher.until(RESIZE, b"}")).replace(b" ", b"")
            await watcher.until(STDOUT, b"early\r\nearly\r\n")
            await owner.until(STDOUT, b"carol watches from now on.\r\n")
            await owner.send(STDIN, b"late\n")
            await watcher.until(STDOUT, b"late\r\nlate\r\n")
            await owner.send(RESIZE, b'{"Width":80,"Height":24}')
            await watcher.until(RESIZE, b"80")
            (session,) = await listed(daemon)
            (told,) = session["watchers"]
            assert (told["user"], told["mode"]) == ("carol", "observe")
            await watcher.send(STDIN, b"not mine\n")
            await owner.send(STDIN, b"mine\n\x04")
            seen = await watcher.finish()
            assert b"not mine" not in seen.output[STDOUT]
            assert seen.exit_code == 0
            assert seen.code == 1000
        assert (await owner.finish()).exit_code == 0
    line = await daemon.event("session opened", watch_mode="observe")
    assert (line["watches"], line["user"]) == (one.rpartition("/")[2], "carol")


async def test_a_peer_may_type_and_whoever_leaves_is_told(daemon):
    async with terminal(daemon) as (owner, one):
        async with watching(daemon, one, "peer", User="carol") as peer:
            await owner.until(STDOUT, b"carol watches and may type from now on")
            await peer.send(STDIN, b"from a peer\n")
            await owner.until(STDOUT, b"from a peer\r\nfrom a peer\r\n")
        await owner.until(STDOUT, b"carol has left")
        assert (await listed(daemon))[0]["watchers"] == []


async def test_to_join_needs_no_query_which_a_pod_proxy_takes_away(daemon):
    async with terminal(daemon) as (owner, one):
        target = f"{one}/join"
        data = rawws.request(target, daemon.headers_v2(target, User="carol"), subprotocols=(V5,))
        async with rawws.connected(daemon.port, data) as peer:
            assert peer.answer.status == 101
            await owner.until(STDOUT, b"carol watches and may type from now on")
            await peer.send(STDIN, b"from a peer\n")
            await owner.until(STDOUT, b"from a peer\r\nfrom a peer\r\n")
        for mode, status in (("observe", 401), ("peer", 101)):
            answer = await call(daemon, "POST", f"{one}/ticket", {"mode": mode}, User="carol")
            ticket = json.loads(answer.body)["ticket"]
            daemon.confidential.add(ticket)
            async with presented(daemon, target, ticket) as ws:
                assert ws.answer.status == status
        target += "?mode=peer"
        async with rawws.connected(daemon.port, rawws.request(target, daemon.headers_v2(target))) as ws:
            assert refusal_of(ws.answer, one)[1] == "bad_query"


async def test_whoever_opens_or_joins_it_may_say_that_there_is_no_body(daemon):
    told = await issue(daemon, command=["cat"], tty=True)
    one = f"{SESSIONS}/{told['sessionId']}"
    async with presented(daemon, told["path"], told["ticket"], **{"Content-Length": "0"}) as owner:
        assert owner.answer.status == 101
        for target in (f"{one}/watch?mode=peer", f"{one}/join"):
            headers = {**daemon.headers_v2(target, User="carol"), "Content-Length": "0"}
            async with rawws.connected(daemon.port, rawws.request(target, headers)) as peer:
                assert peer.answer.status == 101


async def test_a_terminal_need_not_be_told(start):
    daemon = await start(WATCH_NOTICES="false")
    async with terminal(daemon) as (owner, one), watching(daemon, one) as watcher:
        await owner.send(STDIN, b"x\n")
        await watcher.until(STDOUT, b"x\r\n")
        await owner.send(STDIN, b"\x04")
        assert b"k8s-ws-proxy" not in (await owner.finish()).output[STDOUT]


@pytest.mark.parametrize("mode", ["observe", "peer"])
async def test_by_a_ticket_as_a_browser_has_it(daemon, mode):
    async with terminal(daemon) as (owner, one):
        answer = await call(daemon, "POST", f"{one}/ticket", {"mode": mode, "expiresIn": 30}, User="carol")
        assert answer.status == 201
        told = json.loads(answer.body)
        daemon.confidential.add(told["ticket"])
        assert told["path"] == f"{one}/watch?mode={mode}"
        other = {"observe": "peer", "peer": "observe"}[mode]
        async with presented(daemon, f"{one}/watch?mode={other}", told["ticket"]) as ws:
            assert refusal_of(ws.answer, one)[1] == "bad_ticket"
        async with presented(daemon, told["path"], told["ticket"]) as ws:
            assert ws.answer.status == 101
            await owner.until(STDOUT, b"carol watches")
        async with presented(daemon, told["path"], told["ticket"]) as ws:
            assert refusal_of(ws.answer, one)[1] == "bad_ticket"


async def test_signed_beside_what_an_ingress_is_told(daemon):
    async with terminal(daemon) as (_, one):
        target = f"{one}/watch"
        for authorization, status in (("Basic YWxpY2U6c2VjcmV0", 101), ("Bearer c0ffee", 401)):
            signed = {**daemon.headers_v2(target), "Authorization": authorization}
            async with rawws.connected(daemon.port, rawws.request(target, signed, subprotocols=(V5,))) as ws:
                assert ws.answer.status == status


async def test_only_terminals_and_not_those_who_watch(daemon):
    async with contextlib.AsyncExitStack() as stack:
        pipes = await stack.enter_async_context(
            rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **PIPES)))
        )
        await pipes.send(STDIN, b"x\n")
        await pipes.until(STDOUT, b"x")
        one = f"{SESSIONS}/{pipes.answer.headers['x-session-id']}"
        async with watching(daemon, one) as ws:
            assert (ws.answer.status, refusal_of(ws.answer, one)[1]) == (409, "not_a_terminal")
        answer = await call(daemon, "POST", f"{one}/ticket", {"mode": "observe"})
        assert (answer.status, refusal_of(answer, one)[1]) == (409, "not_a_terminal")
        _, path = await stack.enter_async_context(terminal(daemon))
        watcher = await stack.enter_async_context(watching(daemon, path))
        own = f"{SESSIONS}/{watcher.answer.headers['x-session-id']}"
        async with watching(daemon, own) as ws:
            assert ws.answer.status == 409
        assert (await call(daemon, "POST", f"{own}/ticket", {"mode": "observe"})).status == 409
        for query in ("?mode=owner", "?mode=peer&mode=peer", "?x=1"):
            target = f"{path}/watch{query}"
            async with rawws.connected(daemon.port, rawws.request(target, daemon.headers_v2(target))) as ws:
                assert refusal_of(ws.answer, one)[1] == "bad_query"
        async with watching(daemon, f"{SESSIONS}/01980000-0000-7000-8000-000000000000") as ws:
            assert ws.answer.status == 404


async def test_v1_is_not_enough(daemon):
    async with terminal(daemon) as (_, one):
        target = f"{one}/watch"
        async with rawws.connected(daemon.port, rawws.request(target, daemon.headers(target))) as ws:
            assert refusal_of(ws.answer, one)[1] == "signature_v2_required"


async def test_who_is_ended_takes_the_watchers_along(daemon):
    async with terminal(daemon) as (owner, one), watching(daemon, one) as watcher:
        assert (await call(daemon, "DELETE", f"{one}?reason=enough", User="olga")).status == 202
        for each in (owner, watcher):
            ended = await each.finish()
            assert ended.text(STDOUT).endswith("ended by olga: enough.\r\n")
            assert (ended.code, ended.status["reason"]) == (1008, "Terminated")


VIEWER = role("default", "session-viewer", rule("sessions", "list get watch", group="terminal.openova.io"))


@pytest.fixture
async def guarded(start, tmp_path):
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as cluster:
        cluster.state.grant(VIEWER)
        cluster.state.grant(bind(VIEWER, user("viewer")))
        kubeconfig = str(cluster.write_kubeconfig(tmp_path / "kubeconfig-guarded", "proxy"))
        yield await start(IDENTITY="user", IDENTITY_GROUP_PREFIX="oidc:", KUBECONFIG=kubeconfig)


@pytest.mark.parametrize(
    ("who", "observe", "peer"),
    [
        ({"User": "bob"}, 403, 403),
        ({"User": "viewer"}, 101, 403),
        ({"User": "olga", "Groups": '"ops"'}, 101, 101),
        ({"User": "alice"}, 101, 101),
    ],
    ids=["nobody", "a viewer", "an operator", "its owner"],
)
async def test_who_may(guarded, who, observe, peer):
    async with terminal(guarded, User="alice") as (_, one):
        target = f"{one}/join"
        data = rawws.request(target, guarded.headers_v2(target, **who), subprotocols=(V5,))
        async with rawws.connected(guarded.port, data) as ws:
            assert ws.answer.status == peer
        for mode, status in (("observe", observe), ("peer", peer)):
            async with watching(guarded, one, mode, **who) as ws:
                assert ws.answer.status == status
                if status == 403:
                    assert refusal_of(ws.answer, one)[1] == "access_denied"
            answer = await call(guarded, "POST", f"{one}/ticket", {"mode": mode}, **who)
            assert answer.status == (201 if status == 101 else 403)
            if answer.status == 201:
                guarded.confidential.add(json.loads(answer.body)["ticket"])


async def test_a_ticket_is_no_good_after_its_right_is_gone(start, tmp_path):
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as cluster:
        binding = bind(VIEWER, user("viewer"))
        cluster.state.grant(VIEWER)
        cluster.state.grant(binding)
        kubeconfig = str(cluster.write_kubeconfig(tmp_path / "kubeconfig-revoked", "proxy"))
        guarded = await start(IDENTITY="user", IDENTITY_GROUP_PREFIX="oidc:", KUBECONFIG=kubeconfig)
        async with terminal(guarded, User="alice") as (_, one):
            answer = await call(guarded, "POST", f"{one}/ticket", {"mode": "observe", "expiresIn": 600}, User="viewer")
            told = json.loads(answer.body)
            guarded.confidential.add(told["ticket"])
            cluster.state.revoke(binding)
            await asyncio.sleep(10.1)  # so long an answer is remembered
            async with presented(guarded, told["path"], told["ticket"]) as ws:
                assert (ws.answer.status, refusal_of(ws.answer, one)[1]) == (403, "access_denied")


async def test_a_watcher_has_a_name_and_a_place_of_its_own(start):
    daemon = await start(MAX_SESSIONS_PER_USER="1")
    async with terminal(daemon, User="alice") as (_, one):
        assert (await issue(daemon, who={"User": "carol"}))["ticket"]
        async with watching(daemon, one, User="alice") as ws:
            assert refusal_of(ws.answer, one)[1] == "too_many_sessions_of_user"
