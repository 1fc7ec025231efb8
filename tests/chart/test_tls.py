"""TLS: complete or wholly absent, and one identity for both ends."""

from __future__ import annotations

import pytest
from support.chart import CERT_MANAGER, merged, render

ON = {"tls": {"enabled": True}}


def certificate(rendered, which):
    return rendered.one("Certificate", f"k8s-ws-proxy-{which}")["spec"]


def traces(rendered):
    """How much of TLS stands in each place that it has."""
    return {
        "objects": len(rendered.every("Certificate")) + len(rendered.every("Issuer")),
        "environment": sum(name.startswith(("TLS_", "CLIENT_CERT", "GUACD")) for name in rendered.environ),
        "volumes": sum(volume["name"] == "tls" for volume in rendered.pod["volumes"]),
        "mounts": sum(mount["name"] == "tls" for mount in rendered.proxy["volumeMounts"]),
        "container ports": sum(port["containerPort"] == 8443 for port in rendered.proxy["ports"]),
        "service ports": sum(port["port"] == 8443 for port in rendered.one("Service")["spec"]["ports"]),
        "policy": sum(
            port["port"] == 8443
            for rule in rendered.one("NetworkPolicy")["spec"]["ingress"]
            for port in rule.get("ports", [])
        ),
    }


def test_on_it_is_complete():
    assert traces(render(ON)) == {
        "objects": 5,
        "environment": 6,
        "volumes": 1,
        "mounts": 1,
        "container ports": 1,
        "service ports": 1,
        "policy": 1,
    }


@pytest.mark.parametrize(
    ("over", "apis"),
    [({}, (CERT_MANAGER,)), (ON, ()), (ON, ("cert-manager.io/v1alpha2",))],
    ids=["off", "no cert-manager", "another cert-manager"],
)
def test_else_nothing_of_it_is_there(over, apis):
    over = merged(over, {"tls": {"reflectClientCertTo": ["guacamole"]}})
    rendered = render(over, apis=apis)
    assert not any(traces(rendered).values())
    assert rendered.objects == render(apis=()).objects, "and all else is as without it"


def test_the_chain_goes_from_the_self_signed_issuer_to_both_leaves():
    rendered = render(ON)
    assert rendered.one("Issuer", "k8s-ws-proxy-selfsigned")["spec"] == {"selfSigned": {}}
    ca = certificate(rendered, "ca")
    assert ca["isCA"] is True
    assert ca["issuerRef"] == {"group": "cert-manager.io", "kind": "Issuer", "name": "k8s-ws-proxy-selfsigned"}
    assert rendered.one("Issuer", "k8s-ws-proxy-ca-issuer")["spec"] == {"ca": {"secretName": ca["secretName"]}}
    for leaf, usage in (("server-tls", "server auth"), ("client-tls", "client auth")):
        spec = certificate(rendered, leaf)
        assert spec["issuerRef"] == {"group": "cert-manager.io", "kind": "Issuer", "name": "k8s-ws-proxy-ca-issuer"}
        assert spec["usages"] == ["digital signature", usage]
        assert not spec.get("isCA")


def test_a_renewed_ca_keeps_its_key():
    # Else every leaf would be from an unknown CA on the day that it is renewed.
    assert certificate(render(ON), "ca")["privateKey"]["rotationPolicy"] == "Never"


def test_the_proxy_reads_what_cert_manager_writes():
    rendered = render(ON)
    (volume,) = (volume for volume in rendered.pod["volumes"] if volume["name"] == "tls")
    (mount,) = (mount for mount in rendered.proxy["volumeMounts"] if mount["name"] == "tls")
    assert volume["secret"]["secretName"] == certificate(rendered, "server-tls")["secretName"]
    assert [rendered.environ[name] for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE")] == [
        f"{mount['mountPath']}/{entry}" for entry in ("tls.crt", "tls.key", "ca.crt")
    ]


@pytest.mark.parametrize("subject", ["guacd", "guacd.example.com", "a" * 63])
def test_the_identity_issued_is_the_identity_accepted(subject):
    rendered = render(merged(ON, {"tls": {"clientSubject": subject}}))
    issued = certificate(rendered, "client-tls")
    assert issued["commonName"] == subject
    assert issued["dnsNames"] == [subject]
    assert rendered.environ["CLIENT_CERT_ALLOWED_SUBJECTS"] == subject
    assert rendered.environ["GUACD_SUBJECTS"] == subject


def test_more_subjects_may_be_let_in_and_only_the_first_is_guacd():
    rendered = render(merged(ON, {"tls": {"extraClientSubjects": ["jane", "joe"]}}))
    assert rendered.environ["CLIENT_CERT_ALLOWED_SUBJECTS"] == "guacd,jane,joe"
    assert rendered.environ["GUACD_SUBJECTS"] == "guacd"


@pytest.mark.parametrize(
    ("named", "told"), [(["jane"], "jane"), ([], ""), (["jane", "guacd"], "jane,guacd"), (["joe"], "joe")]
)
def test_who_is_guacd_may_be_said(named, told):
    rendered = render(merged(ON, {"tls": {"extraClientSubjects": ["jane"]}, "guacdSubjects": named}))
    assert rendered.environ["GUACD_SUBJECTS"] == told


def test_the_server_is_known_by_every_name_that_the_service_has():
    rendered = render(merged(ON, {"workloadName": "proxy"}), namespace="there")
    assert rendered.one("Certificate", "proxy-server-tls")["spec"]["dnsNames"] == [
        "proxy",
        "proxy.there",
        "proxy.there.svc",
        "proxy.there.svc.cluster.local",
    ]


def test_more_names_and_addresses_are_told_apart():
    names = ["proxy.example.com", "192.0.2.7", "2001:db8::7", "10.example.com", "*.example.com", "::1"]
    spec = certificate(render(merged(ON, {"tls": {"extraServerNames": names}})), "server-tls")
    assert spec["dnsNames"][4:] == ["proxy.example.com", "10.example.com", "*.example.com"]
    assert spec["ipAddresses"] == ["192.0.2.7", "2001:db8::7", "::1"]


def test_each_certificate_lives_as_long_as_the_values_say():
    lives = {"duration": "48h", "renewBefore": "12h", "caDuration": "1000h", "caRenewBefore": "100h"}
    rendered = render(merged(ON, {"tls": lives}))
    for which, life in (("ca", ("1000h", "100h")), ("server-tls", ("48h", "12h")), ("client-tls", ("48h", "12h"))):
        spec = certificate(rendered, which)
        assert (spec["duration"], spec["renewBefore"]) == life


def test_the_client_certificate_is_reflected_to_those_who_need_it():
    reflected = certificate(render(merged(ON, {"tls": {"reflectClientCertTo": ["guacamole", "other"]}})), "client-tls")
    prefix = "reflector.v1.k8s.emberstack.com"
    assert reflected["secretTemplate"]["annotations"] == {
        f"{prefix}/reflection-allowed": "true",
        f"{prefix}/reflection-allowed-namespaces": "guacamole,other",
        f"{prefix}/reflection-auto-enabled": "true",
        f"{prefix}/reflection-auto-namespaces": "guacamole,other",
    }
    rendered = render(ON)
    assert not any("secretTemplate" in found["spec"] for found in rendered.every("Certificate"))


def test_only_the_client_certificate_is_reflected():
    rendered = render(merged(ON, {"tls": {"reflectClientCertTo": ["guacamole"]}}))
    assert [
        found["metadata"]["name"] for found in rendered.every("Certificate") if "secretTemplate" in found["spec"]
    ] == ["k8s-ws-proxy-client-tls"]


def test_the_tls_port_is_one_port_everywhere():
    rendered = render(merged(ON, {"tls": {"port": 9443}}))
    assert rendered.environ["TLS_LISTEN_ADDR"] == ":9443"
    assert {"name": "https", "containerPort": 9443} in rendered.proxy["ports"]
    assert rendered.one("Service")["spec"]["ports"][1] == {
        "name": "https",
        "port": 9443,
        "targetPort": "https",
        "protocol": "TCP",
    }
