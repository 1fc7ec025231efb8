"""Alerts and dashboard ask for what the daemon tells."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from support.chart import CHART, EVERYTHING, render

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions.census import count_sessions
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.sessions.tickets import Tickets
from k8s_ws_proxy.wire.rules.relay import Ending


def told():
    """Every series that the daemon tells, with the names of its labels."""
    series = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                if family.type == "counter":
                    named = {f"{family.name}_total"}
                elif family.type == "histogram":
                    named = {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
                else:
                    named = {family.name}
                labels = frozenset({*metric._labelnames, *(["le"] if family.type == "histogram" else [])})
                series |= dict.fromkeys(named, labels)
    return series


def alerts(over=None):
    (group,) = render({**EVERYTHING, **(over or {})}).one("PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def dashboard():
    data = render(EVERYTHING).one("ConfigMap", "k8s-ws-proxy-dashboard")["data"]
    assert list(data) == ["k8s-ws-proxy.json"]
    return json.loads(data["k8s-ws-proxy.json"])


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def asked():
    """Every expression, by who asks it."""
    found = {f"alert {name}": rule["expr"] for name, rule in alerts().items()}
    for panel in panels():
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


@pytest.mark.parametrize("expression", asked().values(), ids=asked().keys())
def test_an_expression_asks_for_series_and_labels_that_are_told(expression):
    series = told()
    named = re.findall(r"\b(k8s_ws_proxy_\w+)(?:\{([^}]*)\})?", expression)
    assert named
    for name, selector in named:
        assert name in series
        matched = set(re.findall(r"(\w+)\s*=~?", selector))
        assert matched <= series[name] | {"namespace", "pod"}
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= {"namespace", "pod"}.union(
            *(series[name] for name, _selector in named)
        )


def test_a_reason_that_an_expression_names_is_one():
    reasons = {"k8s_ws_proxy_refusals_total": {reason.value for reason in Reason}}
    reasons["k8s_ws_proxy_sessions_ended_total"] = {ending.value for ending in Ending}
    named = [match for text in asked().values() for match in re.findall(r'(\w+)\{[^}]*reason=~?"([^"]*)"', text)]
    assert len(named) >= 3
    for metric, pattern in named:
        assert set(pattern.split("|")) <= reasons[metric]


def test_a_kind_or_state_of_sessions_that_an_expression_names_is_one():
    count_sessions(Registry(quotas(1), lambda: 0.0), Tickets(1, clock=lambda: 0.0, later=None))
    (family,) = metrics.SESSIONS.collect()
    told_of = {name: {sample.labels[name] for sample in family.samples} for name in ("subresource", "state")}
    selectors = [found for text in asked().values() for found in re.findall(r"k8s_ws_proxy_sessions\{([^}]*)\}", text)]
    named = [match for selector in selectors for match in re.findall(r'(subresource|state)!?="([^"]*)"', selector)]
    assert {value for _, value in named} == {"issued", "open", "watch"}
    for label, value in named:
        assert value in told_of[label]


def test_the_dashboard_shows_what_is_issued_open_watched_and_terminated():
    shown = {panel["title"].partition(",")[0] for panel in panels()}
    assert shown >= {"Sessions issued and waiting", "Sessions open", "Watchers", "Sessions ended by somebody"}


def test_an_alert_says_how_bad_it_is_and_what_to_do():
    for rule in alerts().values():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert "{{ `" not in json.dumps(rule)


def test_an_alert_speaks_of_the_release_s_own_names():
    rules = alerts({"hmacSecret": {"name": "theirs"}, "maxSessions": 1000})
    assert "theirs" in rules["K8sWsProxyKeysUnreadable"]["annotations"]["description"]
    assert rules["K8sWsProxyNearlyFull"]["expr"] == "k8s_ws_proxy_sessions_open > 900"


def test_the_pods_are_scraped_where_they_tell_their_metrics():
    rendered = render(EVERYTHING)
    (endpoint,) = rendered.one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["interval"] == "30s"
    assert endpoint["port"] in {port["name"] for port in rendered.proxy["ports"]}


def test_labels_by_which_operators_find_them_are_given():
    over = {kind: {"enabled": True, "labels": {"release": "prometheus"}} for kind in ("podMonitor", "prometheusRule")}
    over["dashboard"] = {"enabled": True, "labels": {"team": "a"}, "annotations": {"folder": "b"}}
    rendered = render(over)
    assert rendered.one("PodMonitor")["metadata"]["labels"]["release"] == "prometheus"
    assert rendered.one("PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"
    config_map = rendered.one("ConfigMap", "k8s-ws-proxy-dashboard")
    assert config_map["metadata"]["labels"].items() >= {"team": "a", "grafana_dashboard": "1"}.items()
    assert config_map["metadata"]["annotations"] == {"folder": "b"}


def test_all_of_it_is_off_unless_asked_for():
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["k8sWsProxy"]
    assert not any(values[name]["enabled"] for name in ("podMonitor", "prometheusRule", "dashboard"))
    assert not {"PodMonitor", "PrometheusRule", "ConfigMap"} & {found["kind"] for found in render().objects}


def test_the_dashboard_s_panels_stand_beside_each_other():
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def test_every_panel_says_what_it_shows():
    for panel in panels():
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
