from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import yaml
from support.chart import CERT_MANAGER, CHART, EVERYTHING, PROMETHEUS_OPERATOR, helm, render

BOOTSTRAP = "k8s-ws-proxy-hmac-bootstrap"
UNINSTALL = "k8s-ws-proxy-uninstall"


def chart():
    return yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))


def names(rendered):
    return sorted((found["kind"], found["metadata"]["name"]) for found in rendered.objects)


def everything_in(found):
    """Every mapping anywhere in an object."""
    if isinstance(found, dict):
        yield found
        found = list(found.values())
    if isinstance(found, list):
        for item in found:
            yield from everything_in(item)


def test_off_renders_nothing():
    assert render({**EVERYTHING, "enabled": False}).objects == []


def test_off_is_the_default():
    assert not any(yaml.safe_load_all(helm("template", "release", str(CHART))))


def test_the_chart_says_that_off_is_the_default():
    assert chart()["annotations"]["catalyst.openova.io/smoke-render-mode"] == "default-off"


def test_on_with_a_tag_is_all_that_is_needed():
    assert names(render()) == [
        ("ClusterRole", "k8s-ws-proxy"),
        ("ClusterRoleBinding", "k8s-ws-proxy"),
        ("DaemonSet", "k8s-ws-proxy"),
        ("Job", BOOTSTRAP),
        ("Job", UNINSTALL),
        ("NetworkPolicy", "k8s-ws-proxy"),
        ("NetworkPolicy", BOOTSTRAP),
        ("NetworkPolicy", UNINSTALL),
        ("Role", BOOTSTRAP),
        ("Role", UNINSTALL),
        ("RoleBinding", BOOTSTRAP),
        ("RoleBinding", UNINSTALL),
        ("Service", "k8s-ws-proxy"),
        ("ServiceAccount", "k8s-ws-proxy"),
        ("ServiceAccount", BOOTSTRAP),
        ("ServiceAccount", UNINSTALL),
    ]


def test_names_are_the_same_whatever_the_release_is_called():
    assert names(render(EVERYTHING, release="another")) == names(render(EVERYTHING))


def test_the_workload_s_name_names_everything():
    rendered = render({**EVERYTHING, "workloadName": "other"})
    assert names(rendered) == sorted(
        (kind, name.replace("k8s-ws-proxy", "other", 1)) for kind, name in names(render(EVERYTHING))
    )
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for binding in rendered.every(kind):
            referred = binding["roleRef"]
            assert (referred["kind"], referred["name"]) in names(rendered)
            for subject in binding["subjects"]:
                assert (subject["kind"], subject["name"]) in names(rendered)


def test_everything_stands_in_the_release_s_namespace():
    for found in render(EVERYTHING, namespace="elsewhere").objects:
        cluster_wide = found["kind"].startswith("Cluster")
        assert found["metadata"].get("namespace") == (None if cluster_wide else "elsewhere"), found["metadata"]["name"]
        for subject in found.get("subjects", []):
            assert subject["namespace"] == "elsewhere"


@pytest.mark.parametrize("over", [{}, EVERYTHING], ids=["plain", "everything"])
def test_no_node_port_and_nothing_of_the_host(over):
    for found in render(over).objects:
        for mapping in everything_in(found):
            assert not {"nodePort", "hostPort", "hostNetwork", "hostPath", "externalIPs"} & mapping.keys()


def test_the_service_stays_on_its_node():
    spec = render().one("Service")["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["internalTrafficPolicy"] == "Local"
    assert spec["ports"] == [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}]


def test_only_the_proxy_s_pods_are_selected():
    rendered = render(EVERYTHING)
    daemon_set = rendered.one("DaemonSet")
    labels = daemon_set["spec"]["template"]["metadata"]["labels"]
    others = rendered.one("Job", BOOTSTRAP)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        daemon_set["spec"]["selector"]["matchLabels"],
        rendered.one("Service")["spec"]["selector"],
        rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        rendered.one("PodMonitor")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
        assert not selector.items() <= others.items()
    assert rendered.one("NetworkPolicy", BOOTSTRAP)["spec"]["podSelector"]["matchLabels"] == others


def test_a_release_selects_only_its_own_pods():
    selector = render().one("Service")["spec"]["selector"]
    others = render(release="another").one("DaemonSet")["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= others.items()


def test_the_selector_never_changes():
    # A DaemonSet's can't: an upgrade from any 0.x would fail.
    assert render().one("DaemonSet")["spec"]["selector"] == {
        "matchLabels": {"app.kubernetes.io/name": "bp-k8s-ws-proxy", "app.kubernetes.io/instance": "release"}
    }


def test_a_new_chart_alone_rolls_no_pods():
    # With the same values, nothing in the pods tells versions of the chart, or hashes of anything.
    metadata = render().one("DaemonSet")["spec"]["template"]["metadata"]
    assert metadata == {"labels": render().one("Service")["spec"]["selector"]}


def test_the_whole_secret_is_mounted_so_that_it_is_read_again():
    rendered = render({"hmacSecret": {"name": "theirs"}})
    (volume,) = [volume for volume in rendered.pod["volumes"] if "secret" in volume]
    assert volume == {"name": "keys", "secret": {"secretName": "theirs", "defaultMode": 0o440}}
    (mount,) = [mount for mount in rendered.proxy["volumeMounts"] if mount["name"] == "keys"]
    assert mount == {"name": "keys", "mountPath": rendered.environ["SHARED_SECRET_DIR"], "readOnly": True}


def test_what_is_to_be_hung_up_outlives_the_container():
    rendered = render()
    (mount,) = [mount for mount in rendered.proxy["volumeMounts"] if mount["name"] == "state"]
    assert mount == {"name": "state", "mountPath": rendered.environ["STATE_DIR"]}
    assert {"name": "state", "emptyDir": {"sizeLimit": "16Mi"}} in rendered.pod["volumes"]


def test_nothing_is_mounted_by_sub_path():
    for found in render(EVERYTHING).objects:
        assert not any({"subPath", "subPathExpr"} & mapping.keys() for mapping in everything_in(found))


def test_the_group_that_may_read_the_secrets_is_the_pod_s():
    rendered = render(EVERYTHING)
    secrets = [volume for volume in rendered.pod["volumes"] if "secret" in volume]
    assert len(secrets) > 1
    for volume in secrets:
        mode = volume["secret"]["defaultMode"]
        assert mode & 0o040, "the group reads"
        assert not mode & 0o007, "nobody else does"
    assert rendered.pod["securityContext"]["fsGroup"] == rendered.pod["securityContext"]["runAsGroup"] == 65534


@pytest.mark.parametrize(
    ("drain", "seconds"), [("30s", 40), ("0s", 10), ("1m30s", 100), ("1.5s", 12), ("500ms", 11), ("1h", 3610)]
)
@pytest.mark.parametrize("sleep", [3, 0])
def test_the_grace_period_is_longer_than_the_drain_and_the_sleep_before_it(drain, seconds, sleep):
    values = {"drainTimeout": drain, "preStopSleepSeconds": sleep}
    assert render(values).pod["terminationGracePeriodSeconds"] == seconds + sleep


@pytest.mark.parametrize(
    ("values", "kubernetes", "lifecycle"),
    [
        ({}, "1.36", {"preStop": {"sleep": {"seconds": 3}}}),
        ({}, "1.30", {"preStop": {"sleep": {"seconds": 3}}}),
        ({"preStopSleepSeconds": 0}, "1.36", None),
    ],
)
def test_a_pod_goes_on_until_the_service_has_forgotten_it(values, kubernetes, lifecycle):
    (container,) = render(values, kubernetes=kubernetes).pod["containers"]
    assert container.get("lifecycle") == lifecycle


def test_an_upgrade_brings_the_new_pod_before_it_takes_the_old():
    strategy = render().one("DaemonSet")["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}


def test_the_probes_are_asked_on_the_operators_listener():
    rendered = render({"adminPort": 9999})
    ports = {port["name"]: port["containerPort"] for port in rendered.proxy["ports"]}
    assert ports == {"http": 8080, "admin": 9999}
    assert rendered.proxy["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    assert rendered.proxy["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert rendered.environ["WS_PROXY_ADMIN_ADDR"] == ":9999"


def test_the_operators_listener_is_not_on_the_service():
    (port,) = render({"adminPort": 9999}).one("Service")["spec"]["ports"]
    assert port["name"] == "http"


def test_the_node_s_name_comes_by_the_downward_api():
    (entry,) = (entry for entry in render().proxy["env"] if entry["name"] == "NODE_NAME")
    assert entry == {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}


def test_each_pod_gets_its_token_and_no_account_hands_it_out_by_itself():
    rendered = render(EVERYTHING)
    assert len(rendered.pods) == 3
    assert all(pod["automountServiceAccountToken"] for pod in rendered.pods.values())
    assert not any(account["automountServiceAccountToken"] for account in rendered.every("ServiceAccount"))


def test_no_service_looks_like_a_setting():
    assert all(pod["enableServiceLinks"] is False for pod in render(EVERYTHING).pods.values())


def test_every_pod_comes_with_what_the_cluster_needs_to_run_it():
    for pod in render(EVERYTHING).pods.values():
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["tolerations"] == [{"operator": "Exists"}]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
        (container,) = pod["containers"]
        assert container["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    assert render(EVERYTHING).pod["priorityClassName"] == "system-node-critical"


def test_an_account_that_is_there_is_used_and_not_made():
    rendered = render({"serviceAccount": {"create": False, "name": "theirs"}})
    assert [account["metadata"]["name"] for account in rendered.every("ServiceAccount")] == [BOOTSTRAP, UNINSTALL]
    assert rendered.pod["serviceAccountName"] == "theirs"
    (subject,) = rendered.one("ClusterRoleBinding")["subjects"]
    assert subject["name"] == "theirs"


def test_an_account_may_have_a_name_of_its_own():
    rendered = render({"serviceAccount": {"name": "mine"}})
    assert rendered.one("ServiceAccount", "mine")
    assert rendered.pod["serviceAccountName"] == "mine"


def test_custom_resources_are_left_out_where_nobody_knows_them():
    kinds = {found["kind"] for found in render(EVERYTHING, apis=()).objects}
    assert not kinds & {"PodMonitor", "PrometheusRule", "Certificate", "Issuer"}
    assert "ConfigMap" in kinds


def test_each_operator_is_looked_for_by_itself():
    kinds = {found["kind"] for found in render(EVERYTHING, apis=(PROMETHEUS_OPERATOR,)).objects}
    assert {"PodMonitor", "PrometheusRule"} <= kinds
    assert "Certificate" not in kinds
    kinds = {found["kind"] for found in render(EVERYTHING, apis=(CERT_MANAGER,)).objects}
    assert "Certificate" in kinds
    assert "PodMonitor" not in kinds


def test_lint_is_clean(tmp_path):
    values = tmp_path / "values.json"
    for over in ({"enabled": False}, {"enabled": True, "image": {"tag": "1"}}):
        values.write_text(json.dumps({"k8sWsProxy": over}), "utf-8")
        told = helm("lint", "--strict", str(CHART), "--values", str(values))
        assert "[WARNING]" not in told
        assert "[ERROR]" not in told


def test_what_is_packaged_is_the_chart_alone(tmp_path):
    helm("package", str(CHART), "--destination", str(tmp_path))
    (archive,) = tmp_path.iterdir()
    assert archive.name == f"bp-k8s-ws-proxy-{chart()['version']}.tgz"
    with tarfile.open(archive) as files:
        packed = {Path(name).relative_to("bp-k8s-ws-proxy").as_posix() for name in files.getnames()}
    assert {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", "files/dashboard.json"} <= packed
    assert not packed & {"readme.py", "README.md.in", "blueprint.yaml"}
