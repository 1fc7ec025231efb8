"""RBAC as a pure function: who asks for what, and the objects that grant; a decision with its reason out (Kubernetes:
"Using RBAC Authorization").
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import status
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Object = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
MASTERS = "system:masters"
"""Who is in it may do everything, whatever is granted (Kubernetes: "User-facing roles")."""
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user as authentication or impersonation made one."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for: a verb on a resource, or on a `path` that is none."""

    user: UserInfo
    verb: str
    resource: str = ""
    """Without its subresource."""
    subresource: str = ""
    group: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def combined(self) -> str:
        """`pods/exec`: as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def __str__(self) -> str:
        told = f"User {quoted(self.user.name)} cannot {self.verb}"
        if not self.resource:
            return f"{told} path {quoted(self.path)}"
        told = f"{told} resource {quoted(self.combined)} in API group {quoted(self.group)}"
        return f"{told} in the namespace {quoted(self.namespace)}" if self.namespace else f"{told} at the cluster scope"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it may be, and why; a refusal by RBAC has a reason only where a role that is bound isn't there."""

    allowed: bool
    reason: str = ""


def decide(wanted: Attributes, objects: Iterable[Object]) -> Decision:
    """What Roles, ClusterRoles and their bindings say. Bindings of the cluster come first; the first rule that fits
    decides, and nothing forbids.
    """
    there = list(objects)
    roles = {_key(each["kind"], each): each.get("rules") or [] for each in there if each["kind"] in _ROLES}
    missing = []
    for binding in _bindings(there, wanted.namespace):
        subject = _subject(binding, wanted.user)
        if subject is None:
            continue
        reference = binding["roleRef"]
        namespace = binding["metadata"]["namespace"] if reference["kind"] == "Role" else ""
        rules = roles.get((reference["kind"], namespace, reference["name"]))
        if rules is None:
            missing.append(f"{reference['kind'].lower()}.{GROUP} {quoted(reference['name'])} not found")
        elif any(allows(rule, wanted) for rule in rules):
            return Decision(True, f"RBAC: allowed by {_described(binding, subject)}")
    told = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
    return Decision(False, f"RBAC: {told}" if missing else "")


def allows(rule: Object, wanted: Attributes) -> bool:
    """Whether one rule covers it. `resourceNames` never covers what has no name: list, create."""
    if not {"*", wanted.verb} & set(rule["verbs"]):
        return False
    if not wanted.resource:
        return any(_leads(each, wanted.path) for each in rule.get("nonResourceURLs") or ())
    resources = {"*", wanted.combined} | ({f"*/{wanted.subresource}"} if wanted.subresource else set())
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", wanted.group} & set(rule.get("apiGroups") or ()))
        and bool(resources & set(rule.get("resources") or ()))
        and (not names or wanted.name in names)
    )


def refused(wanted: Attributes, reason: str = "") -> Failed:
    """The 403 that says so, with the reason where there is one."""
    qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    return Failed(status.forbidden(qualified, wanted.name, f"{wanted}: {reason}" if reason else str(wanted)))


def service_account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account, of its user's name; None for anybody else."""
    namespace, colon, account = name.removeprefix(SERVICE_ACCOUNT).partition(":")
    if not name.startswith(SERVICE_ACCOUNT) or not colon or not namespace or not account or ":" in account:
        return None
    return namespace, account


def groups_of_service_account(namespace: str) -> tuple[str, str]:
    """Those that each account of a namespace is in (Kubernetes: "Managing Service Accounts")."""
    return "system:serviceaccounts", f"system:serviceaccounts:{namespace}"


def quoted(text: str) -> str:
    """In double quotes, as Go's `%q` has it."""
    return json.dumps(text, ensure_ascii=False)


_ROLES = ("Role", "ClusterRole")


def _key(kind: str, value: Object) -> tuple[str, str, str]:
    return kind, value["metadata"].get("namespace", ""), value["metadata"]["name"]


def _bindings(objects: list[Object], namespace: str) -> Iterator[Object]:
    yield from (each for each in objects if each["kind"] == "ClusterRoleBinding")
    for each in objects:
        if each["kind"] == "RoleBinding" and namespace and each["metadata"]["namespace"] == namespace:
            yield each


def _subject(binding: Object, user: UserInfo) -> Object | None:
    """The first of a binding's subjects that the user is."""
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User":
                found = subject["name"] == user.name
            case "Group":
                found = subject["name"] in user.groups
            case _:
                namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
                found = bool(namespace) and service_account(user.name) == (namespace, subject["name"])
        if found:
            return dict(subject)
    return None


def _described(binding: Object, subject: Object) -> str:
    metadata, reference = binding["metadata"], binding["roleRef"]
    namespace = metadata.get("namespace", "")
    name = f"{metadata['name']}/{namespace}" if namespace else metadata["name"]
    whom = subject["name"]
    if subject["kind"] == "ServiceAccount":
        whom = f"{whom}/{subject.get('namespace') or namespace}"
    role = f"{reference['kind']} {quoted(reference['name'])}"
    return f"{binding['kind']} {quoted(name)} of {role} to {subject['kind']} {quoted(whom)}"


def _leads(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))
