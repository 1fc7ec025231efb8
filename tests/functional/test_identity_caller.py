"""``IDENTITY=caller``: each kind of session, what kubectl reads, and the hang-up are asked for as the key's caller."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal

import pytest
from support import identities
from support.caller import PIPES, close, proxy_exec
from support.impersonated import API, ROUTES, TARGET, come, hang_ups, on_terminal, read, sessions_of
from support.pki import Pki

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.roles import bind, cluster_role, rule, service_account, user

CALLER = "k8s-ws-proxy:caller:"
GROUPS = ["k8s-ws-proxy:callers", "system:authenticated"]
BOB = {"User": "bob"}
"""He may nothing; here it is the caller who has to."""
LABEL = "app.example/name"


@pytest.fixture(params=[identities.CONSTRAINED, identities.CLASSIC], ids=["constrained", "classic"])
def world(request):
    """One in which the callers `secret` (a key) and `alice` (a certificate) may open sessions, and no other."""
    world = identities.world(request.param)
    callers = [user(CALLER + name) for name in ("secret", "alice")]
    bound = bind(identities.OPERATE, *callers, namespace="default", name="callers")
    return dataclasses.replace(world, rbac=(*world.rbac, bound))


@pytest.fixture
async def cluster(world):
    async with DevCluster(world) as running:
        yield running


@pytest.fixture
def environ(tmp_path):
    """Two keys, of which the one called `billing` may nothing, and certificates."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("secret", "billing"):
        (keys / name).write_bytes(name.encode().ljust(40, b"k"))
    return {"IDENTITY": "caller", "SHARED_SECRET_FILE": "", "SHARED_SECRET_DIR": str(keys)}


@pytest.fixture
async def daemon(start, environ):
    daemon = await start(**environ)
    daemon.secret = b"secret".ljust(40, b"k")
    return daemon


def as_billing(daemon, target):
    return daemon.headers_v2(target, secret=b"billing".ljust(40, b"k"))


def impersonated(events):
    return {(event["impersonatedUser"]["username"], *event["impersonatedUser"]["groups"]) for event in events}


@pytest.mark.parametrize("target", ROUTES.values(), ids=ROUTES)
async def test_each_kind_of_session_is_the_callers(daemon, cluster, target):
    answer, status = await come(daemon, target, BOB)
    assert answer.status == 101, answer
    assert status is None or status["status"] == "Success", status
    await cluster.observed.wait_for(lambda: sessions_of(cluster, answer))
    events = sessions_of(cluster, answer)
    assert {event["user"]["username"] for event in events} == {identities.PROXY}
    assert impersonated(events) == {(CALLER + "secret", *GROUPS)}
    line = await daemon.event("session opened")
    assert (line["session"], line["key_id"], line["user"]) == (answer.headers["x-session-id"], "secret", "bob")


@pytest.mark.parametrize("target", ROUTES.values(), ids=ROUTES)
async def test_a_caller_who_may_not_is_told_so_by_the_apiserver(daemon, cluster, target):
    answer, status = await come(daemon, target, headers=as_billing(daemon, target))
    if target.startswith("/api"):
        assert answer.status == 403
        status = json.loads(answer.body)
    if status is not None:
        assert status["code"] == 403
        assert f'User "{CALLER}billing" cannot ' in status["message"]
    await cluster.observed.wait_for(lambda: sessions_of(cluster, answer))
    assert {event["responseStatus"]["code"] for event in sessions_of(cluster, answer)} == {403}


async def test_what_kubectl_reads_first_is_read_as_the_caller(start, environ, cluster, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(**environ, **pki.environ("alice,bob"))
    for name, status in (("alice", 200), ("bob", 403)):
        client = pki.servers.client(pki.callers.leaf(name))
        assert await read(daemon, API, client) == status
        reads = [event for event in cluster.audit.events if event["requestURI"] == API]
        assert impersonated(reads[-1:]) == {(CALLER + name, *GROUPS)}


async def test_the_default_container_is_found_as_the_caller(daemon, cluster):
    answer, _ = await come(daemon, proxy_exec("true", container=None, **PIPES), BOB)
    assert answer.status == 101
    asked = [event for event in cluster.audit.events if event["requestURI"] == API]
    assert impersonated(asked) == {(CALLER + "secret", *GROUPS)}


async def test_an_alias_is_looked_up_as_the_proxy(start, environ, world, tmp_path):
    reader = cluster_role("alias-reader", rule("pods", "get list"))
    first, *others = world.pods
    labelled = dataclasses.replace(first, labels={**first.labels, LABEL: "workload"})
    bound = bind(reader, service_account("default", "k8s-ws-proxy"))
    world = dataclasses.replace(world, pods=(labelled, *others), rbac=(*world.rbac, reader, bound))
    async with DevCluster(world) as cluster:
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig-alias", "proxy")
        daemon = await start(**environ, POD_ALIAS_LABEL=LABEL, KUBECONFIG=str(kubeconfig))
        target = proxy_exec("true", pod="workload", container=first.containers[0].name, **PIPES)
        headers = daemon.headers_v2(target, secret=b"secret".ljust(40, b"k"))
        answer, status = await come(daemon, target, headers=headers)
        assert status["status"] == "Success", status
        looked = [event for event in cluster.audit.events if event["verb"] == "list"]
        assert looked
        assert not [event for event in looked if "impersonatedUser" in event]
        assert impersonated(sessions_of(cluster, answer)) == {(CALLER + "secret", *GROUPS)}


async def test_what_a_session_leaves_is_hung_up_as_the_caller(daemon, cluster):
    async with contextlib.AsyncExitStack() as stack:
        await close(await on_terminal(stack, daemon, who=BOB))
        line = await daemon.event("process hung up")
    events = hang_ups(cluster)
    assert impersonated(events) == {(CALLER + "secret", *GROUPS)}
    assert {event["auditID"] for event in events} == {line["audit_id"]}


async def test_so_does_the_daemon_after_one_that_was_killed(start, environ, cluster, tmp_path):
    state = tmp_path / "state"
    first = await start(**environ, STATE_DIR=str(state))
    first.secret = b"secret".ljust(40, b"k")
    async with contextlib.AsyncExitStack() as stack:
        await on_terminal(stack, first, who=BOB)
        file = state / "processes"
        while not file.exists() or b"caller:secret" not in file.read_bytes():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0)
        await first.terminate(signal.SIGKILL)
        second = await start(**environ, STATE_DIR=str(state))
        await second.event("process hung up")
    assert impersonated(hang_ups(cluster)) == {(CALLER + "secret", *GROUPS)}


async def test_a_rights_change_is_the_callers_alone(daemon, cluster):
    """The proxy's ServiceAccount may open nothing itself: what decides is what is bound to the caller."""
    cluster.state.grant(bind(identities.OPERATE, user(CALLER + "billing"), namespace="default", name="more"))
    _, status = await come(daemon, TARGET, headers=as_billing(daemon, TARGET))
    assert status["status"] == "Success"
