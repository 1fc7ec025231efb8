"""Who may issue, list and end sessions: the chart's rights and docs/operations.md's roles, on a cluster with RBAC."""

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
from support.chart import notes, render
from support.daemon import SECRET
from support.node import Node
from support.operations import TEXT, shown
from support.rights import NEW, OLD, identity
from support.sessions import SESSIONS, SHELL, call

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.web.rights import GROUP, RESOURCE

ROLES = [
    document
    for block in re.findall(r"^```yaml\n(apiVersion:.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for document in yaml.safe_load_all(block)
]
ALICE, BOB = {"User": "alice"}, {"User": "bob"}
OPERATOR, VIEWER = {"User": "olga", "Groups": '"operators"'}, {"User": "victor", "Groups": '"viewers"'}


@contextlib.asynccontextmanager
async def site(directory, over, kubernetes=NEW):
    """A daemon as the chart runs it, at a cluster that knows the chart's rights and the document's roles."""
    rendered = render(over, kubernetes=kubernetes)
    world = identities.world(*rendered.every("ClusterRole"))
    node = Node(rendered, directory)
    node.write("k8s-ws-proxy-hmac", {"secret": SECRET})
    async with DevCluster(dataclasses.replace(world, rbac=(*world.rbac, *ROLES))) as cluster, node.run(cluster) as run:
        yield cluster, run


async def ask(daemon, method, target, who, body=None):
    """Status and JSON of a signed request."""
    answer = await call(daemon, method, target, body, **who)
    return answer.status, json.loads(answer.body)


def as_user(**more):
    return identity("user", groupPrefix="oidc:", **more)


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
    }
    for document in ROLES:
        kubernetes_validate.validate(document, NEW, strict=True)


@pytest.mark.parametrize("mode", ["caller", "user"])
def test_the_notes_show_the_operators_rule_where_it_is_asked_for(mode):
    (operators,) = (one["rules"] for one in ROLES if one["metadata"]["name"] == "session-operator" and "rules" in one)
    told = [line.strip() for line in notes(identity(mode)).splitlines()]
    assert [yaml.safe_load(line) for line in told if line.startswith("{") and GROUP in line] == operators
    assert GROUP not in notes({})
