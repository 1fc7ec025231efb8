"""As whom the apiserver is asked, in each mode: what it allows, what it writes down, and what it is never asked."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal
import uuid

import pytest
from support import identities, rawws
from support import site as sites
from support.caller import PIPES, V5, close, get, proxy_exec, refusal_of, run
from support.impersonated import API, ROUTES, TARGET, come, hang_ups, on_terminal, read, sessions_of
from support.pki import Pki

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.roles import bind, cluster_role, group, rule, service_account, user
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

LABEL = "app.example/name"


BOTH = pytest.mark.parametrize(
    "rights", [identities.CONSTRAINED, identities.CLASSIC], ids=["constrained", "classic"], indirect=True
)


@pytest.fixture
def rights(request):
    """Those of the proxy: to act as somebody, and none of its own."""
    return getattr(request, "param", identities.CONSTRAINED)


@pytest.fixture
async def cluster(rights):
    async with DevCluster(identities.world(rights)) as running:
        yield running


@pytest.fixture
async def daemon(start):
    return await start(IDENTITY="user", IDENTITY_GROUP_PREFIX="oidc:")


ALICE, BOB = {"User": "alice"}, {"User": "bob"}


@BOTH
@pytest.mark.parametrize("target", ROUTES.values(), ids=ROUTES)
async def test_each_kind_of_session_is_the_users(daemon, cluster, target):
    answer, _ = await come(daemon, target, {**ALICE, "Groups": '"dev", "CN=a,OU=\\"b\\""'})
    assert answer.status == 101, answer
    name = answer.headers["x-session-id"]
    assert uuid.UUID(name).version == 7
    await cluster.observed.wait_for(lambda: sessions_of(cluster, answer))
    for event in sessions_of(cluster, answer):
        assert event["user"]["username"] == identities.PROXY
        assert event["impersonatedUser"]["username"] == "alice"
        assert event["impersonatedUser"]["groups"] == ["oidc:dev", 'oidc:CN=a,OU="b"', "system:authenticated"]
    line = await daemon.event("session opened")
    assert (line["session"], line["user"], line["groups"]) == (name, "alice", 2)


@BOTH
@pytest.mark.parametrize("target", ROUTES.values(), ids=ROUTES)
async def test_who_may_not_is_told_so_by_the_apiserver_in_its_own_words(daemon, cluster, target):
    answer, status = await come(daemon, target, BOB)
    if target.startswith("/api"):
        assert answer.status == 403
        status = json.loads(answer.body)
    if status is not None:
        assert status["code"] == 403
        assert 'User "bob" cannot ' in status["message"]
    await cluster.observed.wait_for(lambda: sessions_of(cluster, answer))
    assert {event["responseStatus"]["code"] for event in sessions_of(cluster, answer)} == {403}


async def test_a_group_lets_in_who_is_in_it(daemon):
    _, status = await come(daemon, TARGET, {**BOB, "Groups": '"ops"'})
    assert status["status"] == "Success"


@pytest.mark.parametrize("name", ["system:masters", "System:masters", "system:serviceaccount:kube-system:x", "system:"])
async def test_kubernetes_own_names_never_reach_it(daemon, dials, name):
    for who in ({"User": name}, {"User": "alice", "Groups": f'"{name}"'}):
        answer, _ = await come(daemon, TARGET, who)
        assert answer.status == 403
        assert refusal_of(answer, TARGET)[1] == "identity_denied"
    assert dials() == []


async def test_who_names_no_user_is_refused(daemon, dials):
    for headers in (daemon.headers(TARGET.partition("?")[0]), daemon.headers_v2(TARGET)):
        answer, _ = await come(daemon, TARGET, headers=headers)
        assert (answer.status, refusal_of(answer, TARGET)[1]) == (403, "user_required")
    assert dials() == []


async def test_the_proxy_itself_may_do_nothing(start, cluster):
    """A stolen token opens no session: the same proxy, not acting for anybody."""
    daemon = await start()
    _, status = await come(daemon, TARGET, ALICE)
    assert status["code"] == 403
    assert identities.PROXY in status["message"]


async def test_a_certificate_is_its_own_user(start, cluster, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(IDENTITY="user", IDENTITY_GROUP_PREFIX="oidc:", **pki.environ("alice,bob"))
    for name, groups, code in (("alice", (), None), ("bob", (), 403), ("bob", ("ops", "dev"), None)):
        client = pki.servers.client(pki.callers.leaf(name, organizations=groups))
        answer, status = await come(daemon, TARGET, headers={}, port=daemon.ports["https"], tls=client)
        assert status.get("code") == code, status
        (event, *_) = sessions_of(cluster, answer)
        assert event["impersonatedUser"]["username"] == name
        assert event["impersonatedUser"]["groups"] == [*(f"oidc:{each}" for each in groups), "system:authenticated"]


async def test_what_kubectl_reads_first_is_read_as_the_user(start, cluster, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(IDENTITY="user", **pki.environ("alice,bob"))
    for name, status in (("alice", 200), ("bob", 403)):
        client = pki.servers.client(pki.callers.leaf(name))
        assert await read(daemon, API, client) == status
        reads = [event for event in cluster.audit.events if event["requestURI"] == API]
        assert {event["impersonatedUser"]["username"] for event in reads[-1:]} == {name}


async def test_the_default_container_is_found_as_the_user(daemon, cluster):
    target = proxy_exec("true", pod="shell", container=None, **PIPES)
    answer, _ = await come(daemon, target, ALICE)
    assert answer.status == 101
    asked = {
        (event["verb"], event["impersonatedUser"]["username"])
        for event in cluster.audit.events[1:]
        if "impersonatedUser" in event
    }
    assert asked == {("get", "alice")}


async def test_an_alias_is_looked_up_as_the_proxy(start, rights, tmp_path):
    reader = cluster_role("alias-reader", rule("pods", "get list"))
    world = identities.world(rights)
    (first, *others) = world.pods
    bound = bind(reader, service_account("default", "k8s-ws-proxy"))
    labelled = dataclasses.replace(first, labels={**first.labels, LABEL: "workload"})
    world = dataclasses.replace(world, pods=(labelled, *others), rbac=(*world.rbac, reader, bound))
    async with DevCluster(world) as cluster:
        daemon = await start(
            IDENTITY="user",
            POD_ALIAS_LABEL=LABEL,
            KUBECONFIG=str(cluster.write_kubeconfig(tmp_path / "kubeconfig-alias", "proxy")),
        )
        target = proxy_exec("true", pod="workload", container=first.containers[0].name, **PIPES)
        answer, status = await come(daemon, target, ALICE)
        assert answer.status == 101
        assert status["status"] == "Success", status
        looked = [event for event in cluster.audit.events if event.get("objectRef", {}).get("resource") == "pods"]
        as_whom = [(event["verb"], event.get("impersonatedUser", {}).get("username")) for event in looked]
        assert ("list", None) in as_whom
        assert ("list", "alice") not in as_whom


async def test_what_a_session_leaves_is_hung_up_as_the_user_under_another_name(daemon, cluster):
    async with contextlib.AsyncExitStack() as stack:
        ws = await on_terminal(stack, daemon, who=ALICE)
        await close(ws)
        line = await daemon.event("process hung up")
    (event, *_) = hang_ups(cluster)
    assert event["impersonatedUser"]["username"] == "alice"
    assert event["auditID"] == line["audit_id"] != line["session"]
    assert line["session"] == ws.answer.headers["x-session-id"]


async def test_so_does_the_daemon_after_one_that_was_killed(start, cluster, tmp_path):
    state = tmp_path / "state"
    first = await start(IDENTITY="user", STATE_DIR=str(state))
    async with contextlib.AsyncExitStack() as stack:
        ws = await on_terminal(stack, first, who=ALICE)
        file = state / "processes"
        while not file.exists() or b"alice" not in file.read_bytes():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0)
        await first.terminate(signal.SIGKILL)
        second = await start(IDENTITY="user", STATE_DIR=str(state))
        await second.event("process hung up")
        assert ws is not None
    (event, *_) = hang_ups(cluster)
    assert event["impersonatedUser"]["username"] == "alice"


async def test_what_is_not_admitted_of_one_is_of_another_all_the_same(daemon, cluster):
    """A policy may look at who is asking: nobody's terminal is left behind since somebody else's must be."""
    status = {"kind": "Status", "status": "Failure", "message": "an admission policy denied it", "code": 403}
    cluster.faults.refuse(403, json.dumps(status).encode())
    async with contextlib.AsyncExitStack() as stack:
        await close(await on_terminal(stack, daemon, who=ALICE))
        await daemon.event("a command was refused as it would be started: it can't be hung up")
        await close(await on_terminal(stack, daemon, 1017, {**BOB, "Groups": '"ops"'}))
        await daemon.event("process hung up")
    (event, *_) = hang_ups(cluster)
    assert event["impersonatedUser"]["username"] == "bob"


CALLERS = cluster_role("callers", rule("pods/exec", "get create"))


@pytest.fixture
async def callers(rights):
    """A cluster in which the group of callers may exec, and nobody else."""
    world = identities.world(rights)
    bound = bind(CALLERS, group("k8s-ws-proxy:callers"), namespace="default")
    async with DevCluster(dataclasses.replace(world, rbac=(*world.rbac, CALLERS, bound))) as running:
        yield running


async def test_as_the_caller_each_key_is_a_user(callers, start, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("secret", "previous", "billing", "billing.previous"):
        (keys / name).write_bytes(name.encode().ljust(40, b"k"))
    daemon = await start(
        IDENTITY="caller",
        SHARED_SECRET_FILE="",
        SHARED_SECRET_DIR=str(keys),
        KUBECONFIG=str(callers.write_kubeconfig(tmp_path / "kubeconfig-callers", "proxy")),
    )
    for name, entry in (("secret", "secret"), ("previous", "secret"), ("billing.previous", "billing")):
        headers = daemon.headers_v2(TARGET, secret=(keys / name).read_bytes(), User="alice")
        answer, status = await come(daemon, TARGET, headers=headers)
        assert status["status"] == "Success", status
        (event, *_) = sessions_of(callers, answer)
        assert event["impersonatedUser"] == {
            "username": f"k8s-ws-proxy:caller:{entry}",
            "groups": ["k8s-ws-proxy:callers", "system:authenticated"],
        }
        line = await daemon.event("session opened", key_id=name)
        assert line["user"] == "alice", "it is known all the same"
    daemon.secret = (keys / "secret").read_bytes()
    assert (await run(daemon, TARGET)).status["status"] == "Success", "with v1, too"


async def test_a_rotation_under_load_changes_nobodys_name_and_refuses_nobody(tmp_path):
    bound = bind(CALLERS, user("k8s-ws-proxy:caller:secret"), namespace="default")
    acting = bind(identities.CONSTRAINED, service_account("default", "k8s-ws-proxy"))
    world = dataclasses.replace(sites.WORLD, rbac=(*sites.WORLD.rbac, identities.CONSTRAINED, CALLERS, bound, acting))
    async with sites.site(tmp_path, world) as at:
        at.make_secret()
        async with sites.proxies(at, [0.0, 0.5], IDENTITY="caller", ACCEPTED_SIGNATURES="v2"):
            command = await at.start_rotate(overlap="2s")
            running = asyncio.get_running_loop().create_task(at.end(command))
            signed_with, named = set(), set()
            while not running.done():
                for daemon in at.daemons:
                    key = at.keys["secret"]
                    headers = daemon.headers_v2(TARGET, secret=key.encode())
                    answer, status = await come(daemon, TARGET, headers=headers)
                    assert status["status"] == "Success", status
                    signed_with.add(key)
                    named |= {event["impersonatedUser"]["username"] for event in sessions_of(at.cluster, answer)}
            assert (await running).status == 0
            assert signed_with == {sites.OLD, at.keys["secret"]}
            assert named == {"k8s-ws-proxy:caller:secret"}
        at.assert_nothing_secret_was_told()


async def test_no_request_of_the_proxys_own_has_somebody_elses_name(daemon, cluster):
    await come(daemon, TARGET, ALICE)
    probes = [event for event in cluster.audit.events if event["requestURI"] == "/version"]
    assert probes
    assert not [event for event in probes if "impersonatedUser" in event]


async def test_as_the_proxy_nobody_is_impersonated(start, cluster, tmp_path):
    daemon = await start(KUBECONFIG=str(cluster.write_kubeconfig(tmp_path / "kubeconfig-admin", "admin")))
    answer, status = await come(daemon, TARGET, {**ALICE, "Groups": '"ops"'})
    assert status["status"] == "Success"
    assert not [event for event in sessions_of(cluster, answer) if "impersonatedUser" in event]
    assert (await daemon.event("session opened"))["user"] == "alice"


async def test_one_user_may_have_so_many_and_no_more(start, cluster):
    daemon = await start(IDENTITY="user", MAX_SESSIONS_PER_USER="2", IDENTITY_GROUP_PREFIX="oidc:")
    async with contextlib.AsyncExitStack() as stack:
        target = proxy_exec("cat", **PIPES)
        for _ in range(2):
            data = rawws.request(target, daemon.headers_v2(target, **ALICE), subprotocols=(V5,))
            ws = await stack.enter_async_context(rawws.connected(daemon.port, data))
            await ws.send(STDIN, b"x\n")
            await ws.until(STDOUT, b"x")
        answer, _ = await come(daemon, TARGET, ALICE)
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert refusal_of(answer, TARGET)[1] == "too_many_sessions_of_user"
        _, status = await come(daemon, TARGET, {**BOB, "Groups": '"ops"'})
        assert status["status"] == "Success", "another one may"


@pytest.mark.parametrize(
    "target",
    [proxy_exec("true", pod="nobody", **PIPES), f"{API.replace('shell', 'nobody')}/exec?command=true&stdout=true"],
    ids=["after the 101", "before it"],
)
async def test_a_failure_has_the_sessions_name_too(daemon, target):
    answer, _ = await come(daemon, target, ALICE)
    line = await daemon.event("session failed")
    assert answer.headers["x-session-id"] == line["session"]


async def test_what_gets_no_slot_has_no_name(daemon):
    answer, _ = await come(daemon, TARGET, headers={})
    assert "x-session-id" not in answer.headers
    assert "x-session-id" not in (await get(daemon, "/healthz")).headers
