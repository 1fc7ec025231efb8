"""Who may call, who may ask what only operators ask, and where the proxy may go."""

from __future__ import annotations

import pytest
from support.chart import merged, render

TLS = {"tls": {"enabled": True}}


def policy(over=None, **how):
    return render({"networkPolicy": over or {}}, **how).one("NetworkPolicy")["spec"]


def sources(spec, port):
    """Who may reach a port: a list of peers, or None for everybody."""
    rules = [rule for rule in spec["ingress"] if port in {entry["port"] for entry in rule["ports"]}]
    assert rules
    return None if any("from" not in rule for rule in rules) else [peer for rule in rules for peer in rule["from"]]


def namespace(name):
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_nothing_is_open_that_no_rule_opens():
    assert policy()["policyTypes"] == ["Ingress", "Egress"]
    opened = {entry["port"] for rule in policy()["ingress"] for entry in rule["ports"]}
    assert opened == {8080, 9090}


def test_callers_come_from_the_release_s_namespace_unless_others_are_named():
    assert sources(policy(namespace="there"), 8080) == [namespace("there")]


def test_named_namespaces_and_pods_take_its_place():
    spec = policy(
        {"namespaces": ["a"], "pods": [{"namespace": "b", "matchLabels": {"app": "api"}}, {"matchLabels": {"x": "y"}}]}
    )
    assert sources(spec, 8080) == [
        namespace("a"),
        {"podSelector": {"matchLabels": {"app": "api"}}, **namespace("b")},
        {"podSelector": {"matchLabels": {"x": "y"}}, **namespace("catalyst-system")},
    ]


def test_all_namespaces_may_be_let_in():
    assert sources(policy({"namespaces": ["*"]}), 8080) == [{"namespaceSelector": {}}]


def test_whoever_is_given_the_client_certificate_may_use_it():
    over = merged(TLS, {"tls": {"reflectClientCertTo": ["guacamole"]}})
    spec = render(over).one("NetworkPolicy")["spec"]
    assert sources(spec, 8443) == [namespace("catalyst-system"), namespace("guacamole")]
    assert sources(spec, 8080) == [namespace("catalyst-system")]


def test_kubelet_apiserver_and_prometheus_reach_the_operators_port_from_wherever_they_are():
    rendered = render({"adminPort": 9999})
    spec = rendered.one("NetworkPolicy")["spec"]
    assert sources(spec, 9999) is None
    probed = {rendered.proxy[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")}
    assert probed == {"admin"}
    assert {"name": "admin", "containerPort": 9999} in rendered.proxy["ports"]


def test_the_operators_port_may_be_narrowed():
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"namespaceSelector": {}}]
    assert sources(policy({"adminFrom": peers}), 9090) == peers


def test_the_apiserver_may_be_let_in_to_ask_for_sessions_on_that_port_only():
    peers = [{"ipBlock": {"cidr": "192.0.2.1/32"}}]
    spec = render(merged(TLS, {"networkPolicy": {"callersFrom": peers}})).one("NetworkPolicy")["spec"]
    assert sources(spec, 8080) == [namespace("catalyst-system"), *peers]
    assert sources(spec, 8443) == [namespace("catalyst-system")]


def test_an_open_operators_port_opens_no_other():
    # Rules add up: one without `from` must name its port alone.
    for rule in policy()["ingress"]:
        assert rule["ports"]
        if "from" not in rule:
            assert rule["ports"] == [{"port": 9090, "protocol": "TCP"}]


def test_the_way_out_is_to_the_apiserver_and_dns():
    assert policy()["egress"] == [
        {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]},
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
    ]


def test_the_apiserver_s_address_may_be_said():
    over = {"apiserver": {"ports": [8443], "cidrs": ["192.0.2.1/32", "2001:db8::/64"]}, "dnsPorts": [5353]}
    assert policy(over)["egress"] == [
        {
            "ports": [{"port": 8443, "protocol": "TCP"}],
            "to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}, {"ipBlock": {"cidr": "2001:db8::/64"}}],
        },
        {"ports": [{"port": 5353, "protocol": "UDP"}, {"port": 5353, "protocol": "TCP"}]},
    ]


def test_the_bootstrap_may_go_the_same_ways_and_nobody_comes_in():
    rendered = render()
    spec = rendered.one("NetworkPolicy", "k8s-ws-proxy-hmac-bootstrap")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert spec["egress"] == rendered.one("NetworkPolicy")["spec"]["egress"]


@pytest.mark.parametrize("over", [{}, TLS])
def test_it_may_be_left_to_others(over):
    assert render({**over, "networkPolicy": {"enabled": False}}).every("NetworkPolicy") == []
