"""SubjectAccessReview and its like: whether somebody may, answered by what decides about requests (Kubernetes:
"Authorization", "Checking API access").

A resource needs no definition to be asked about. Groups are those that the review names: none is added by rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import http, status
from k8s_ws_proxy.devcluster.rbac import Attributes, UserInfo
from k8s_ws_proxy.devcluster.status import Cause, Failed

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.access import Access
    from k8s_ws_proxy.devcluster.http import Response
    from k8s_ws_proxy.devcluster.resources import Resource

    Object = dict[str, Any]

_BOTH = "cannot be specified in combination with resourceAttributes"
_NEITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
_NOBODY = "at least one of user or group must be specified"


def answer(document: Object, resource: Resource, access: Access) -> Response:
    """The review with its status.

    Raises Failed: 400 for another object, 422 for a review of nothing or of nobody.
    """
    kind, version = resource.kind, resource.api_version
    if document.get("kind", kind) != kind or document.get("apiVersion", version) != version:
        named = f'{document.get("kind", kind)} in version "{document.get("apiVersion", version)}"'
        raise Failed(status.bad_request(f"{named} cannot be handled as a {kind}: no kind is registered for it here"))
    spec = document.get("spec") or {}
    of_self = kind.startswith("Self")
    if causes := _mistakes(spec, of_self=of_self):
        raise Failed(status.invalid(f"{kind}.{resource.group}", "", causes))
    user = access.user if of_self else _user(spec)
    decision = access.decide(_asked(spec, user))
    told: Object = {"allowed": decision.allowed} | ({"reason": decision.reason} if decision.reason else {})
    return http.of_object({"kind": kind, "apiVersion": version, "metadata": {}, "spec": spec, "status": told}, 201)


def _user(spec: Object) -> UserInfo:
    extra = {key.lower(): tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)


def _asked(spec: Object, user: UserInfo) -> Attributes:
    if (other := spec.get("nonResourceAttributes")) is not None:
        return Attributes(user, other.get("verb", ""), path=other.get("path", ""))
    found = spec["resourceAttributes"]
    names = ("verb", "resource", "subresource", "group", "namespace", "name")
    return Attributes(user, *(found.get(name, "") for name in names))


def _mistakes(spec: Object, *, of_self: bool) -> list[Cause]:
    resource, other = (spec.get(name) is not None for name in ("resourceAttributes", "nonResourceAttributes"))
    causes = []
    if resource and other:
        causes.append(_cause("nonResourceAttributes", "{}", _BOTH))
    if not resource and not other:
        causes.append(_cause("resourceAttributes", "null", _NEITHER))
    if not of_self and not spec.get("user") and not spec.get("groups"):
        causes.append(_cause("user", '""', _NOBODY))
    return causes


def _cause(field: str, value: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"spec.{field}", f"Invalid value: {value}: {why}")
