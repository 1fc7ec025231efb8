"""As whom sessions run: the rights of each mode, exactly, before and after constrained impersonation."""

from __future__ import annotations

import pytest
from support.chart import CERT_MANAGER, HelmError, merged, render
from support.rights import CALLERS, NEW, OLD, ON, TLS, V1, WHO, as_others, identity, own

IMPERSONATION = "k8s-ws-proxy-impersonation"
STREAMS = ("pods/exec", "pods/attach", "pods/portforward")
LISTS = {"userPrefix": "oidc:", "groupPrefix": "oidc:", "users": ["oidc:jane", "oidc:joe"], "groups": ["oidc:an ops"]}


def wide(*rights):
    return {("*", right) for right in rights}


AS_ITSELF = wide(
    ("", "pods", "get", None),
    ("", "pods/log", "get", None),
    *(("", resource, verb, None) for resource in STREAMS for verb in ("create", "get")),
)
AS_OTHERS = wide(
    ("", "pods", f"{ON}get", None),
    ("", "pods/log", f"{ON}get", None),
    *(("", resource, f"{ON}{verb}", None) for resource in STREAMS for verb in ("create", "get")),
)
ALIASES = wide(("", "pods", "get", None), ("", "pods", "list", None))
REVIEWS = wide(("authorization.k8s.io", "subjectaccessreviews", "create", None))


def constrained(*, users=None, groups=None):
    group = "authentication.k8s.io"
    return AS_OTHERS | REVIEWS | wide((group, "users", WHO, users), (group, "groups", WHO, groups))


def classic(*, users=None, groups=None):
    return REVIEWS | wide(("", "users", "impersonate", users), ("", "groups", "impersonate", groups))


@pytest.mark.parametrize("kubernetes", ["1.30", OLD, NEW])
def test_the_proxy_s_own_rights_are_as_before_unless_it_acts_as_somebody(kubernetes):
    for over in ({}, identity("proxy", **LISTS), identity("proxy", constrained=True)):
        assert own(render(over, kubernetes=kubernetes)) == AS_ITSELF


@pytest.mark.parametrize(
    ("over", "kubernetes", "rights"),
    [
        (identity("caller"), NEW, constrained(groups=(CALLERS,))),
        (identity("user"), NEW, constrained()),
        (identity("caller"), "1.30", classic(groups=(CALLERS,))),
        (identity("user"), "1.30", classic()),
        (identity("caller"), OLD, classic(groups=(CALLERS,))),
        (identity("user"), OLD, classic()),
        (identity("user", **LISTS), NEW, constrained(users=("oidc:jane", "oidc:joe"), groups=("oidc:an ops",))),
        (identity("user", **LISTS), OLD, classic(users=("oidc:jane", "oidc:joe"), groups=("oidc:an ops",))),
        (identity("user", users=["jane"]), OLD, classic(users=("jane",))),
        (identity("user", groups=["ops"]), OLD, classic(groups=("ops",))),
        (
            identity("caller", users=["k8s-ws-proxy:caller:secret"], groups=["ops"]),
            NEW,
            constrained(users=("k8s-ws-proxy:caller:secret",), groups=(CALLERS,)),
        ),
        (
            identity("caller", users=["k8s-ws-proxy:caller:secret"], groups=["ops"]),
            OLD,
            classic(users=("k8s-ws-proxy:caller:secret",), groups=(CALLERS,)),
        ),
    ],
)
def test_who_acts_as_somebody_may_do_nothing_as_itself(over, kubernetes, rights):
    assert own(render(over, kubernetes=kubernetes)) == rights
    # An alias is looked up as the proxy.
    with_aliases = render({**over, "podAliasLabel": "app"}, kubernetes=kubernetes)
    assert own(with_aliases) == rights | ALIASES


@pytest.mark.parametrize("mode", ["caller", "user"])
@pytest.mark.parametrize(
    ("said", "kubernetes", "which"),
    [
        (None, "1.36.0-rc.1", WHO),
        (None, "1.36.2-gke.1000", WHO),
        (None, "1.37", WHO),
        ("", NEW, WHO),
        ("", OLD, "impersonate"),
        (None, "1.35.9", "impersonate"),
        (True, OLD, WHO),
        (False, NEW, "impersonate"),
    ],
)
def test_the_operator_s_word_goes_before_the_cluster_s_version(mode, said, kubernetes, which):
    role = render(identity(mode, constrained=said), kubernetes=kubernetes).one("ClusterRole", IMPERSONATION)
    about_whom = [rule for rule in role["rules"] if rule["resources"] != ["subjectaccessreviews"]]
    assert {verb for rule in about_whom for verb in rule["verbs"]} == {which}


@pytest.mark.parametrize("mode", ["caller", "user"])
@pytest.mark.parametrize("allowed", [["exec"], ["attach", "portforward"], ["log"], ["exec", "log"]])
def test_what_is_switched_off_may_not_be_done_as_somebody_either(mode, allowed):
    told = {resource for resource, _verb in as_others(render({**identity(mode), "allowedSubresources": allowed}))}
    assert told == {"pods", *(f"pods/{name}" for name in allowed)}


@pytest.mark.parametrize("mode", ["caller", "user"])
def test_in_the_allowed_namespaces_only_is_what_may_be_done_and_not_as_whom(mode):
    bound = {"allowedNamespaces": ["a", "b"], "bindAllowedNamespacesOnly": True, "podAliasLabel": "app"}
    rights = own(render({**identity(mode), **bound}))
    everywhere = own(render({**identity(mode), **bound, "bindAllowedNamespacesOnly": False}))
    assert {right for _where, right in rights} == {right for _where, right in everywhere}
    where = {}
    for namespace, (_group, resource, _verb, _names) in rights:
        where.setdefault(resource, set()).add(namespace)
    assert where == {
        "users": {"*"},
        "groups": {"*"},
        "subjectaccessreviews": {"*"},
        **{resource: {"a", "b"} for resource in ("pods", "pods/log", *STREAMS)},
    }


def test_a_role_without_rules_is_not_made():
    rendered = render(identity("user"), kubernetes=OLD)
    assert [role["metadata"]["name"] for role in rendered.every("ClusterRole")] == [IMPERSONATION]
    bound = {"allowedNamespaces": ["a"], "bindAllowedNamespacesOnly": True}
    assert not [
        each
        for each in render({**identity("user"), **bound}, kubernetes=OLD).every("RoleBinding")
        if each["metadata"]["name"] == "k8s-ws-proxy"
    ]


@pytest.mark.parametrize("mode", ["caller", "user"])
@pytest.mark.parametrize("kubernetes", [OLD, NEW])
def test_an_account_and_a_name_of_their_own_are_heard_of(mode, kubernetes):
    over = {**identity(mode), "workloadName": "gate", "serviceAccount": {"create": False, "name": "theirs"}}
    rendered = render(over, kubernetes=kubernetes)
    binding = rendered.one("ClusterRoleBinding", "gate-impersonation")
    assert binding["roleRef"]["name"] == "gate-impersonation"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "theirs", "namespace": "catalyst-system"}]
    assert rendered.one("ClusterRole", "gate-impersonation")


def test_names_that_yaml_or_json_take_for_something_else_arrive_as_they_are():
    names = ["true", "1e3", "a<b>&c", "CN=dev,OU='eng' \"x\"", "back\\slash", "{{ .Values }}", "#"]
    role = render(identity("user", groups=names)).one("ClusterRole", IMPERSONATION)
    (groups,) = (rule for rule in role["rules"] if rule["resources"] == ["groups"])
    assert groups["resourceNames"] == names


def refusal(over, **how):
    with pytest.raises(HelmError) as refused:
        render(over, **how)
    return str(refused.value)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({**identity("user"), **V1}, "identity.mode=user lets nobody in: v1 names no user"),
        (
            identity("user", userPrefix="oidc:", users=["jane"]),
            "jane: write names as the apiserver sees them, with identity.userPrefix the name is oidc:jane",
        ),
        (identity("user", groupPrefix="oidc:", groups=["ops"]), "with identity.groupPrefix the name is oidc:ops"),
        (
            identity("caller", users=["secret"]),
            "write names as the apiserver sees them, with identity.mode=caller the name is k8s-ws-proxy:caller:secret",
        ),
        (identity("user", users=["system:admin"]), "identity.users has system:admin, which is Kubernetes's own"),
        (identity("caller", users=["system:admin"]), "identity.users has system:admin, which is Kubernetes's own"),
        (identity("user", groups=["system:masters"]), "identity.groups has system:masters, which is Kubernetes's own"),
        (
            identity("user", groupPrefix="oidc:", groups=["oidc:system:masters"]),
            "identity.groups has oidc:system:masters, which is Kubernetes's own",
        ),
        (identity("user", userPrefix="system:"), "identity.userPrefix begins with system:"),
        (identity("user", groupPrefix="system:x:"), "identity.groupPrefix begins with system:"),
        (identity("user", userPrefix="System:"), "identity.userPrefix begins with system:"),
        (identity("user", groupPrefix="SYSTEM:x:"), "identity.groupPrefix begins with system:"),
        (identity("user", users=["System:admin"]), "identity.users has System:admin, which is Kubernetes's own"),
        (
            identity("user", groupPrefix="oidc:", groups=["oidc:System:masters"]),
            "identity.groups has oidc:System:masters, which is Kubernetes's own",
        ),
        (
            identity("user", users=["*"]),
            "identity.users has *, which is no pattern to Kubernetes: leave the list empty",
        ),
        (identity("user", groups=["*"]), "identity.groups has *, which is no pattern to Kubernetes"),
    ],
)
@pytest.mark.parametrize("kubernetes", [OLD, NEW])
def test_what_can_t_work_is_refused(over, told, kubernetes):
    text = refusal(over, kubernetes=kubernetes)
    assert told in text
    assert text.count("\n  - ") == 1


def test_users_may_come_by_certificate_alone_where_there_are_certificates():
    over = merged({**identity("user"), **V1}, TLS)
    assert render(over, apis=(CERT_MANAGER,)).objects
    assert "lets nobody in" in refusal(over, apis=())


def test_names_for_one_mode_don_t_stand_in_another_s_way():
    """So that one value switches it."""
    assert render({**identity("proxy", **LISTS), **V1}).objects
    assert render(identity("caller", userPrefix="system:", groups=["*"])).objects
