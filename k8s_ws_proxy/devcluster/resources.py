"""The resources there are: one table, from which discovery, paths, verbs and rights follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, or a subresource (`pods/exec`). `verbs` are those the path answers, RBAC aside."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    takes_path: bool = False
    """What follows in the path is its own business, as a proxied request's is."""

    @property
    def qualified(self) -> str:
        """`pods`, `daemonsets.apps`: the name that errors and grants use."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def entry(self) -> dict[str, Any]:
        """What discovery says of it (an APIResource)."""
        entry: dict[str, Any] = {
            "name": self.name,
            "singularName": "" if "/" in self.name else self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": list(self.verbs),
        }
        if self.short_names:
            entry["shortNames"] = list(self.short_names)
        if self.categories:
            entry["categories"] = list(self.categories)
        return entry

    def discovered(self) -> dict[str, Any]:
        """What aggregated discovery says of it (an APIResourceDiscovery, or an APISubresourceDiscovery)."""
        _, _, subresource = self.name.partition("/")
        found: dict[str, Any] = {"subresource": subresource} if subresource else {"resource": self.name}
        found["responseKind"] = {"group": self.group, "version": self.version, "kind": self.kind}
        if not subresource:
            found["scope"] = "Namespaced" if self.namespaced else "Cluster"
            found["singularResource"] = self.kind.lower()
        found["verbs"] = list(self.verbs)
        if self.short_names:
            found["shortNames"] = list(self.short_names)
        if self.categories:
            found["categories"] = list(self.categories)
        return found


@dataclass(frozen=True, slots=True)
class Location:
    """Where a path leads. `name` is empty for a collection, `namespace` for all of them or for none.

    `rest` is what follows a subresource, with its leading slash.
    """

    resource: Resource
    namespace: str = ""
    name: str = ""
    rest: str = ""


_WRITABLE = ("create", "delete", "get", "list", "patch", "update")
PODS = Resource("pods", "Pod", ("get", "list", "patch"), short_names=("po",), categories=("all",))
NAMESPACES = Resource("namespaces", "Namespace", ("get", "list"), namespaced=False, short_names=("ns",))
SECRETS = Resource("secrets", "Secret", _WRITABLE)
DAEMONSETS = Resource(
    "daemonsets", "DaemonSet", ("delete", "get", "list"), group="apps", short_names=("ds",), categories=("all",)
)
_RBAC = "rbac.authorization.k8s.io"
RBAC = (
    Resource("clusterrolebindings", "ClusterRoleBinding", _WRITABLE, group=_RBAC, namespaced=False),
    Resource("clusterroles", "ClusterRole", _WRITABLE, group=_RBAC, namespaced=False),
    Resource("rolebindings", "RoleBinding", _WRITABLE, group=_RBAC),
    Resource("roles", "Role", _WRITABLE, group=_RBAC),
)
_REVIEWS = "authorization.k8s.io"
REVIEWS = (
    Resource("selfsubjectaccessreviews", "SelfSubjectAccessReview", ("create",), group=_REVIEWS, namespaced=False),
    Resource("subjectaccessreviews", "SubjectAccessReview", ("create",), group=_REVIEWS, namespaced=False),
)
RESOURCES = (
    NAMESPACES,
    PODS,
    Resource("pods/attach", "PodAttachOptions", ("create", "get")),
    Resource("pods/exec", "PodExecOptions", ("create", "get")),
    Resource("pods/log", "Pod", ("get",)),
    Resource("pods/portforward", "PodPortForwardOptions", ("create", "get")),
    Resource("pods/proxy", "PodProxyOptions", ("create", "delete", "get", "patch", "update"), takes_path=True),
    SECRETS,
    DAEMONSETS,
    *RBAC,
    *REVIEWS,
)


def locate(path: str) -> Location | None:
    """Where a decoded path leads; None if there is no such resource."""
    match path.removeprefix("/").split("/"):
        case ["api", version, *rest]:
            return _within("", version, rest)
        case ["apis", group, version, *rest]:
            return _within(group, version, rest)
    return None


def _within(group: str, version: str, rest: list[str]) -> Location | None:
    match rest:
        case ["namespaces", namespace, plural, *more]:
            pass
        case [plural, *more]:
            namespace = ""
        case _:
            return None
    name, subresource = [*more, "", ""][:2]
    tail = "".join(f"/{part}" for part in more[2:])
    wanted = f"{plural}/{subresource}" if subresource else plural
    for resource in RESOURCES:
        if (resource.group, resource.version, resource.name) == (group, version, wanted):
            return Location(resource, namespace, name, tail) if not tail or resource.takes_path else None
    return None
