"""Recordings: a volume where they are asked for and nowhere else, and the way to the store."""

from __future__ import annotations

import pytest
from support.chart import HelmError, merged, notes, render, values_at
from support.pod_security import violations

from k8s_ws_proxy import settings

ON = {"recording": {"record": "terminals"}}
STORE = merged(ON, {"recording": {"store": {"url": "s3://bucket/prefix", "existingSecret": "theirs"}}})
DIRECTORY = "/var/lib/k8s-ws-proxy-recordings"


def mounts(rendered):
    return {mount["name"]: mount for mount in rendered.proxy["volumeMounts"]}


def volumes(rendered):
    return {volume["name"]: volume for volume in rendered.pod["volumes"]}


@pytest.mark.parametrize("off", ["off", False])
def test_off_mounts_nothing_and_says_nothing(off):
    rendered = render({"recording": {"record": off, "volume": {"existingClaim": "theirs"}}})
    assert volumes(rendered).keys() == mounts(rendered).keys() == {"keys", "state"}
    assert not [name for name in rendered.environ if name.startswith("RECORD")]
    assert rendered.objects == render().objects


def test_on_request_only():
    environ = render({"recording": {"record": "requested"}}).environ
    assert environ["RECORD"] == "off"
    assert environ["RECORDING_DIR"] == DIRECTORY


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({}, {"emptyDir": {"sizeLimit": "2Gi"}}),
        ({"sizeLimit": 10_000_000_000}, {"emptyDir": {"sizeLimit": "10000000000"}}),
        ({"hostPath": "/var/lib/recordings"}, {"hostPath": {"path": "/var/lib/recordings", "type": "Directory"}}),
        ({"existingClaim": "theirs"}, {"persistentVolumeClaim": {"claimName": "theirs"}}),
    ],
)
def test_where_they_are(volume, expected):
    rendered = render(merged(ON, {"recording": {"volume": volume}}))
    assert volumes(rendered)["recordings"] == {"name": "recordings", **expected}
    mount = mounts(rendered)["recordings"]
    assert mount == {"name": "recordings", "mountPath": rendered.environ["RECORDING_DIR"]}
    assert rendered.proxy["securityContext"]["readOnlyRootFilesystem"]
    assert rendered.pod["securityContext"]["fsGroup"] == rendered.pod["securityContext"]["runAsUser"] == 65534


@pytest.mark.parametrize(("volume", "fits"), [({}, True), ({"existingClaim": "x"}, True), ({"hostPath": "/x"}, False)])
def test_what_the_restricted_standard_says_of_it(volume, fits):
    rendered = render(merged(STORE, {"recording": {"volume": volume}}))
    assert (list(violations(rendered.pod)) == []) == fits


def test_the_credentials_are_mounted_and_in_no_variable():
    rendered = render(STORE)
    assert volumes(rendered)["store"] == {"name": "store", "secret": {"secretName": "theirs", "defaultMode": 0o440}}
    mount = mounts(rendered)["store"]
    assert mount["readOnly"]
    assert rendered.environ["RECORDING_STORE_CREDENTIALS_DIR"] == mount["mountPath"]
    assert not any("secretKeyRef" in str(entry) for entry in rendered.proxy["env"])


def test_a_secret_s_entries_may_have_other_names():
    keys = {"AWS_ACCESS_KEY_ID": "accesskey", "AWS_SECRET_ACCESS_KEY": "secretkey"}
    rendered = render(merged(STORE, {"recording": {"store": {"secretKeys": keys}}}))
    assert volumes(rendered)["store"]["secret"]["items"] == [
        {"key": entry, "path": variable} for variable, entry in sorted(keys.items())
    ]


def test_without_a_secret_nothing_is_mounted_for_it():
    rendered = render(merged(STORE, {"recording": {"store": {"existingSecret": ""}}}))
    assert "store" not in volumes(rendered)
    assert "RECORDING_STORE_CREDENTIALS_DIR" not in rendered.environ
    assert settings.parse(rendered.environ)[1] == []


def test_a_private_ca():
    rendered = render(merged(STORE, {"recording": {"store": {"caConfigMap": "theirs"}}}))
    assert volumes(rendered)["store-ca"]["configMap"] == {"name": "theirs", "defaultMode": 0o440}
    mount = mounts(rendered)["store-ca"]
    assert mount["readOnly"]
    assert rendered.environ["RECORDING_STORE_CA_FILE"] == f"{mount['mountPath']}/ca.crt"


@pytest.mark.parametrize("over", [ON, STORE])
def test_the_last_recordings_have_their_time(over):
    assert render(over).pod["terminationGracePeriodSeconds"] == render().pod["terminationGracePeriodSeconds"] + 10


def way_out(over):
    rules = render(over).one("NetworkPolicy")["spec"]["egress"]
    assert rules[:2] == render().one("NetworkPolicy")["spec"]["egress"]
    return rules[2:]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("", 443),
        ("https://minio.example", 443),
        ("http://minio", 80),
        ("https://minio.example:9000", 9000),
        ("https://minio.example:9000/path:7", 9000),
        ("http://[::1]:9000", 9000),
        ("https://[::1]", 443),
    ],
)
def test_the_way_to_the_store_is_open(endpoint, port):
    over = merged(STORE, {"recording": {"store": {"endpoint": endpoint}}})
    assert way_out(over) == [{"ports": [{"port": port, "protocol": "TCP"}]}]


def test_where_the_store_is_may_be_said():
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "minio"}}}]
    over = merged(STORE, {"networkPolicy": {"store": {"ports": [9000, 80], "to": peers}}})
    assert way_out(over) == [
        {"ports": [{"port": 9000, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}], "to": peers}
    ]


def test_without_a_store_no_way_is_open():
    assert way_out(ON) == []


def test_the_hooks_have_no_way_to_the_store():
    policies = {found["metadata"]["name"]: found["spec"]["egress"] for found in render(STORE).every("NetworkPolicy")}
    assert {name: len(egress) for name, egress in policies.items() if name != "k8s-ws-proxy"} == {
        "k8s-ws-proxy-hmac-bootstrap": 2,
        "k8s-ws-proxy-uninstall": 2,
    }


@pytest.mark.parametrize(
    ("over", "told"),
    [
        (
            {"recording": {"volume": {"hostPath": "/a", "existingClaim": "b"}}},
            "hostPath and existingClaim are two places",
        ),
        (
            {"recording": {"store": {"secretKeys": {"AWS_REGION": "x"}}}},
            "secretKeys needs recording.store.existingSecret",
        ),
        ({"recording": {"store": {"url": "s3://x"}}}, "recording.store.url is given, and recording.record is off"),
        (merged(ON, {"recording": {"store": {"url": "gs://x", "region": "x"}}}), "endpoint and .region are for s3://"),
        (merged(ON, {"recording": {"store": {"endpoint": "https://x"}}}), "endpoint and .region are for s3://"),
    ],
)
def test_what_does_not_go_together_is_refused(over, told):
    with pytest.raises(HelmError, match=told):
        render(over)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("record", "some"),
        ("record", True),
        ("recordInput", "yes"),
        ("notice", "two\nlines"),
        ("notice", "x" * 201),
        ("notice", "$(NODE_NAME)"),
        ("minFree", "256 MB"),
        ("minFree", -1),
        ("maxAge", "30d"),
        ("maxBytes", "10X"),
        ("keep", 3600),
        ("volume.sizeLimit", ""),
        ("volume.hostPath", "var/lib"),
        ("volume.hostPath", "/"),
        ("volume.hostPath", "/var/lib/../../etc"),
        ("volume.existingClaim", "Theirs"),
        ("volume.nfs", {}),
        ("store.url", "https://bucket.example"),
        ("store.url", "s3://user:password@bucket"),
        ("store.url", "s3://bucket?region=x"),
        ("store.url", "s3://"),
        ("store.url", "file:///var/lib"),
        ("store.endpoint", "minio:9000"),
        ("store.endpoint", "https://user:password@minio"),
        ("store.region", "eu central"),
        ("store.existingSecret", "Theirs"),
        ("store.secretKeys", {"accesskey": "AWS_ACCESS_KEY_ID"}),
        ("store.secretKeys", {"AWS_REGION": "a/b"}),
        ("store.caConfigMap", "Theirs"),
        ("store.caKey", "../x"),
    ],
)
def test_what_no_template_could_take_is_refused(path, value):
    with pytest.raises(HelmError, match="schema"):
        render(merged(STORE, values_at(f"recording.{path}", value)))


def test_the_notes_say_what_becomes_of_an_empty_dir():
    assert "recording.volume" not in notes({})
    assert "goes with its pod" in notes(ON)
    assert "goes with its pod" not in notes(merged(ON, {"recording": {"volume": {"existingClaim": "x"}}}))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_notes_warn_of_a_store_in_the_clear(scheme):
    over = merged(STORE, {"recording": {"store": {"endpoint": f"{scheme}://minio"}}})
    assert ("in the clear" in notes(over)) == (scheme == "http")
