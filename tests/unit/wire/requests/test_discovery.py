"""What kubectl asks before a session: the allow-list, and the made-up documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.requests.discovery import JSON, V2, Reading, Wanted, document, parse_reading

ALL = ("exec", "attach", "log", "portforward")
AGGREGATED = f"{V2},application/json"  # as kubectl 1.37 sends it


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/api", Wanted(Reading.VERSIONS, "/api")),
        ("/api?timeout=32s", Wanted(Reading.VERSIONS, "/api")),
        ("/apis?timeout=32s", Wanted(Reading.GROUPS, "/apis")),
        ("/api/v1?timeout=32s", Wanted(Reading.RESOURCES, "/api/v1")),
        ("/api/v1/namespaces/team-a", Wanted(Reading.NAMESPACE, "/api/v1/namespaces/team-a", "team-a")),
        (
            "/api/v1/namespaces/team-a/pods/web-0.x?a=b",
            Wanted(Reading.POD, "/api/v1/namespaces/team-a/pods/web-0.x", "team-a", "web-0.x"),
        ),
    ],
)
def test_what_is_on_the_list(target, wanted):
    assert parse_reading(target) == wanted


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "/api/",
        "//api",
        "/API",
        "/%61pi",
        "/apis/",
        "/apis/apps/v1",
        "/api/v1/",
        "/api/v2",
        "/version",
        "/openapi/v3",
        "/openapi/v2",
        "/healthz",
        "/metrics",
        "/api/v1/pods",
        "/api/v1/nodes",
        "/api/v1/namespaces",
        "/api/v1/namespaces/",
        "/api/v1/namespaces/de.fault",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/pods/",
        "/api/v1/namespaces/default/pods/web/",
        "/api/v1/namespaces/default/pods/Web",
        "/api/v1/namespaces/default/pods/..",
        "/api/v1/namespaces/default/pods/web%2f..",
        "/api/v1/namespaces/default/pods/web%00",
        "/api/v1/namespaces//pods/web",
        "/api/v1/namespaces/de.fault/pods/web",
        "/api/v1/namespaces/default/pods/web/exec",
        "/api/v1/namespaces/default/pods/web/status",
        "/api/v1/namespaces/default/pods/web/proxy",
        "/api/v1/namespaces/default/secrets/web",
        "/api/v1/watch/namespaces/default/pods/web",
        "/proxy/exec/default/web",
    ],
)
def test_what_is_not(target):
    assert parse_reading(target) is None


@given(st.text("/apivnmescdodwebulr.-%2f0A\0 ", max_size=60))
def test_whatever_is_found_names_a_namespace_or_is_one_of_three(target):
    wanted = parse_reading(target)
    assert wanted is None or wanted.path in {"/api", "/apis", "/api/v1"} or wanted.namespace


def test_the_list_stands_in_the_document():
    lines = (Path(__file__).parents[4] / "docs/design/kubectl.md").read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| path | why |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        path, why = (cell.strip() for cell in line.strip("|").split("|"))
        rows[path.strip("`")] = why
    named = {re.sub(r"\{\w+\}", "x", path): why for path, why in rows.items()}
    assert {parse_reading(path).reading: why for path, why in named.items()} == {each: each.value for each in Reading}


def test_aggregated_discovery_names_pods_and_what_is_switched_on():
    content_type, listed = document(Wanted(Reading.VERSIONS, "/api"), AGGREGATED, ("log", "exec"))
    assert content_type == V2
    assert (listed["kind"], listed["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    ((version,),) = [item["versions"] for item in listed["items"]]
    (pods,) = version["resources"]
    assert (version["version"], pods["resource"], pods["verbs"]) == ("v1", "pods", ["get"])
    assert [each["subresource"] for each in pods["subresources"]] == ["exec", "log"]


def test_there_are_no_other_groups():
    assert document(Wanted(Reading.GROUPS, "/apis"), AGGREGATED, ALL)[1]["items"] == []
    assert document(Wanted(Reading.GROUPS, "/apis"), "application/json", ALL)[1]["groups"] == []


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json, */*",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
    ],
)
@pytest.mark.parametrize(
    ("reading", "kind"), [(Reading.VERSIONS, "APIVersions"), (Reading.GROUPS, "APIGroupList")], ids=str
)
def test_who_does_not_take_it_aggregated_gets_the_plain_one(accept, reading, kind):
    content_type, listed = document(Wanted(reading, "/api"), accept, ALL)
    assert (content_type, listed["kind"]) == (JSON, kind)


def test_one_of_several_offers_will_do():
    beta = V2.replace("v=v2", "v=v2beta1")
    accept = f"application/json, {beta} ,{V2.replace(';', '; ')}"
    assert document(Wanted(Reading.VERSIONS, "/api"), accept, ALL)[0] == V2


def test_a_namespace_is_made_up_too():
    wanted = parse_reading("/api/v1/namespaces/team-a")
    assert document(wanted, AGGREGATED, ALL) == (
        JSON,
        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "team-a"}},
    )


def test_the_plain_list_of_resources():
    content_type, listed = document(Wanted(Reading.RESOURCES, "/api/v1"), AGGREGATED, ALL)
    assert (content_type, listed["groupVersion"]) == (JSON, "v1")
    assert {row["name"] for row in listed["resources"]} == {"pods", *(f"pods/{name}" for name in ALL)}
