"""What an install says of as whom sessions run, what to grant, and what the classic verb lends."""

from __future__ import annotations

import os
import subprocess

import kubernetes_validate
import pytest
import yaml
from support.chart import CERT_MANAGER, notes, render
from support.rights import CALLERS, NEW, OLD, TLS, V1, as_others, granted, identity

GRANTS = {
    "caller": ({"kind": "Group", "name": CALLERS}, {}),
    "user": ({"kind": "User", "name": "oidc:jane"}, {"userPrefix": "oidc:"}),
    "a user that may be acted as": ({"kind": "User", "name": "o'b\\n\"x&"}, {"users": ["o'b\\n\"x&", "joe"]}),
}


@pytest.mark.parametrize("which", GRANTS)
@pytest.mark.parametrize("allowed", [["exec", "attach", "log", "portforward"], ["log"], ["exec"]])
def test_the_notes_grant_what_sessions_need_as_it_is_pasted(which, allowed, tmp_path):
    subject, more = GRANTS[which]
    over = {**identity("user" if more else "caller", **more), "allowedSubresources": allowed}
    text = notes({**over, "allowedNamespaces": ["catalyst-system", "0123"]})
    (command,) = (part for part in text.split("\n\n") if "kubectl apply" in part)
    fake = tmp_path / "kubectl"
    fake.write_text('#!/bin/sh\n[ "$*" = "apply -f -" ] && exec cat\n')
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-euc", command], env={"PATH": path}, capture_output=True, text=True, check=True)
    told = yaml.safe_load(done.stdout)
    assert (told["apiVersion"], told["kind"]) == ("v1", "List")
    role, binding = told["items"]
    for each in (role, binding):
        kubernetes_validate.validate(each, NEW, strict=True)
        assert each["metadata"] == {"name": "k8s-ws-proxy-sessions", "namespace": "0123"}
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": "k8s-ws-proxy-sessions",
    }
    assert binding["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", **subject}]
    # What the proxy may do as somebody is what they need themselves.
    needed = as_others(render(over))
    assert {(resource, verb) for _group, resource, verb, _names in granted(role)} == needed


def test_the_notes_say_as_whom():
    assert "opened as the ServiceAccount catalyst-system/k8s-ws-proxy" in notes({})
    caller = notes(identity("caller"))
    assert "the user k8s-ws-proxy:caller:NAME, in the group\nk8s-ws-proxy:callers" in caller
    assert "a subject of kind User: k8s-ws-proxy:caller:secret." in caller
    user = notes(identity("user", userPrefix="oidc:", groupPrefix="corp:"))
    assert "a user's name begins with oidc:" in user
    assert "a group's name begins with corp:" in user
    assert "a subject of kind Group: corp:ops." in user


def test_the_notes_have_no_one_granted_the_proxy_s_own_pods_where_there_are_others():
    assert 'namespace: "default"' in notes(identity("caller"))
    assert 'namespace: "team"' in notes({**identity("caller"), "allowedNamespaces": ["catalyst-system", "team"]})
    assert 'namespace: "catalyst-system"' in notes({**identity("caller"), "allowedNamespaces": ["catalyst-system"]})


def test_the_first_request_is_told_where_it_would_be_let_in():
    assert "first signed request" in notes(identity("caller"))
    assert "first signed request" in notes(identity("user"))
    assert "first signed request" in notes({"signatures": {"accepted": ["v2"]}})
    assert "first signed request" not in notes({**identity("user"), **V1, **TLS}, apis=(CERT_MANAGER,))


def test_callers_are_told_how_to_sign():
    assert "  signed   v1 or v2\n" in notes({})
    assert "  signed   v2\n" in notes({"signatures": {"accepted": ["v2"]}})
    assert "  signed   v2, with X-Catalyst-User\n" in notes(identity("user"))
    assert "  signed   not at all" in notes({**identity("user"), **V1, **TLS}, apis=(CERT_MANAGER,))


MASTERS = "any group, system:masters included: the stolen token is then the whole cluster's administrator"
ANYBODY = "Without identity.users that is any user"
NAMED = {"users": ["jane"], "groups": ["ops"]}


@pytest.mark.parametrize("kubernetes", ["1.30", OLD])
def test_the_notes_warn_of_what_the_classic_verb_lends(kubernetes):
    told = notes(identity("user"), kubernetes=kubernetes)
    assert "WARNING: the ServiceAccount has the classic verb impersonate" in told
    assert MASTERS in told
    assert ANYBODY in told
    named = notes(identity("user", **NAMED), kubernetes=kubernetes)
    assert "WARNING: the ServiceAccount has the classic verb impersonate" in named
    assert MASTERS not in named
    assert ANYBODY not in named
    caller = notes(identity("caller"), kubernetes=kubernetes)
    assert MASTERS not in caller
    assert ANYBODY in caller
    assert "WARNING" not in notes({}, kubernetes=kubernetes)


def test_the_notes_say_that_the_classic_verb_is_in_no_namespace():
    bound = {"allowedNamespaces": ["a"], "bindAllowedNamespacesOnly": True}
    told = "bindAllowedNamespacesOnly does not bind that verb"
    assert told in notes({**identity("user"), **bound}, kubernetes=OLD)
    assert told not in notes(identity("user"), kubernetes=OLD)
    assert "WARNING" not in notes({**identity("user"), **bound}, kubernetes=NEW)


def test_the_notes_doubt_what_the_cluster_s_version_does():
    assert "before 1.36 an apiserver has constrained impersonation" in notes(
        identity("user", constrained=True), kubernetes=OLD
    )
    assert "leave identity.constrained unset" in notes(identity("user", constrained=False), kubernetes=NEW)
    for mode in ("caller", "user"):
        assert "WARNING" not in notes(identity(mode), kubernetes=NEW)
        assert "WARNING" not in notes(identity(mode, constrained=True), kubernetes=NEW)
