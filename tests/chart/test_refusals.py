"""Values that can't work are refused before anything is installed, and the text says which and why."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace

import kubernetes_validate
import pytest
import yaml
from support.chart import CERT_MANAGER, CHART, HelmError, helm, merged, render, values_at

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD

TLS = {"tls": {"enabled": True}}


def refusal(over, **how):
    with pytest.raises(HelmError) as refused:
        render(over, **how)
    return str(refused.value)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"image": {"tag": ""}}, "image.tag is empty: name the image to run"),
        (
            {"image": {"repository": "openova-io/k8s-ws-proxy"}},
            "image.repository names no registry: write REGISTRY/open",
        ),
        ({"hmacSecret": {"name": ""}}, "hmacSecret.name is empty: name the Secret"),
        ({"hmacSecret": {"key": ""}}, "hmacSecret.key is empty: name the Secret's entry"),
        (merged(TLS, {"tls": {"clientSubject": ""}}), "tls.clientSubject is empty: name the subject"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is empty: with serviceAccount.create=false"),
        ({"bindAllowedNamespacesOnly": True}, "bindAllowedNamespacesOnly needs allowedNamespaces"),
        ({"port": 9090}, "port, adminPort and tls.port must differ"),
        (merged(TLS, {"tls": {"port": 8080}}), "port, adminPort and tls.port must differ"),
        ({"wsPingPeriod": "99ms"}, "wsPingPeriod must be at least 100ms"),
        ({"wsHandshakeTimeout": "0s"}, "wsHandshakeTimeout must be at least 100ms"),
        (merged(TLS, {"tls": {"renewBefore": "2160h"}}), "tls.renewBefore must be shorter than tls.duration"),
        (merged(TLS, {"tls": {"caRenewBefore": "43800h"}}), "tls.caRenewBefore must be shorter than tls.caDuration"),
        (merged(TLS, {"tls": {"caRenewBefore": "129599m"}}), "tls.caRenewBefore must be at least tls.duration"),
        ({"allowedPorts": [80, "90-80"]}, "allowedPorts has 90-80, which is no range of ports"),
        ({"allowedPorts": ["80-65536"]}, "allowedPorts has 80-65536, which is no range of ports"),
        ({"audit": {"log": "off", "required": True}}, "audit.required wants audit.log or audit.nats.url"),
        ({"audit": {"log": False, "required": True}}, "audit.required wants audit.log or audit.nats.url"),
        (
            {"audit": {"nats": {"url": "nats://nats:4222", "maxBuffer": "253Mi"}}},
            "audit.volume.sizeLimit must be at least 257Mi, so that the trail with audit.nats.maxBuffer fits",
        ),
        (
            {"audit": {"nats": {"url": "nats://nats:4222", "maxBuffer": "1Gi"}, "volume": {"sizeLimit": "1024Mi"}}},
            "audit.volume.sizeLimit must be at least 1028Mi, so that the trail with audit.nats.maxBuffer fits",
        ),
        (
            {"audit": {"log": "file", "volume": {"sizeLimit": "5Mi"}}},
            "audit.volume.sizeLimit must be at least 6Mi, so that the trail fits",
        ),
        (
            {"audit": {"log": "file", "nats": {"url": "nats://nats:4222"}, "volume": {"sizeLimit": "69Mi"}}},
            "audit.volume.sizeLimit must be at least 70Mi",
        ),
        ({"allowedPorts": ["65536"]}, "allowedPorts has 65536, which is no range of ports"),
    ],
)
def test_what_only_the_templates_can_see_is_refused(over, told):
    assert told in refusal(over)


@pytest.mark.parametrize(
    ("over", "limit"),
    [({"nats": {"maxBuffer": "252Mi"}}, "256Mi"), ({"nats": {"maxBuffer": "1Gi"}}, "2Gi"), ({}, "68Mi")],
)
def test_what_nats_may_leave_waiting_fits_into_the_emptydir(over, limit):
    audit = merged({"nats": {"url": "nats://nats:4222"}, "volume": {"sizeLimit": limit}}, over)
    assert {"name": "audit", "emptyDir": {"sizeLimit": limit}} in render({"audit": audit}).pod["volumes"]


def test_the_node_s_disk_has_no_limit_that_it_must_fit_into():
    audit = {"nats": {"url": "nats://nats:4222", "maxBuffer": "1Gi"}, "volume": {"hostPath": "/var/log/audit"}}
    assert render({"audit": audit}).environ["AUDIT_MAX_BUFFER"] == "1Gi"


def test_all_mistakes_are_told_at_once():
    text = refusal({"image": {"tag": ""}, "hmacSecret": {"name": ""}, "port": 9090})
    assert text.count("\n  - ") == 3


def test_an_empty_subject_is_refused_even_where_cert_manager_is_missing():
    over = merged(TLS, {"tls": {"clientSubject": ""}})
    assert refusal(over, apis=()).count("\n  - ") == refusal(over, apis=(CERT_MANAGER,)).count("\n  - ") == 1


def test_nothing_is_refused_while_it_is_off():
    over = {
        "enabled": False,
        "image": {"tag": ""},
        "hmacSecret": {"name": ""},
        "tls": {"enabled": True, "clientSubject": ""},
    }
    assert render(over).objects == []


def test_a_digest_stands_in_for_a_tag():
    assert render({"image": {"tag": "", "digest": f"sha256:{'a' * 64}"}}).objects


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("enbled", True, "additional properties 'enbled' not allowed"),
        ("tls.enbled", True, "additional properties 'enbled' not allowed"),
        ("enabled", "yes", "got string, want boolean"),
        ("workloadName", "Proxy", "does not match pattern"),
        ("workloadName", "", "does not match pattern"),
        ("workloadName", "a" * 46, "maxLength: got 46, want 45"),
        ("image.tag", 1234567, "got number, want string"),
        ("image.tag", "a/b", "does not match pattern"),
        ("image.digest", "sha256:abc", "does not match pattern"),
        ("image.repository", "example.com/proxy:1", "does not match pattern"),
        ("image.repository", "example.com/proxy@sha256", "does not match pattern"),
        ("image.repository", "https://example.com/proxy", "does not match pattern"),
        ("image.pullPolicy", "Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("imagePullSecrets", ["pull"], "got string, want object"),
        ("port", "8080", "got string, want integer"),
        ("port", 0, "minimum: got 0, want 1"),
        ("adminPort", 65536, "maximum: got 65,536, want 65,535"),
        ("hmacSecret.name", "Not_a_name", "does not match pattern"),
        ("hmacSecret.key", "a b", "does not match pattern"),
        ("hmacSkewSeconds", -1, "minimum: got -1, want 0"),
        ("hmacSkewSeconds", 1.5, "got number, want integer"),
        ("signatures.accepted", "v1,v2", "got string, want array"),
        ("signatures.accepted", [], "minItems: got 0, want 1"),
        ("signatures.accepted", ["v3"], "value must be one of 'v1', 'v2'"),
        ("signatures.maxAge", 0, "minimum: got 0, want 1"),
        ("signatures.maxAge", 3601, "maximum: got 3,601, want 3,600"),
        ("signatures.maxAge", "60s", "got string, want integer"),
        ("identity.enbled", True, "additional properties 'enbled' not allowed"),
        ("identity.mode", "users", "value must be one of 'proxy', 'caller', 'user'"),
        ("identity.userPrefix", "a b", "does not match pattern"),
        ("identity.userPrefix", "$(NODE_NAME)", "does not match pattern"),
        ("identity.groupPrefix", "a" * 254, "maxLength: got 254, want 253"),
        ("identity.users", "jane", "got string, want array"),
        ("identity.users", ["a b"], "does not match pattern"),
        ("identity.users", [""], "does not match pattern"),
        ("identity.users", ["a", "a"], "items at 0 and 1 are equal"),
        ("identity.groups", [" a"], "does not match pattern"),
        ("identity.groups", ["\u00e9"], "does not match pattern"),
        ("identity.constrained", "true", "value must be one of true, false, <nil>, ''"),
        ("maxSessionsPerUser", -1, "minimum: got -1, want 0"),
        ("allowedNamespaces", "team", "got string, want array"),
        ("allowedNamespaces", ["a,b"], "does not match pattern"),
        ("allowedSubresources", [], "minItems: got 0, want 1"),
        ("allowedSubresources", ["logs"], "value must be one of 'exec', 'attach', 'log', 'portforward'"),
        ("allowedPorts", 80, "got number, want array"),
        ("allowedPorts", [0], "minimum: got 0, want 1"),
        ("allowedPorts", [65536], "maximum: got 65,536, want 65,535"),
        ("allowedPorts", ["http"], "does not match pattern"),
        ("allowedPorts", ["80,81"], "does not match pattern"),
        ("podAliasLabel", "a b!", "does not match pattern"),
        ("podAliasLabel", "a..b/c", "does not match pattern"),
        ("allowedNamespaces", [""], "does not match pattern"),
        ("allowedNamespaces", ["Team"], "does not match pattern"),
        ("logLevel", "verbose", "value must be one of 'debug', 'info', 'warn', 'error'"),
        ("maxSessions", 0, "minimum: got 0, want 1"),
        ("maxTickets", -1, "minimum: got -1, want 0"),
        ("allowedOrigins", "https://console.example", "got string, want array"),
        ("allowedOrigins", ["https://console.example/"], "does not match pattern"),
        ("allowedOrigins", ["https://Console.example"], "does not match pattern"),
        ("allowedOrigins", ["*"], "does not match pattern"),
        ("allowedOrigins", ["https://a,https://b"], "does not match pattern"),
        ("webTerminal.frameAncestors", ["*"], "does not match pattern"),
        ("webTerminal.frameAncestors", ["https://a; script-src *"], "does not match pattern"),
        ("webTerminal.frameAncestors", ["none"], "does not match pattern"),
        ("publicUrl", "node.example", "does not match pattern"),
        ("publicUrl", "wss://node.example?a=b", "does not match pattern"),
        ("publicUrl", "wss://$(NODE_NAME)", "does not match pattern"),
        ("audit.log", "/var/log/audit.log", "value must be one of 'off', false, 'stderr', 'file'"),
        ("audit.log", True, "value must be one of 'off', false, 'stderr', 'file'"),
        ("audit.volume.hostPath", "var", "does not match pattern"),
        ("audit.volume.sizeLimit", 256, "got number, want string"),
        ("audit.nats.url", "nats://me:secret@nats:4222", "does not match pattern"),
        ("audit.nats.url", "nats:4222", "does not match pattern"),
        ("audit.nats.subject", "audit.>", "does not match pattern"),
        ("audit.nats.subject", "audit.{user}", "does not match pattern"),
        ("audit.nats.credentialsSecret", "A", "does not match pattern"),
        ("audit.nats.maxBuffer", "64M", "does not match pattern"),
        ("networkPolicy.nats.ports", [], "minItems: got 0, want 1"),
        ("drainTimeout", "30", "does not match pattern"),
        ("drainTimeout", 30, "got number, want string"),
        ("drainTimeout", "-1s", "does not match pattern"),
        ("tls.clientSubject", "a,b", "does not match pattern"),
        ("tls.clientSubject", "a" * 65, "maxLength: got 65, want 64"),
        ("tls.reflectClientCertTo", ["a", "a"], "items at 0 and 1 are equal"),
        ("tls.extraServerNames", ["a b"], "does not match pattern"),
        ("networkPolicy.pods", [{"namespace": "a"}], "missing property 'matchLabels'"),
        ("networkPolicy.pods", [{"matchLabels": {}}], "minProperties: got 0, want 1"),
        ("networkPolicy.apiserver.ports", [], "minItems: got 0, want 1"),
        ("networkPolicy.apiserver.cidrs", ["192.0.2.1"], "does not match pattern"),
        ("nodeSelector", {"a": True}, "got boolean, want string"),
        ("podAnnotations", {"a": 1}, "got number, want string"),
        ("rotation.rbac.subjects", [{"kind": "Person", "name": "jane"}], "value must be one of 'User', 'Group'"),
        ("podMonitor.interval", "1.5m", "does not match pattern"),
    ],
)
def test_what_a_template_can_t_take_is_refused_by_the_schema(path, value, told):
    text = refusal(values_at(path, value))
    assert told in text
    assert f"/k8sWsProxy/{path.replace('.', '/').removesuffix('/enbled').removesuffix('enbled')}".rstrip("/") in text


@pytest.mark.parametrize(
    "path", ["tls", "hmacSecret", "image.tag", "networkPolicy.apiserver", "rotation.rbac", "identity", "identity.mode"]
)
def test_taking_away_what_the_templates_need_is_refused(path):
    # A null in an overlay is how helm takes a value away.
    assert f"missing property '{path.rpartition('.')[2]}'" in refusal(values_at(path, None))


@pytest.mark.parametrize(
    "path",
    [
        "containerSecurityContext",
        "guacdSubjects",
        "identity.constrained",
        "imagePullSecrets",
        "nodeSelector",
        "podAnnotations",
        "podSecurityContext.fsGroup",
        "podSecurityContext.runAsGroup",
        "podSecurityContext.runAsUser",
        "priorityClassName",
        "resources.limits",
        "tolerations",
        "updateStrategy",
    ],
)
def test_what_kubernetes_can_do_without_may_be_taken_away(path):
    for found in render(values_at(path, None)).objects:
        if found["apiVersion"].count(".") < 2:
            kubernetes_validate.validate(found, "1.36", strict=True)


@pytest.mark.parametrize(
    ("everywhere", "told"),
    [
        ({"global": {"imageRegistry": "https://example.com"}}, "does not match pattern"),
        ({"k8sWSProxy": {"enabled": True}}, "additional properties 'k8sWSProxy' not allowed"),
    ],
)
def test_beside_the_proxy_s_values_there_are_only_the_global_ones(everywhere, told):
    assert told in refusal({}, everywhere=everywhere)


def test_other_charts_may_have_global_values_too():
    assert render(everywhere={"global": {"sovereign": "example"}}).objects == render().objects


def test_it_works_below_an_umbrella_chart(tmp_path):
    shutil.copytree(CHART, tmp_path / "charts" / "bp-k8s-ws-proxy")
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: umbrella, version: 0.0.0}", "utf-8")
    values = {
        "global": {"imageRegistry": "mirror.example.com", "sovereign": "example"},
        "bp-k8s-ws-proxy": {"k8sWsProxy": {"enabled": True, "image": {"tag": "1.2.3"}}},
    }
    told = helm("template", "release", str(tmp_path), "--namespace", "catalyst-system", "-f-", stdin=json.dumps(values))
    alone = render(everywhere={"global": {"imageRegistry": "mirror.example.com"}})

    def named(objects):
        return {(found["kind"], found["metadata"]["name"]): found for found in objects if found}

    assert named(yaml.safe_load_all(told)) == named(alone.objects)


@pytest.fixture
async def cluster():
    """With the namespace that every cluster has."""
    namespaces = (*DEFAULT_WORLD.namespaces, "kube-system")
    async with DevCluster(replace(DEFAULT_WORLD, namespaces=namespaces)) as running:
        yield running


@pytest.mark.parametrize("missing", ["nope", ""])
async def test_a_namespace_that_is_not_there_is_refused_where_a_cluster_can_be_asked(cluster, tmp_path, missing):
    allowed = ["default", *([missing] if missing else [])]
    values = {"enabled": True, "image": {"tag": "1"}, "bindAllowedNamespacesOnly": True, "allowedNamespaces": allowed}
    (tmp_path / "values.json").write_text(json.dumps({"k8sWsProxy": values}))
    files = ["--values", str(tmp_path / "values.json"), "--kubeconfig", str(cluster.write_kubeconfig(tmp_path / "it"))]
    with pytest.raises(HelmError) as refused:  # what is rendered has kinds that the embedded cluster hasn't
        await asyncio.to_thread(helm, "template", "it", str(CHART), "--dry-run=server", *files)
    told = "there is no namespace nope; make it, or take it out of allowedNamespaces"
    assert (told in str(refused.value)) == bool(missing)
    assert ("unable to build kubernetes objects" in str(refused.value)) == (not missing)
