"""The audit trail in the chart: volumes and credentials only where they are asked for, and the way out to NATS."""

from __future__ import annotations

import pytest
from support.chart import merged, render

from k8s_ws_proxy.settings import parse

NATS = {"audit": {"nats": {"url": "nats://nats.nats:4222"}}}
FILE = {"audit": {"log": "file"}}


def volume(over, name):
    return next((each for each in render(over).pod["volumes"] if each["name"] == name), None)


def mount(over, name):
    return next((each for each in render(over).proxy["volumeMounts"] if each["name"] == name), None)


def test_there_is_no_volume_where_none_is_asked_for():
    assert volume({}, "audit") is None
    assert mount({}, "audit") is None
    assert volume({"audit": {"nats": {"credentialsSecret": "creds"}}}, "nats") is None


@pytest.mark.parametrize("over", [FILE, NATS], ids=["file", "nats"])
def test_a_volume_holds_the_file_and_the_buffer(over):
    assert volume(over, "audit") == {"name": "audit", "emptyDir": {"sizeLimit": "256Mi"}}
    assert mount(over, "audit") == {"name": "audit", "mountPath": "/var/lib/k8s-ws-proxy-audit"}
    environ = render(over).environ
    assert environ["AUDIT_DIR"] == "/var/lib/k8s-ws-proxy-audit/nats"
    assert environ["AUDIT_LOG"] in ("stderr", "/var/lib/k8s-ws-proxy-audit/audit.log")


MI = 2**20


@pytest.mark.parametrize(
    ("over", "limit", "expected"),
    [
        (FILE, "256Mi", 126 * MI),
        (FILE, "1Gi", 510 * MI),
        (FILE, "6Mi", 1 * MI),
        (FILE, "7Mi", 1.5 * MI),
        (merged(FILE, NATS), "256Mi", 94 * MI),
        (merged(FILE, NATS), "70Mi", 1 * MI),
        (NATS, "256Mi", 0),
    ],
)
def test_two_files_fit_into_the_emptydir_beside_what_waits_for_nats(over, limit, expected):
    """Else the kubelet would evict the pod, with all sessions and the trail."""
    environ = render(merged(over, {"audit": {"volume": {"sizeLimit": limit}}})).environ
    settings, mistakes = parse({**environ, "SHARED_SECRET_FILE": "/secret"})
    assert mistakes == []
    assert settings.audit.max_size == expected


def test_it_may_be_the_node_s_where_logrotate_bounds_it():
    over = merged(FILE, {"audit": {"volume": {"hostPath": "/var/log/audit"}}})
    assert volume(over, "audit") == {"name": "audit", "hostPath": {"path": "/var/log/audit", "type": "Directory"}}
    assert render(over).environ["AUDIT_LOG_MAX_SIZE"] == "0"


@pytest.mark.parametrize("over", [{}, NATS], ids=["off", "nats"])
def test_off_without_quotes_is_off(over):
    """`log: off` in a values file is YAML for false."""
    off, quoted = (render(merged(over, {"audit": {"log": value}})) for value in (False, "off"))
    assert off.environ["AUDIT_LOG"] == "off"
    assert off.objects == quoted.objects


def test_the_root_stays_read_only():
    assert render(merged(FILE, NATS)).proxy["securityContext"]["readOnlyRootFilesystem"] is True


def test_credentials_and_ca_come_from_secrets_by_their_entries():
    over = merged(NATS, {"audit": {"nats": {"credentialsSecret": "creds", "caSecret": "ca"}}})
    sources = volume(over, "nats")["projected"]["sources"]
    assert [(each["secret"]["name"], each["secret"]["items"][0]["path"]) for each in sources] == [
        ("creds", "nats.creds"),
        ("ca", "ca.crt"),
    ]
    environ, at = render(over).environ, mount(over, "nats")
    assert at["readOnly"]
    assert environ["AUDIT_NATS_CREDENTIALS"] == f"{at['mountPath']}/nats.creds"
    assert environ["AUDIT_NATS_CA_FILE"] == f"{at['mountPath']}/ca.crt"


def egress(over):
    return render(over).one("NetworkPolicy")["spec"]["egress"]


def test_the_way_out_to_nats_is_open_only_with_it():
    assert [rule for rule in egress(NATS) if rule not in egress({})] == [{"ports": [{"port": 4222, "protocol": "TCP"}]}]
    to = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nats"}}}]
    over = merged(NATS, {"networkPolicy": {"nats": {"ports": [4223], "to": to}}})
    assert egress(over)[-1] == {"ports": [{"port": 4223, "protocol": "TCP"}], "to": to}
    assert len(egress({"networkPolicy": {"nats": {"to": to}}})) == len(egress({}))
