"""What there is now: every object, and what is behind the ports of foreign pods."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import objects, roles
from k8s_ws_proxy.devcluster.default_roles import default_roles
from k8s_ws_proxy.devcluster.resources import DAEMONSETS, NAMESPACES, PODS
from k8s_ws_proxy.devcluster.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from k8s_ws_proxy.devcluster.foreign import DaemonSet, ForeignPod
    from k8s_ws_proxy.devcluster.podproxy import Backend
    from k8s_ws_proxy.devcluster.store import Object
    from k8s_ws_proxy.devcluster.world import World


class State:
    """The world as it began, and what has become of it."""

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        self.world = world
        self.store = Store(now, lambda: str(uuid.uuid4()), changed)
        self._ports: dict[tuple[str, str], Mapping[int, Backend]] = {}
        self._addresses = 0
        for name in world.namespaces:
            self.store.create(NAMESPACES, objects.namespace(name))
        for pod in world.pods:
            self.store.create(PODS, objects.pod(pod))
        for each in (*default_roles(), *world.rbac):
            self.grant(each)

    def grant(self, value: Object) -> Object:
        """Put a Role, a ClusterRole or a binding in, or in the place of its namesake; the object comes back."""
        resource, decoded = roles.BY_KIND[value["kind"]], roles.decode(value)
        metadata = decoded["metadata"]
        there = self.store.find(resource, metadata.get("namespace", ""), metadata["name"]) is not None
        return self.store.replace(resource, decoded) if there else self.store.create(resource, decoded)

    def revoke(self, value: Object) -> None:
        """Take it away.

        Raises status.Failed if it isn't there.
        """
        metadata = value["metadata"]
        self.store.delete(roles.BY_KIND[value["kind"]], metadata.get("namespace", ""), metadata["name"])

    def add_daemonset(self, value: DaemonSet) -> Object:
        """Add it; the object comes back.

        Raises status.Failed if it is there.
        """
        return self.store.create(DAEMONSETS, objects.daemonset(value))

    def add_pod(self, value: ForeignPod) -> Object:
        """Add a pod, or put it in the place of one of the same name; the object comes back.

        Raises status.Failed if its DaemonSet isn't there.
        """
        owner = self.store.get(DAEMONSETS, value.namespace, value.daemonset) if value.daemonset else None
        if (value.namespace, value.name) in self._ports:
            self.remove_pod(value.namespace, value.name)
        self._addresses += 1
        created = self.store.create(PODS, objects.foreign_pod(value, self._addresses, owner))
        self._ports[value.namespace, value.name] = value.ports
        return created

    def remove_pod(self, namespace: str, name: str) -> None:
        """Remove a foreign pod.

        Raises KeyError if there is none.
        """
        del self._ports[namespace, name]
        self.store.delete(PODS, namespace, name)

    def backend(self, namespace: str, name: str, port: int) -> Backend | None:
        """What is behind a pod's port."""
        return self._ports.get((namespace, name), {}).get(port)


def now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)
