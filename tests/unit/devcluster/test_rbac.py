"""docs/observed.md, "Rights": who may what by which objects, without a socket."""

import pytest

from k8s_ws_proxy.devcluster import rbac
from k8s_ws_proxy.devcluster.default_roles import default_roles
from k8s_ws_proxy.devcluster.rbac import Attributes, UserInfo, decide
from k8s_ws_proxy.devcluster.roles import bind, cluster_role, group, role, rule, service_account, user

ALICE = UserInfo("alice", ("ops", "system:authenticated"))
ACCOUNT = UserInfo("system:serviceaccount:team:robot", ("system:serviceaccounts",))
EXEC = cluster_role("exec", rule("pods/exec", "get create"))


def asked(verb="get", resource="pods", namespace="team", name="", *, by=ALICE, group="", path=""):
    plural, _, subresource = resource.partition("/")
    return Attributes(by, verb, plural, subresource, group, namespace, name, path)


def may(wanted, *rules):
    return decide(wanted, [made := cluster_role("some", *rules), bind(made, user("alice"))]).allowed


def test_without_a_binding_there_is_no_right():
    assert decide(asked(), []) == rbac.Decision(False)
    assert not decide(asked("create", "pods/exec"), [EXEC]).allowed


@pytest.mark.parametrize(
    ("wanted", "granted", "allowed"),
    [
        (asked(), rule("pods", "get"), True),
        (asked("list"), rule("pods", "get"), False),
        (asked("list"), rule("pods", "*"), True),
        (asked(), rule("secrets", "get"), False),
        (asked(), rule("*", "get"), True),
        (asked(resource="pods/exec"), rule("pods", "get"), False),
        (asked(resource="pods/exec"), rule("*", "get"), True),
        (asked(resource="pods/exec"), rule("pods/exec", "get"), True),
        (asked(resource="pods/exec"), rule("*/exec", "get"), True),
        (asked(resource="pods/exec"), rule("pods/*", "get"), False),
        (asked(resource="pods/log"), rule("*/exec", "get"), False),
        (asked(), rule("pods", "get", group="apps"), False),
        (asked(group="apps"), rule("pods", "get"), False),
        (asked(group="apps"), rule("pods", "get", group="*"), True),
        (asked(name="web"), rule("pods", "get", names="web db"), True),
        (asked(name="other"), rule("pods", "get", names="web db"), False),
        (asked("create"), rule("pods", "create", names="web"), False),
        (asked("*", "*"), rule("pods", "get"), False),
        (asked("impersonate-on:user-info:get"), rule("pods", "get"), False),
        (asked(resource="", path="/api/v1"), {"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, True),
        (asked(resource="", path="/apis"), {"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, False),
        (asked(resource="", path="/apis"), rule("*", "*", group="*"), False),
    ],
)
def test_a_rule(wanted, granted, allowed):
    assert may(wanted, granted) is allowed
    assert may(wanted, rule("nothing", "get"), granted) is allowed


@pytest.mark.parametrize(
    ("by", "subject", "applies"),
    [
        (ALICE, user("alice"), True),
        (ALICE, user("ops"), False),
        (ALICE, group("ops"), True),
        (ALICE, group("alice"), False),
        (ALICE, service_account("team", "alice"), False),
        (ACCOUNT, service_account("team", "robot"), True),
        (ACCOUNT, service_account("other", "robot"), False),
        (ACCOUNT, user("system:serviceaccount:team:robot"), True),
        (ACCOUNT, {"kind": "ServiceAccount", "name": "robot"}, True),
        (ACCOUNT, group("system:serviceaccounts"), True),
    ],
)
def test_whom_a_binding_means(by, subject, applies):
    wanted = asked(resource="pods/exec", by=by)
    assert decide(wanted, [EXEC, bind(EXEC, subject, namespace="team")]).allowed is applies


def test_a_binding_of_the_cluster_needs_the_accounts_namespace():
    nobody = bind(EXEC, {"kind": "ServiceAccount", "name": "robot"})
    assert not decide(asked(resource="pods/exec", by=ACCOUNT), [EXEC, nobody]).allowed


def test_where_a_binding_reaches():
    everywhere, there = bind(EXEC, user("alice")), bind(EXEC, user("alice"), namespace="team")
    own = role("team", "own", rule("pods/exec", "get"))
    for namespace, binding, allowed in (
        ("team", everywhere, True),
        ("other", everywhere, True),
        ("", everywhere, True),
        ("team", there, True),
        ("other", there, False),
        ("", there, False),
        ("team", bind(own, user("alice")), True),
        ("other", bind(own, user("alice")), False),
    ):
        assert decide(asked(resource="pods/exec", namespace=namespace), [EXEC, own, binding]).allowed is allowed


def test_the_reason_names_binding_role_and_subject():
    wanted = asked(resource="pods/exec")
    of_cluster = decide(wanted, [EXEC, bind(EXEC, user("bob"), group("ops"), name="all")])
    assert of_cluster.reason == 'RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "exec" to Group "ops"'
    own = role("team", "own", rule("pods/exec", "get"))
    account = decide(asked(resource="pods/exec", by=ACCOUNT), [own, bind(own, service_account("team", "robot"))])
    assert account.reason == 'RBAC: allowed by RoleBinding "own/team" of Role "own" to ServiceAccount "robot/team"'


def test_a_bound_role_that_is_not_there_is_told():
    lost = bind(EXEC, user("alice"))
    told = 'RBAC: clusterrole.rbac.authorization.k8s.io "exec" not found'
    assert decide(asked(), [lost]) == rbac.Decision(False, told)
    both = decide(asked(), [lost, bind(role("team", "own"), user("alice"))])
    assert both.reason == f'RBAC: [{told.removeprefix("RBAC: ")}, role.rbac.authorization.k8s.io "own" not found]'
    everything = cluster_role("all", rule("*", "*"))
    assert decide(asked(), [lost, everything, bind(everything, user("alice"))]).allowed


@pytest.mark.parametrize(
    ("wanted", "what", "lacking"),
    [
        (
            asked("create", "pods/exec", name="web"),
            'pods "web" is ',
            'create resource "pods/exec" in API group "" in the namespace "team"',
        ),
        (
            asked("list", "jobs", "", group="batch"),
            "jobs.batch is ",
            'list resource "jobs" in API group "batch" at the cluster scope',
        ),
        (asked(resource="", path="/apis"), "", 'get path "/apis"'),
    ],
)
def test_refusals_in_the_apiservers_words(wanted, what, lacking):
    text = f'{what}forbidden: User "alice" cannot {lacking}'
    assert rbac.refused(wanted).status.message == text
    assert rbac.refused(wanted, "RBAC: why").status.message == f"{text}: RBAC: why"


def test_the_details_of_a_refusal():
    details = rbac.refused(asked("get", "daemonsets", name="web", group="apps")).status.details
    assert details == {"name": "web", "group": "apps", "kind": "daemonsets"}


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("system:serviceaccount:team:robot", ("team", "robot")),
        ("system:serviceaccount:team", None),
        ("system:serviceaccount:team:", None),
        ("system:serviceaccount:a:b:c", None),
        ("alice", None),
        ("team:robot", None),
    ],
)
def test_names_of_service_accounts(name, account):
    assert rbac.service_account(name) == account


def test_everybody_with_a_name_may_ask_about_himself():
    wanted = asked("create", "selfsubjectaccessreviews", "", group="authorization.k8s.io")
    assert decide(wanted, default_roles()).allowed
    nobody = asked("create", "selfsubjectaccessreviews", "", group="authorization.k8s.io", by=UserInfo("x"))
    assert not decide(nobody, default_roles()).allowed
