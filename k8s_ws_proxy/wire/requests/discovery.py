"""What may be read through the proxy beside sessions, by callers with a certificate: what kubectl asks first.

kubectl can't be told to leave its questions out: before ``exec``, ``attach``, ``logs``, ``port-forward`` and ``cp`` it
asks which resources there are, unless it has that in its cache, and for the pod it was given. This file is the whole
allow-list, with the reason of each path. What isn't here is a bad path for everybody.

The resources aren't the apiserver's: they are made up here, and name what this proxy serves and no more. So nobody
learns what else the cluster has, and kubectl knows by itself that it can't go by a deployment or a service.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.wire.requests.target import names_namespace, names_pod

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

V2: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
JSON: Final = "application/json"


class Reading(Enum):
    """A path that may be read; the value says why."""

    VERSIONS = "kubectl finds out that pods are of the core group's v1"
    GROUPS = "kubectl asks for all other groups with it, and fails without an answer; it is told that there are none"
    RESOURCES = "the core group's resources, for kubectl before 1.30 and clients that don't know aggregated discovery"
    NAMESPACE = "kubectl asks for it after a 404 for a pod, and tells of it instead if that is a 404, too"
    POD = "kubectl chooses the container, sees whether the pod has ended, and finds named ports"


PATHS: Final[Mapping[str, Reading]] = {
    "/api": Reading.VERSIONS,
    "/apis": Reading.GROUPS,
    "/api/v1": Reading.RESOURCES,
}
"""And ``/api/v1/namespaces/{namespace}``, which is Reading.NAMESPACE, and under it ``/pods/{pod}``, Reading.POD."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request for something on the list. ``namespace`` and ``pod`` are empty where the path names none."""

    reading: Reading
    path: str
    namespace: str = ""
    pod: str = ""


def parse_reading(raw_target: str) -> Wanted | None:
    """What an HTTP request target asks to read; None if it isn't on the list.

    Nothing is percent-decoded: no name that is allowed in these paths needs it.
    """
    path = raw_target.partition("?")[0]
    if (reading := PATHS.get(path)) is not None:
        return Wanted(reading, path)
    match path.split("/"):
        case ["", "api", "v1", "namespaces", namespace] if names_namespace(namespace):
            return Wanted(Reading.NAMESPACE, path, namespace)
        case ["", "api", "v1", "namespaces", namespace, "pods", pod] if names_pod(namespace, pod):
            return Wanted(Reading.POD, path, namespace, pod)
    return None


def document(wanted: Wanted, accept: str, subresources: Collection[str]) -> tuple[str, dict[str, Any]]:
    """Content type and object of what is made up here: all but a pod.

    A namespace is there whoever asks: whether it really is, is the apiserver's to say of a pod in it.
    ``accept`` is the request's header: whoever takes aggregated discovery (KEP-3352) needs two requests in the place
    of three. ``subresources`` are those that are switched on.
    """
    reading = wanted.reading
    served = [name for name in _SUBRESOURCES if name in subresources]
    if reading in (Reading.VERSIONS, Reading.GROUPS) and _takes_v2(accept):
        items = [_core_group(served)] if reading is Reading.VERSIONS else []
        listed = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
        return V2, {**listed, "items": items}
    match reading:
        case Reading.VERSIONS:
            return JSON, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case Reading.GROUPS:
            return JSON, {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
        case Reading.RESOURCES:
            return JSON, _resource_list(served)
        case Reading.NAMESPACE:
            return JSON, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": wanted.namespace}}
        case Reading.POD:
            raise AssertionError("a pod is the apiserver's to describe")


# The kind of each subresource's options, and its verbs, as the apiserver names them.
_SUBRESOURCES: Final[Mapping[str, tuple[str, list[str]]]] = {
    "attach": ("PodAttachOptions", ["create", "get"]),
    "exec": ("PodExecOptions", ["create", "get"]),
    "log": ("Pod", ["get"]),
    "portforward": ("PodPortForwardOptions", ["create", "get"]),
}
_PODS: Final = {"verbs": ["get"], "shortNames": ["po"]}


def _takes_v2(accept: str) -> bool:
    wanted = set(V2.split(";"))
    return any(wanted <= {part.strip() for part in offer.split(";")} for offer in accept.split(","))


def _core_group(served: list[str]) -> dict[str, Any]:
    pods = {
        "resource": "pods",
        "responseKind": _kind("Pod"),
        "scope": "Namespaced",
        "singularResource": "pod",
        **_PODS,
        "subresources": [
            {"subresource": name, "responseKind": _kind(_SUBRESOURCES[name][0]), "verbs": _SUBRESOURCES[name][1]}
            for name in served
        ],
    }
    return {"metadata": {}, "versions": [{"version": "v1", "resources": [pods], "freshness": "Current"}]}


def _kind(name: str) -> dict[str, str]:
    return {"group": "", "version": "v1", "kind": name}


def _resource_list(served: list[str]) -> dict[str, Any]:
    pods = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", **_PODS}
    rows = [
        {
            "name": f"pods/{name}",
            "singularName": "",
            "namespaced": True,
            "kind": _SUBRESOURCES[name][0],
            "verbs": _SUBRESOURCES[name][1],
        }
        for name in served
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [pods, *rows]}
