"""Roles and bindings: made in Python, and read as a client sends them (Kubernetes: "Using RBAC Authorization").

Made ones are what the API has, so a chart's rendered objects stand in their place as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import metadata, rbac
from k8s_ws_proxy.devcluster.metadata import Unreadable
from k8s_ws_proxy.devcluster.resources import RBAC
from k8s_ws_proxy.devcluster.status import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k8s_ws_proxy.devcluster.rbac import Object

FIELDS = frozenset({"kind", "apiVersion", "metadata", "rules", "aggregationRule", "subjects", "roleRef"})
API_VERSION = f"{rbac.GROUP}/v1"
BY_KIND = {each.kind: each for each in RBAC}
_LISTS = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


def rule(resources: str, verbs: str, *, group: str = "", names: str = "") -> Object:
    """A rule, from lists separated by spaces; of the core group if no other is named."""
    made: Object = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return made | ({"resourceNames": names.split()} if names else {})


def role(namespace: str, name: str, *rules: Object) -> Object:
    """A Role, which grants in its own namespace."""
    return _object("Role", {"namespace": namespace, "name": name}) | {"rules": list(rules)}


def cluster_role(name: str, *rules: Object) -> Object:
    """A ClusterRole, which grants where it is bound."""
    return _object("ClusterRole", {"name": name}) | {"rules": list(rules)}


def bind(role: Object, *subjects: Object, namespace: str = "", name: str = "") -> Object:
    """A binding of a role to `user(...)`, `group(...)`, `service_account(...)`: in a namespace, which is a Role's own,
    or of a ClusterRole in all of them. It has the role's name if it is given none.
    """
    where = namespace or role["metadata"].get("namespace", "")
    named = {"name": name or role["metadata"]["name"]}
    made = _object("RoleBinding", {"namespace": where} | named) if where else _object("ClusterRoleBinding", named)
    reference = {"apiGroup": rbac.GROUP, "kind": role["kind"], "name": role["metadata"]["name"]}
    return made | {"subjects": list(subjects), "roleRef": reference}


def user(name: str) -> Object:
    """A subject: a user, by the name that the apiserver knows."""
    return {"kind": "User", "apiGroup": rbac.GROUP, "name": name}


def group(name: str) -> Object:
    """A subject: all of a group."""
    return {"kind": "Group", "apiGroup": rbac.GROUP, "name": name}


def service_account(namespace: str, name: str) -> Object:
    """A subject: a service account."""
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def decode(document: Object) -> Object:
    """The object that a client sent, as it is stored.

    Raises metadata.Unreadable.
    """
    kind = document["kind"]
    decoded = _object(kind, metadata.decode(document.get("metadata")))
    if kind.endswith("Role"):
        rules = [_rule(each, kind) for each in _list(document, "rules", kind)]
        return decoded | {"rules": rules}
    reference = document.get("roleRef") or {}
    metadata.expect_strings(reference, f"{kind}.roleRef")
    subjects = [each for each in _list(document, "subjects", kind) if each]
    for each in subjects:
        metadata.expect_strings(each, f"{kind}.subjects")
    return decoded | {"subjects": subjects, "roleRef": {"apiGroup": rbac.GROUP} | reference}


def mistakes(value: Object) -> Iterator[Cause]:
    """What is wrong with an object that could be read (rbac: ValidateRole, ValidateRoleBinding)."""
    if not value["metadata"].get("name"):
        yield Cause("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")
    for number, each in enumerate(value.get("rules", ())):
        if not each["verbs"]:
            text = "Required value: verbs must contain at least one value"
            yield Cause("FieldValueRequired", f"rules[{number}].verbs", text)
    if "roleRef" not in value:
        return
    reference = value["roleRef"]
    kinds = ("ClusterRole",) if value["kind"] == "ClusterRoleBinding" else ("Role", "ClusterRole")
    if reference.get("kind") not in kinds:
        known = ", ".join(rbac.quoted(each) for each in sorted(kinds))
        text = f"Unsupported value: {rbac.quoted(reference.get('kind', ''))}: supported values: {known}"
        yield Cause("FieldValueNotSupported", "roleRef.kind", text)
    if not reference.get("name"):
        yield Cause("FieldValueRequired", "roleRef.name", "Required value")
    for number, each in enumerate(value["subjects"]):
        if each.get("kind") not in {"User", "Group", "ServiceAccount"}:
            known = '"Group", "ServiceAccount", "User"'
            text = f"Unsupported value: {rbac.quoted(each.get('kind', ''))}: supported values: {known}"
            yield Cause("FieldValueNotSupported", f"subjects[{number}].kind", text)
        if not each.get("name"):
            yield Cause("FieldValueRequired", f"subjects[{number}].name", "Required value")


def changes(new: Object, old: Object) -> Iterator[Cause]:
    """What an update must not change, and does: the role that is bound, above all."""
    yield from metadata.changes(new["metadata"], old["metadata"])
    if new.get("roleRef") != old.get("roleRef"):
        yield Cause("FieldValueInvalid", "roleRef", "Invalid value: cannot change roleRef")


def _object(kind: str, described: Object) -> Object:
    return {"kind": kind, "apiVersion": API_VERSION, "metadata": described}


def _list(document: Object, name: str, kind: str) -> list[Any]:
    found = document.get(name)
    if found is not None and not isinstance(found, list):
        raise Unreadable(f"json: cannot unmarshal into Go struct field {kind}.{name} of type []")
    return found or []


def _rule(value: Any, kind: str) -> Object:
    if not isinstance(value, dict):
        raise Unreadable(f"json: cannot unmarshal into Go struct field {kind}.rules of type v1.PolicyRule")
    decoded = {name: _list(value, name, f"{kind}.rules") for name in _LISTS if value.get(name) or name == "verbs"}
    for name, entries in decoded.items():
        for each in entries:
            metadata.expect(each, str, f"{kind}.rules.{name}")
    return decoded
