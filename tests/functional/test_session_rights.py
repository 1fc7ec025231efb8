"""Who may issue, see and end sessions: RBAC's word, in a cluster where alice may exec in `default`, ops in every pod.

bob may nothing, and a viewer may look.
"""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from support import identities
from support.caller import refusal_of
from support.sessions import SESSIONS, SHELL, call, issue, listed, presented

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.roles import bind, cluster_role, role, rule, service_account, user
from k8s_ws_proxy.wire.framing.channels import STATUS, STDIN, STDOUT

VIEWER = role("default", "session-viewer", rule("sessions", "list get watch", group="terminal.openova.io"))


@pytest.fixture
async def cluster():
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as running:
        running.state.grant(VIEWER)
        running.state.grant(bind(VIEWER, user("viewer")))
        yield running


@pytest.fixture
async def guarded(start):
    return await start(IDENTITY="user", IDENTITY_GROUP_PREFIX="oidc:")


OPS = {"User": "olga", "Groups": '"ops"'}


@contextlib.asynccontextmanager
async def alices(daemon):
    """A terminal of alice's; the path that shows it."""
    told = await issue(daemon, who={"User": "alice"}, command=["cat"], tty=True)
    async with presented(daemon, told["path"], told["ticket"]) as ws:
        await ws.send(STDIN, b"x\n")
        await ws.until(STDOUT, b"x")
        yield f"{SESSIONS}/{told['sessionId']}", ws


async def test_a_viewer_gets_403_and_an_operator_201(guarded):
    for who, status in (({"User": "alice"}, 201), (OPS, 201), ({"User": "bob"}, 403), ({"User": "viewer"}, 403)):
        answer = await call(guarded, "POST", SESSIONS, SHELL, **who)
        assert answer.status == status, answer
        if status == 403:
            text, reason = refusal_of(answer, SESSIONS)
            assert reason == "access_denied"
            assert f"{who['User']} may not create pods/exec in the namespace default" in text


async def test_a_log_needs_to_be_readable(guarded):
    for who, status in (({"User": "alice"}, 201), ({"User": "bob"}, 403)):
        assert (await call(guarded, "POST", SESSIONS, {**SHELL, "subresource": "log"}, **who)).status == status


async def test_what_may_not_be_seen_is_left_out(guarded):
    async with alices(guarded):
        for who, count in (({"User": "alice"}, 1), (OPS, 1), ({"User": "viewer"}, 1), ({"User": "bob"}, 0)):
            assert len(await listed(guarded, **who)) == count, who


async def test_who_may_show_and_end(guarded):
    async with alices(guarded) as (one, ws):
        for who, shown, ended in (({"User": "bob"}, 403, 403), ({"User": "viewer"}, 200, 403), (OPS, 200, 202)):
            assert (await call(guarded, "GET", one, **who)).status == shown
            answer = await call(guarded, "DELETE", one, **who)
            assert answer.status == ended
            if ended == 403:
                assert "may not delete sessions.terminal.openova.io" in refusal_of(answer, SESSIONS)[0]
        assert (await ws.finish()).reason == "ended by olga"


async def test_ones_own_is_ones_own(guarded):
    async with alices(guarded) as (one, ws):
        assert (await call(guarded, "GET", one, User="alice")).status == 200
        assert (await call(guarded, "DELETE", one, User="alice")).status == 202
        assert (await ws.finish()).output[STATUS]


async def test_answers_are_remembered_for_a_while(guarded, cluster):
    async with alices(guarded) as (one, _):

        def asked():
            return [event for event in cluster.audit.events if "subjectaccessreviews" in event["requestURI"]]

        before = len(asked())
        for _ in range(5):
            assert (await call(guarded, "GET", one, User="viewer")).status == 200
        assert len(asked()) == before + 1
        assert not any("impersonatedUser" in event for event in asked()), "they are the proxy's own"


async def test_where_nobody_can_be_asked_nobody_may(start, tmp_path):
    async with DevCluster(identities.world(identities.CONSTRAINED)) as cluster:  # without the right to ask
        kubeconfig = str(cluster.write_kubeconfig(tmp_path / "kubeconfig-silent", "proxy"))
        daemon = await start(IDENTITY="user", KUBECONFIG=kubeconfig)
        answer = await call(daemon, "POST", SESSIONS, SHELL, User="alice")
        assert (answer.status, refusal_of(answer, SESSIONS)[1]) == (502, "upstream_refused")
        line = await daemon.event("request refused")
        assert "403" in line["detail"]
        assert await listed(daemon, User="alice") == []


async def test_a_role_for_one_pod_lets_its_alias_be_opened_too(start, tmp_path):
    world = identities.world(identities.CONSTRAINED, identities.REVIEWS)
    (first, *others) = world.pods
    label = "example.com/alias"
    labelled = dataclasses.replace(first, labels={**first.labels, label: "workload"})
    reader = cluster_role("alias-reader", rule("pods", "get list"))
    one_pod = role("default", "one-pod", rule("pods/exec", "create", names=first.name))
    more = (reader, bind(reader, service_account("default", "k8s-ws-proxy")), one_pod, bind(one_pod, user("bob")))
    world = dataclasses.replace(world, pods=(labelled, *others), rbac=(*world.rbac, *more))
    async with DevCluster(world) as cluster:
        kubeconfig = str(cluster.write_kubeconfig(tmp_path / "kubeconfig-alias", "proxy"))
        daemon = await start(IDENTITY="user", POD_ALIAS_LABEL=label, KUBECONFIG=kubeconfig)
        for pod, status in (("workload", 201), (first.name, 201), (others[0].name, 403), ("nothing", 404)):
            answer = await call(daemon, "POST", SESSIONS, {**SHELL, "pod": pod}, User="bob")
            assert answer.status == status, (pod, answer)
