"""Who may open, issue, list and end sessions: the chart's rights, docs/operations.md's roles, and RBAC."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re

import kubernetes_validate
import pytest
import yaml
from support import identities, kubectl
from support.caller import close
from support.chart import notes, render
from support.daemon import SECRET
from support.impersonated import ROUTES, come, hang_ups, on_terminal, sessions_of
from support.node import Node
from support.operations import TEXT, shown
from support.rights import NEW, OLD, identity
from support.sessions import SESSIONS, SHELL, call, issue, presented

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.roles import bind, user
from k8s_ws_proxy.web.rights import GROUP, RECORDINGS, RESOURCE
from k8s_ws_proxy.wire.framing.channels import STDOUT

ROLES = [
    document
    for block in re.findall(r"^```yaml\n(apiVersion:.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for document in yaml.safe_load_all(block)
]
ALICE, BOB = {"User": "alice"}, {"User": "bob"}
OPERATOR, VIEWER = {"User": "olga", "Groups": '"operators"'}, {"User": "victor", "Groups": '"viewers"'}


@contextlib.asynccontextmanager
async def site(directory, over, kubernetes=NEW, *more):
    """A daemon as the chart runs it, at a cluster that knows the chart's rights and the document's roles, and more."""
    rendered = render(over, kubernetes=kubernetes)
    world = identities.world(*rendered.every("ClusterRole"))
    node = Node(rendered, directory)
    node.write("k8s-ws-proxy-hmac", {"secret": SECRET})
    async with (
        DevCluster(dataclasses.replace(world, rbac=(*world.rbac, *ROLES, *more))) as cluster,
        node.run(cluster) as run,
    ):
        yield cluster, run


async def ask(daemon, method, target, who, body=None):
    """Status and JSON of a signed request."""
    answer = await call(daemon, method, target, body, **who)
    return answer.status, json.loads(answer.body)


def as_user(**more):
    return identity("user", groupPrefix="oidc:", **more)


MODES = {
    "proxy": (identity("proxy"), None),
    "caller": (identity("caller"), "k8s-ws-proxy:caller:secret"),
    "user": (as_user(), "alice"),
}
CALLERS = bind(identities.OPERATE, user("k8s-ws-proxy:caller:secret"), namespace="default", name="callers")


@pytest.mark.parametrize("kubernetes", [OLD, NEW])
@pytest.mark.parametrize(("over", "whom"), MODES.values(), ids=MODES)
async def test_each_kind_of_session_opens_with_the_chart_s_rights(over, whom, kubernetes, tmp_path):
    async with site(tmp_path, over, kubernetes, CALLERS) as (cluster, daemon):

        def as_whom(events):
            return {event.get("impersonatedUser", {}).get("username") for event in events}

        for target in ROUTES.values():
            answer, status = await come(daemon, target, ALICE)
            assert answer.status == 101, answer
            assert status is None or status["status"] == "Success", (target, status)
            await cluster.observed.wait_for(lambda name=answer: sessions_of(cluster, name))
            events = sessions_of(cluster, answer)
            assert {event["responseStatus"]["code"] for event in events} <= {101, 200}, target
            assert as_whom(events) == {whom}
        async with contextlib.AsyncExitStack() as stack:
            await close(await on_terminal(stack, daemon, who=ALICE))
            await daemon.event("process hung up")
        assert as_whom(hang_ups(cluster)) == {whom}


@pytest.mark.parametrize("kubernetes", [OLD, NEW])
@pytest.mark.parametrize(("over", "whom"), MODES.values(), ids=MODES)
async def test_what_is_issued_opens_with_the_chart_s_rights(over, whom, kubernetes, tmp_path):
    async with site(tmp_path, over, kubernetes, CALLERS) as (cluster, daemon):
        told = await issue(daemon, who=ALICE, command=["echo", "issued"])
        async with presented(daemon, told["path"], told["ticket"]) as ws:
            assert ws.answer.status == 101, ws.answer
            ended = await ws.finish()
        assert (ended.text(STDOUT), ended.status["status"]) == ("issued\r\n", "Success")
        opened = [event for event in cluster.audit.of(told["sessionId"]) if "/exec" in event["requestURI"]]
        assert {event.get("impersonatedUser", {}).get("username") for event in opened} == {whom}
        told = await issue(daemon, who=ALICE, subresource="log")
        async with presented(daemon, told["path"], told["ticket"]) as ws:
            assert ws.answer.status == 101, ws.answer


@pytest.mark.parametrize("kubernetes", [OLD, NEW])
async def test_who_may_open_a_session_is_issued_one_and_nobody_else(kubernetes, tmp_path):
    async with site(tmp_path, as_user(), kubernetes) as (_cluster, daemon):
        assert (await ask(daemon, "POST", SESSIONS, ALICE, SHELL))[0] == 201
        status, told = await ask(daemon, "POST", SESSIONS, BOB, SHELL)
        assert (status, told["reason"]) == (403, "access_denied")


async def test_a_caller_is_asked_for_by_its_own_name(tmp_path):
    async with site(tmp_path, identity("caller")) as (_cluster, daemon):
        status, told = await ask(daemon, "POST", SESSIONS, {}, SHELL)
        assert (status, told["reason"]) == (403, "access_denied")
        assert "k8s-ws-proxy:caller:secret may not create pods/exec" in told["error"]


async def test_as_the_proxy_nobody_is_asked_for(tmp_path):
    async with site(tmp_path, {}) as (cluster, daemon):
        issued = (await ask(daemon, "POST", SESSIONS, BOB, SHELL))[1]["sessionId"]
        assert (await ask(daemon, "DELETE", f"{SESSIONS}/{issued}", ALICE))[0] == 202
        assert not [seen for seen in cluster.observed.seen if "subjectaccessreviews" in seen.target]


async def test_operators_end_sessions_and_viewers_see_them_as_the_document_s_roles_say(tmp_path):
    async with site(tmp_path, as_user()) as (_cluster, daemon):
        issued = (await ask(daemon, "POST", SESSIONS, ALICE, SHELL))[1]["sessionId"]
        one = f"{SESSIONS}/{issued}"
        seen = {}
        for name, who in {"alice": ALICE, "bob": BOB, "viewer": VIEWER, "operator": OPERATOR}.items():
            _status, told = await ask(daemon, "GET", SESSIONS, who)
            seen[name] = [each["sessionId"] for each in told["sessions"]]
        assert seen == {"alice": [issued], "bob": [], "viewer": [issued], "operator": [issued]}
        assert (await ask(daemon, "GET", one, BOB))[0] == 403
        assert (await ask(daemon, "GET", one, VIEWER))[0] == 200
        assert (await ask(daemon, "DELETE", one, VIEWER))[0] == 403
        assert (await ask(daemon, "DELETE", one, OPERATOR))[0] == 202


async def test_the_review_that_is_shown_says_who_may(tmp_path):
    (line,) = [line.removeprefix("$ ") for line in shown(TEXT) if "subjectaccessreviews" in line]
    review = re.search(r"'(.*)'", line, re.DOTALL)[1]
    arguments = re.search(r"\| +kubectl (.*)", line)[1].split()
    async with site(tmp_path, as_user()) as (cluster, _daemon):
        kubeconfig = cluster.write_kubeconfig(tmp_path / "reviewer", "proxy")
        for asked, allowed in ((review, True), (review.replace("viewers", "strangers"), False)):
            pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
            process = await kubectl.start(kubeconfig, tmp_path, *arguments, **pipes)
            out, _ = await process.communicate(asked.encode())
            assert json.loads(out)["status"]["allowed"] is allowed


def test_the_roles_name_the_resource_and_the_verbs_that_are_asked_for():
    rules = {one["metadata"]["name"]: one["rules"] for one in ROLES if one["kind"] == "ClusterRole"}
    assert rules == {
        "session-operator": [
            {"apiGroups": [GROUP], "resources": [RESOURCE], "verbs": ["list", "get", "watch", "update", "delete"]}
        ],
        "session-viewer": [{"apiGroups": [GROUP], "resources": [RESOURCE], "verbs": ["list", "get", "watch"]}],
        "recording-auditor": [{"apiGroups": [GROUP], "resources": [RECORDINGS], "verbs": ["list", "get"]}],
    }
    for document in ROLES:
        kubernetes_validate.validate(document, NEW, strict=True)


@pytest.mark.parametrize("mode", ["caller", "user"])
def test_the_notes_show_the_operators_rule_where_it_is_asked_for(mode):
    (operators,) = (one["rules"] for one in ROLES if one["metadata"]["name"] == "session-operator" and "rules" in one)
    told = [line.strip() for line in notes(identity(mode)).splitlines()]
    assert [yaml.safe_load(line) for line in told if line.startswith("{") and GROUP in line] == operators
    assert GROUP not in notes({})
