"""Who may do what: the proxy, the bootstrap Job, and whoever rotates."""

from __future__ import annotations

import re

import pytest
import yaml
from support.chart import CHART, EVERYTHING, render
from support.pod_security import violations

BOOTSTRAP = "k8s-ws-proxy-hmac-bootstrap"
UNINSTALL = "k8s-ws-proxy-uninstall"
ROTATION = "k8s-ws-proxy-rotation"
SUBRESOURCES = {
    "exec": {("pods/exec", "create"), ("pods/exec", "get")},
    "attach": {("pods/attach", "create"), ("pods/attach", "get")},
    "portforward": {("pods/portforward", "create"), ("pods/portforward", "get")},
    "log": {("pods/log", "get")},
}


def granted(role):
    """What a role allows, as pairs of resource and verb."""
    return {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_proxy_may_reach_pods_and_no_more():
    assert granted(render(EVERYTHING).one("ClusterRole")) == set().union(
        {("pods", "get"), ("pods", "list")}, *SUBRESOURCES.values()
    )


def test_pods_are_listed_only_where_aliases_are_resolved():
    assert ("pods", "list") not in granted(render().one("ClusterRole"))
    assert ("pods", "list") in granted(render({"podAliasLabel": "app"}).one("ClusterRole"))


@pytest.mark.parametrize("switched_off", sorted(SUBRESOURCES))
def test_what_is_switched_off_is_not_granted_either(switched_off):
    allowed = [name for name in SUBRESOURCES if name != switched_off]
    full, less = render(), render({"allowedSubresources": allowed})
    assert granted(full.one("ClusterRole")) - granted(less.one("ClusterRole")) == SUBRESOURCES[switched_off]
    assert set(less.environ["ALLOWED_SUBRESOURCES"].split(",")) == set(allowed)


def test_the_rights_are_the_cluster_s_unless_they_are_bound_to_the_allowed_namespaces():
    plain = render({"allowedNamespaces": ["a", "b"]})
    bound = render({"allowedNamespaces": ["a", "b"], "bindAllowedNamespacesOnly": True})
    (wide,) = plain.every("ClusterRoleBinding")
    assert bound.every("ClusterRoleBinding") == []
    narrow = [each for each in bound.every("RoleBinding") if each["metadata"]["name"] == "k8s-ws-proxy"]
    assert [each["metadata"]["namespace"] for each in narrow] == ["a", "b"]
    for each in narrow:
        assert (each["roleRef"], each["subjects"]) == (wide["roleRef"], wide["subjects"])
    assert bound.one("ClusterRole") == plain.one("ClusterRole")


def test_nobody_is_granted_nodes_or_a_wildcard():
    rendered = render(EVERYTHING)
    roles = rendered.every("ClusterRole") + rendered.every("Role")
    assert len(roles) == 4
    for role in roles:
        for rule in role["rules"]:
            values = {*rule["apiGroups"], *rule["resources"], *rule["verbs"], *rule.get("resourceNames", [])}
            assert not any("*" in value or value.startswith("nodes") for value in values)


def test_create_stands_apart_from_the_name_since_it_can_t_have_one():
    rules = render({"hmacSecret": {"name": "theirs"}}).one("Role", BOOTSTRAP)["rules"]
    assert rules == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["theirs"], "verbs": ["get"]},
    ]


def test_no_rule_anywhere_has_create_and_names():
    rendered = render(EVERYTHING)
    for role in rendered.every("ClusterRole") + rendered.every("Role"):
        for rule in role["rules"]:
            assert not ("create" in rule["verbs"] and "resourceNames" in rule)


def hooks(rendered):
    annotated = ((found, found["metadata"].get("annotations", {})) for found in rendered.objects)
    return {found["kind"]: notes for found, notes in annotated if "helm.sh/hook" in notes}


def test_the_job_runs_after_all_it_needs():
    weights = {kind: notes["helm.sh/hook-weight"] for kind, notes in hooks(render()).items()}
    assert all(isinstance(weight, str) for weight in weights.values())
    assert weights == {
        "ServiceAccount": "-20",
        "Role": "-15",
        "RoleBinding": "-15",
        "NetworkPolicy": "-15",
        "Job": "-10",
    }


def test_the_jobs_run_when_they_should_and_leave_nothing_behind():
    when = {BOOTSTRAP: {"pre-install", "pre-upgrade"}, UNINSTALL: {"pre-delete"}}
    found = [each["metadata"] for each in render().objects if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert len(found) == 10
    for metadata in found:
        notes = metadata["annotations"]
        assert set(notes["helm.sh/hook"].split(",")) == when[metadata["name"]]
        assert set(notes["helm.sh/hook-delete-policy"].split(",")) == {"before-hook-creation", "hook-succeeded"}


def test_who_uninstalls_may_take_one_daemon_set_away_and_see_its_pods():
    assert render({"workloadName": "other"}).one("Role", "other-uninstall")["rules"] == [
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": ["other"], "verbs": ["get", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]


def test_the_uninstall_waits_longer_than_a_pod_may_take_and_not_for_ever():
    rendered = render({"drainTimeout": "1m", "preStopSleepSeconds": 3})
    job = rendered.one("Job", UNINSTALL)["spec"]
    (container,) = job["template"]["spec"]["containers"]
    grace = rendered.pod["terminationGracePeriodSeconds"]
    assert container["args"] == [
        *("uninstall", "--namespace", "catalyst-system", "--daemonset", "k8s-ws-proxy"),
        *("--timeout", f"{grace + 60}s", "--go-on"),
    ]
    assert job["activeDeadlineSeconds"] == grace + 180


def test_the_hook_may_be_switched_off():
    assert not [each for each in render({"uninstallHook": False}).objects if each["metadata"]["name"] == UNINSTALL]


def test_all_that_the_job_refers_to_is_a_hook_too():
    rendered = render()
    made = {
        (found["kind"], found["metadata"]["name"]) for found in rendered.objects if found["kind"] in hooks(rendered)
    }
    assert ("ServiceAccount", rendered.one("Job", BOOTSTRAP)["spec"]["template"]["spec"]["serviceAccountName"]) in made
    assert "volumes" not in rendered.pods[f"Job {BOOTSTRAP}"]


def test_no_object_holds_the_secret_so_an_upgrade_keeps_it():
    assert render(EVERYTHING).every("Secret") == []


def test_the_job_s_account_is_bound_to_the_job_s_role():
    binding = render().one("RoleBinding", BOOTSTRAP)
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": BOOTSTRAP}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": BOOTSTRAP, "namespace": "catalyst-system"}]


def test_the_rights_to_rotate_are_off_unless_asked_for():
    assert not [found for found in render().objects if found["metadata"]["name"] == ROTATION]


def test_the_rights_to_rotate_are_those_and_no_more():
    role = render({"rotation": {"rbac": {"create": True}}, "hmacSecret": {"name": "theirs"}}).one("Role", ROTATION)
    assert granted(role) == {
        ("secrets", "get"),
        ("secrets", "patch"),
        ("daemonsets", "get"),
        ("pods", "list"),
        ("pods", "patch"),
        ("pods/proxy", "get"),
    }
    names = {resource: rule.get("resourceNames") for rule in role["rules"] for resource in rule["resources"]}
    assert names == {"secrets": ["theirs"], "daemonsets": ["k8s-ws-proxy"], "pods": None, "pods/proxy": None}


def test_the_rights_to_rotate_are_those_that_the_documents_tell():
    text = (CHART.parent / "docs" / "operations.md").read_text("utf-8")
    (told,) = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(rules:.*?)```", text, re.DOTALL))
    assert told["rules"] == render({"rotation": {"rbac": {"create": True}}}).one("Role", ROTATION)["rules"]


def test_people_may_be_given_the_rights_to_rotate():
    jane = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    binding = render({"rotation": {"rbac": {"create": True, "subjects": [jane]}}}).one("RoleBinding", ROTATION)
    assert binding["roleRef"]["name"] == ROTATION
    assert binding["subjects"][1:] == [jane]


def test_every_pod_meets_the_restricted_standard():
    for name, pod in render(EVERYTHING).pods.items():
        assert violations(pod) == [], name


BROKEN = [
    ("Host Namespaces", {"hostPID": True}),
    ("HostPath Volumes", {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}),
    ("Volume Types", {"volumes": [{"name": "a", "nfs": {}}]}),
    ("Sysctls", {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
    ("HostProcess", {"securityContext": {"windowsOptions": {"hostProcess": True}}}),
    ("Running as Non-root", {"securityContext": {"runAsNonRoot": False}}),
    ("Running as Non-root user", {"securityContext": {"runAsUser": 0}}),
    ("Seccomp", {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
    ("SELinux", {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
    ("AppArmor", {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
]
BROKEN_CONTAINER = [
    ("Privileged Containers", {"securityContext": {"privileged": True}}),
    ("Capabilities", {"securityContext": {"capabilities": {"drop": []}}}),
    ("Capabilities", {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}}),
    ("Host Ports", {"ports": [{"containerPort": 1, "hostPort": 1}]}),
    ("/proc Mount Type", {"securityContext": {"procMount": "Unmasked"}}),
    ("Privilege Escalation", {"securityContext": {"allowPrivilegeEscalation": True}}),
    ("Host Probes / Lifecycle Hooks", {"livenessProbe": {"httpGet": {"host": "192.0.2.1"}}}),
]


@pytest.mark.parametrize(("control", "change"), BROKEN)
def test_a_pod_that_breaks_a_control_is_seen(control, change):
    pod = render().pod
    context = {**pod["securityContext"], **change.get("securityContext", {})}
    assert control in violations({**pod, **change, "securityContext": context})


@pytest.mark.parametrize(("control", "change"), BROKEN_CONTAINER)
def test_a_container_that_breaks_a_control_is_seen(control, change):
    rendered = render()
    context = {**rendered.proxy["securityContext"], **change.get("securityContext", {})}
    container = {**rendered.proxy, **change, "securityContext": context}
    assert violations({**rendered.pod, "containers": [container]}) == [control]
