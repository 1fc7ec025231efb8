"""Every object against the schema of its kind: Kubernetes's own, and the operators' CRDs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.chart import CHART, EVERYTHING, HelmError, render

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version().removesuffix(".0")
CUSTOM = {"Certificate", "Issuer", "PodMonitor", "PrometheusRule"}
OTHERWISE = {
    "networkPolicy": {"namespaces": ["*"]},
    "rotation": {"rbac": {"create": True, "subjects": [{"kind": "Group", "name": "ops"}]}},
    "updateStrategy": {"type": "OnDelete", "rollingUpdate": None},
    "serviceAccount": {"create": False, "name": "theirs"},
    "allowedSubresources": ["log"],
    "allowedPorts": [8080, "8000-8999"],
}
# Names that YAML, unquoted, takes for something else.
TREACHEROUS = {
    "workloadName": "null",
    "hmacSecret": {"name": "0123", "key": "1e3"},
    "serviceAccount": {"name": "1e3"},
    "priorityClassName": "0x10",
    "image": {"tag": "1e3"},
    "tls": {"enabled": True, "clientSubject": "yes", "extraServerNames": ["1e3"], "reflectClientCertTo": ["0123"]},
    "allowedNamespaces": ["0123"],
    "podAliasLabel": "true",
    "networkPolicy": {"namespaces": ["1e3"], "pods": [{"namespace": "0123", "matchLabels": {"app": "on"}}]},
    "rotation": {"rbac": {"create": True}},
    "podMonitor": {"enabled": True, "labels": {"a": "1"}},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "podAnnotations": {"a": "true"},
}
CALLER = {"identity": {"mode": "caller"}, "podAliasLabel": "app"}
USER = {
    "identity": {"mode": "user", "userPrefix": "1:", "users": ["1:1"], "groups": ["1e3", "a b"]},
    "allowedNamespaces": ["0123"],
    "bindAllowedNamespacesOnly": True,
}
RECORDING = {
    "recording": {
        "record": "all",
        "maxBytes": 10_000_000_000,
        "volume": {"existingClaim": "0123"},
        "store": {
            "url": "s3://0123/1e3",
            "endpoint": "https://minio:9000",
            "region": "0123",
            "existingSecret": "1e3",
            "secretKeys": {"AWS_ACCESS_KEY_ID": "1e3", "AWS_SECRET_ACCESS_KEY": "on"},
            "caConfigMap": "0123",
            "caKey": "1e3",
        },
    },
    "networkPolicy": {"store": {"ports": [9000], "to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}},
}
ON_THE_NODE = {"recording": {"record": "requested", "volume": {"hostPath": "/0123"}}}
VALUES = {
    "recording": RECORDING,
    "on the node": ON_THE_NODE,
    "plain": {},
    "everything": EVERYTHING,
    "otherwise": OTHERWISE,
    "treacherous": TREACHEROUS,
    "caller": CALLER,
    "user": USER,
}


def custom(objects, expressions=()):
    """What the operators' schemas and Prometheus's grammar say is wrong."""
    here = Path(__file__).parent
    asked = json.dumps({"objects": objects, "expressions": list(expressions)})
    done = subprocess.run(["node", here / "custom.mjs"], input=asked, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_oldest_version_is_the_one_that_the_chart_names():
    named = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["kubeVersion"]
    assert named == f">={OLDEST}.0-0"


def test_an_older_cluster_is_refused():
    with pytest.raises(HelmError, match="incompatible with Kubernetes"):
        render(kubernetes="1.29")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("which", VALUES)
def test_kubernetes_takes_every_object(version, which):
    rendered = render(VALUES[which], kubernetes=version, namespace="0123", release="1e3")
    own = [found for found in rendered.objects if found["kind"] not in CUSTOM]
    assert len(own) >= 10
    for found in own:
        assert kubernetes_validate.validate(found, version, strict=True) == version


def test_a_field_that_kubernetes_does_not_have_is_seen():
    service = render().one("Service")
    wrong = {**service, "spec": {**service["spec"], "internalTraficPolicy": "Local"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@pytest.mark.parametrize("which", ["everything", "treacherous"])
def test_the_operators_take_every_object_and_prometheus_every_expression(which):
    rendered = render(VALUES[which], namespace="0123", release="1e3")
    objects = [found for found in rendered.objects if found["kind"] in CUSTOM]
    assert {found["kind"] for found in objects} == CUSTOM
    assert custom(objects, expressions(rendered)) == []


def expressions(rendered):
    groups = rendered.every("PrometheusRule")[0]["spec"]["groups"]
    yield from (rule["expr"] for group in groups for rule in group["rules"])
    dashboard = json.loads(next(iter(rendered.every("ConfigMap")[0]["data"].values())))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield re.sub(r"\$__rate_interval", "5m", target["expr"])


def test_cert_manager_takes_the_readme_s_example_and_its_issuer_is_ours():
    (example,) = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text("utf-8"), re.DOTALL)
    certificate = yaml.safe_load(example)
    assert custom([certificate]) == []
    assert render(EVERYTHING).one("Issuer", certificate["spec"]["issuerRef"]["name"])
    assert render({"tls": {"enabled": True, "extraClientSubjects": [certificate["spec"]["commonName"]]}})


def test_what_the_operators_would_refuse_is_seen():
    certificate = render(EVERYTHING).one("Certificate", "k8s-ws-proxy-ca")
    wrong = {**certificate, "spec": {**certificate["spec"], "usages": ["signing of anything"]}}
    assert len(custom([wrong], ["rate(a[5m]", "up"])) == 2
