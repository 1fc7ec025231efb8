"""The world's pods and namespaces as the apiserver's objects, and a DaemonSet's status from the pods it owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster.resources import PODS
from k8s_ws_proxy.devcluster.world import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k8s_ws_proxy.devcluster.foreign import DaemonSet, ForeignPod
    from k8s_ws_proxy.devcluster.resources import Resource
    from k8s_ws_proxy.devcluster.store import Object, Store
    from k8s_ws_proxy.devcluster.world import Pod


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}, "status": {"phase": "Active"}}


def pod(value: Pod) -> Object:
    """A Pod of the world."""
    containers = [
        {"name": each.name, "image": "dev", "stdin": True, "tty": each.tty, "command": list(each.argv)}
        | ({"ports": _ports(each.ports)} if each.ports else {})
        for each in value.containers
    ]
    return _pod(value, containers)


def foreign_pod(value: ForeignPod, number: int, owner: Object | None) -> Object:
    """A Pod whose processes are elsewhere; `number` makes its address, `owner` is its DaemonSet."""
    ports = _ports(value.ports)
    manifest = _pod(value, [{"name": "main", "image": "foreign", "ports": ports}], ready=value.ready)
    if value.phase is Phase.RUNNING:
        address = f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        manifest["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}
    if owner is not None:
        reference = {name: owner[name] for name in ("apiVersion", "kind")} | {
            name: owner["metadata"][name] for name in ("name", "uid")
        }
        manifest["metadata"]["ownerReferences"] = [reference | {"controller": True, "blockOwnerDeletion": True}]
    return manifest


def _ports(ports: Iterable[int]) -> list[Object]:
    return [{"containerPort": port, "protocol": "TCP"} for port in ports]


def daemonset(value: DaemonSet) -> Object:
    """A DaemonSet."""
    return {
        "kind": "DaemonSet",
        "apiVersion": "apps/v1",
        "metadata": {
            "name": value.name,
            "namespace": value.namespace,
            "labels": dict(value.labels),
            "annotations": dict(value.annotations),
            "generation": 1,
        },
        "spec": {
            "selector": {"matchLabels": dict(value.labels)},
            "template": {
                "metadata": {"labels": dict(value.labels)},
                "spec": {"containers": [{"name": "main", "image": "foreign"}]},
            },
        },
    }


def as_served(value: Object, resource: Resource, store: Store) -> Object:
    """The object as it is answered: a DaemonSet's status is counted now, as if its controller were never late."""
    return value | {"status": _daemonset_status(value, store)} if resource.kind == "DaemonSet" else value


def _daemonset_status(value: Object, store: Store) -> Object:
    uid = value["metadata"]["uid"]
    owned = [
        each
        for each in store.all(PODS, value["metadata"]["namespace"])
        if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", ()))
    ]
    ready = sum(
        any(condition == {"type": "Ready", "status": "True"} for condition in each["status"]["conditions"])
        for each in owned
    )
    counts: dict[str, Any] = {
        "currentNumberScheduled": len(owned),
        "desiredNumberScheduled": len(owned),
        "numberMisscheduled": 0,
        "numberReady": ready,
        "numberAvailable": ready,
        "updatedNumberScheduled": len(owned),
        "observedGeneration": value["metadata"]["generation"],
    }
    if ready < len(owned):
        counts["numberUnavailable"] = len(owned) - ready
    return counts


def _pod(value: Pod | ForeignPod, containers: list[Object], *, ready: bool = True) -> Object:
    ready = ready and value.phase is Phase.RUNNING
    state: dict[Phase, Object] = {
        Phase.PENDING: {"waiting": {"reason": "ContainerCreating"}},
        Phase.RUNNING: {"running": {}},
        Phase.COMPLETED: {"terminated": {"exitCode": 0, "reason": "Completed"}},
    }
    annotations = {"annotations": dict(noted)} if (noted := getattr(value, "annotations", None)) else {}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": value.name, "namespace": value.namespace, "labels": dict(value.labels), **annotations},
        "spec": {**({"nodeName": value.node} if value.node else {}), "containers": containers},
        "status": {
            "phase": value.phase.value,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [
                {
                    "name": each["name"],
                    "ready": ready,
                    "restartCount": 0,
                    "image": each["image"],
                    "imageID": "",
                    "state": state[value.phase],
                }
                for each in containers
            ],
        },
    }
