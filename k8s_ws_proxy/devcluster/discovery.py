"""What the apiserver tells of itself: its version, its health, and which resources it has."""

from __future__ import annotations

import json
from typing import Any

from k8s_ws_proxy.devcluster import http, status
from k8s_ws_proxy.devcluster.http import Response
from k8s_ws_proxy.devcluster.resources import RESOURCES

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2+k8s-ws-proxy-dev", "platform": "linux/amd64"}


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""The media type of all resources of a path's groups in one document (KEP-3352)."""


def document(path: str, accept: str) -> Response:
    """The answer to a path that leads to no resource: one of these documents, or 404.

    `accept` is the request's header: on `/api` and `/apis` it decides between the versions or groups by name and all
    their resources at once.
    """
    path = path.strip("/")
    if path in {"api", "apis"} and _first_known(accept) == AGGREGATED:
        return Response(200, json.dumps(_aggregated(core=path == "api")).encode(), AGGREGATED, (("Vary", "Accept"),))
    if path in {"healthz", "readyz", "livez"}:
        return http.of_text(200, "ok")
    found = _documents().get(path)
    return http.of_status(status.no_such_resource()) if found is None else http.of_object(found)


def _documents() -> dict[str, dict[str, Any]]:
    groups = sorted({(each.group, each.version) for each in RESOURCES if each.group})
    return {
        "version": VERSION,
        "api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*each) for each in groups]},
        "api/v1": _resources("", "v1"),
        "openapi/v3": {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in _roots()}},
        **{f"openapi/v3/{path}": _openapi(path, *each) for path, each in _roots().items()},
        **{f"apis/{group}": {"kind": "APIGroup", "apiVersion": "v1", **_group(group, v)} for group, v in groups},
        **{f"apis/{group}/{version}": _resources(group, version) for group, version in groups},
    }


def _first_known(accept: str) -> str:
    """The first media type that is known here; plain JSON if there is none."""
    for offer in accept.split(","):
        parts = [part.strip() for part in offer.split(";")]
        if set(parts) >= set(AGGREGATED.split(";")):
            return AGGREGATED
        if parts[0] in {"application/json", "application/*", "*/*"} and not any("=" in part for part in parts[1:]):
            break
    return "application/json"


def _aggregated(*, core: bool) -> dict[str, Any]:
    groups = sorted({(each.group, each.version) for each in RESOURCES if (each.group == "") is core})
    items = [
        {
            "metadata": {**({"name": group} if group else {}), "creationTimestamp": None},
            "versions": [{"version": version, "resources": _rows(group, version), "freshness": "Current"}],
        }
        for group, version in groups
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _rows(group: str, version: str) -> list[dict[str, Any]]:
    ours = [each for each in RESOURCES if (each.group, each.version) == (group, version)]
    rows = []
    for each in ours:
        if "/" not in each.name:
            below = [one for one in ours if one.name.startswith(f"{each.name}/")]
            rows.append(each.discovered() | ({"subresources": [one.discovered() for one in below]} if below else {}))
    return rows


def _group(name: str, version: str) -> dict[str, Any]:
    only = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [only], "preferredVersion": only}


def _resources(group: str, version: str) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [each.entry() for each in RESOURCES if (each.group, each.version) == (group, version)],
    }


def _roots() -> dict[str, tuple[str, str]]:
    """Group and version by the path of their resources: `api/v1`, `apis/apps/v1`."""
    pairs = dict.fromkeys((each.group, each.version) for each in RESOURCES)
    return {f"apis/{group}/{version}" if group else f"api/{version}": (group, version) for group, version in pairs}


def _openapi(root: str, group: str, version: str) -> dict[str, Any]:
    """As much as kubectl wants to know before it applies: that the server checks the fields by itself."""
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    paths = {}
    for each in RESOURCES:
        if (each.group, each.version) == (group, version) and "patch" in each.verbs and "/" not in each.name:
            patch = {
                "parameters": [parameter],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": each.kind},
            }
            namespace = "/namespaces/{namespace}" if each.namespaced else ""
            paths[f"/{root}{namespace}/{each.name}/{{name}}"] = {"patch": patch}
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}
