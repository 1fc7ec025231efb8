"""Get, list, create, update, patch and delete over HTTP, on objects that a store holds."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import bodies, http, patches, roles, secret, selectors, status
from k8s_ws_proxy.devcluster.metadata import Unreadable
from k8s_ws_proxy.devcluster.objects import as_served
from k8s_ws_proxy.devcluster.resources import NAMESPACES, PODS, SECRETS
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    from types import ModuleType

    from k8s_ws_proxy.devcluster.http import Request, Response
    from k8s_ws_proxy.devcluster.resources import Location, Resource
    from k8s_ws_proxy.devcluster.store import Object, Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # what generated names end with: no vowels, so no words


def answer(verb: str, location: Location, request: Request, store: Store) -> Response:
    """What comes of `verb`, which has been allowed.

    Raises Failed.
    """
    match verb:
        case "get":
            found = store.get(location.resource, location.namespace, location.name)
            return http.of_object(as_served(found, location.resource, store))
        case "list":
            return http.of_object(_list(location, request, store))
        case "create":
            return _create(location, request, store)
        case "update":
            return _update(location, request, store)
        case "patch":
            return _patch(location, request, store)
        case "delete":
            return _delete(location, request, store)
        case _:
            raise AssertionError(verb)


def _list(location: Location, request: Request, store: Store) -> dict[str, Any]:
    resource = location.resource
    labels, fields = request.first("labelSelector"), request.first("fieldSelector")
    by_labels = selectors.by_labels(labels)
    by_fields = selectors.by_fields(fields, resource.name)
    limit = request.first("limit") or "0"
    if not limit.isdecimal():
        raise Failed(status.bad_request(f'strconv.ParseInt: parsing "{limit}": invalid syntax'))
    page = store.page(
        resource,
        location.namespace,
        wanted=(lambda item: by_labels(item) and by_fields(item)) if labels or fields else None,
        limit=int(limit),
        token=request.first("continue"),
    )
    metadata: dict[str, Any] = {"resourceVersion": str(page.version)}
    if page.token:
        metadata["continue"] = page.token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    items = [as_served(item, resource, store) for item in page.items]
    of_one_kind = [{k: v for k, v in item.items() if k not in {"kind", "apiVersion"}} for item in items]
    kind = f"{resource.kind}List"
    return {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": of_one_kind}


def _create(location: Location, request: Request, store: Store) -> Response:
    wanted = _read(location, request)
    metadata = wanted["metadata"]
    if "resourceVersion" in metadata:
        raise Failed(status.bad_request("resourceVersion should not be set on objects to be created"))
    if "generateName" in metadata and "name" not in metadata:
        metadata["name"] = metadata["generateName"] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    if location.resource.namespaced:
        _namespace(metadata, location)
        store.get(NAMESPACES, "", location.namespace)  # which admission looks for before the object is looked at
    _check(wanted, None)
    if _dry_run(request):
        return http.of_object(wanted, 201)
    return http.of_object(store.create(location.resource, wanted), 201)


def _update(location: Location, request: Request, store: Store) -> Response:
    wanted = _read(location, request)
    metadata = wanted["metadata"]
    if metadata.get("name") != location.name:
        name = metadata.get("name", "")
        if not name:
            raise Failed(status.bad_request("name must be provided"))
        message = f"the name of the object ({name}) does not match the name on the URL ({location.name})"
        raise Failed(status.bad_request(message))
    return _replace(wanted, location, request, store)


def _patch(location: Location, request: Request, store: Store) -> Response:
    old = store.get(location.resource, location.namespace, location.name)
    patched = patches.apply(old, request.media_type, request.body)
    if location.resource is PODS:
        return _patch_pod(patched, old, location, store)
    try:
        wanted = _shape(location.resource).decode(patched)
    except Unreadable as exc:
        # Word for word what an apiserver does: the message holds the whole object, a Secret's data included.
        text = json.dumps(json.dumps(patched, separators=(",", ":")))
        causes = [status.Cause("FieldValueInvalid", "patch", f"Invalid value: {text}: {exc}")]
        raise Failed(status.invalid("", "", causes)) from exc
    wanted["metadata"].setdefault("name", location.name)
    return _replace(wanted, location, request, store)


def _patch_pod(patched: Object, old: Object, location: Location, store: Store) -> Response:
    """Of a pod there is little that may change; here its labels and annotations."""
    store.check(location.resource, old, patched["metadata"])
    kept = {name: old["metadata"].get(name) for name in old["metadata"] if name not in ("labels", "annotations")}
    if {name: value for name, value in patched.items() if name != "metadata"} != {
        name: value for name, value in old.items() if name != "metadata"
    }:
        causes = [status.Cause("FieldValueForbidden", "spec", "Forbidden: pod updates may not change other fields")]
        raise Failed(status.invalid("Pod", location.name, causes))
    return http.of_object(store.replace(PODS, {**patched, "metadata": {**patched["metadata"], **kept}}))


def _replace(wanted: Object, location: Location, request: Request, store: Store) -> Response:
    old = store.get(location.resource, location.namespace, location.name)
    if location.resource.namespaced:
        _namespace(wanted["metadata"], location)
    store.check(location.resource, old, wanted["metadata"])
    _check(wanted, old)
    return http.of_object(old if _dry_run(request) else store.replace(location.resource, wanted))


def _delete(location: Location, request: Request, store: Store) -> Response:
    options = bodies.document(request) if request.body else {}
    old = store.get(location.resource, location.namespace, location.name)
    store.check(location.resource, old, options.get("preconditions") or {})
    if not _dry_run(request):
        store.delete(location.resource, location.namespace, location.name)
        _collect(old["metadata"]["uid"], location.namespace, store)
    return http.of_status(status.deleted(location.resource.name, location.name, old["metadata"]["uid"]))


def _collect(owner: str, namespace: str, store: Store) -> None:
    """What the garbage collector does: pods of an owner that is gone are told to end. Their kubelet removes them."""
    for pod in list(store.all(PODS, namespace)):
        metadata = pod["metadata"]
        if any(each["uid"] == owner for each in metadata.get("ownerReferences", ())):
            store.replace(PODS, {**pod, "metadata": {**metadata, "deletionTimestamp": "2026-01-01T00:00:00Z"}})


def _read(location: Location, request: Request) -> Object:
    """The object in the body, as it would be stored."""
    document = bodies.document(request)
    kind, version = location.resource.kind, location.resource.api_version
    name = f'{document.get("kind", kind)} in version "{document.get("apiVersion", version)}"'
    if document.get("kind", kind) != kind or document.get("apiVersion", version) != version:
        raise Failed(status.bad_request(f"{name} cannot be handled as a {kind}: no kind is registered for it here"))
    shape = _shape(location.resource)
    unknown = [field for field in document if field not in shape.FIELDS]
    if unknown and request.first("fieldValidation") == "Strict":
        mistakes = ", ".join(f'unknown field "{field}"' for field in unknown)
        raise Failed(status.bad_request(f"{name} cannot be handled as a {kind}: strict decoding error: {mistakes}"))
    try:
        decoded: Object = shape.decode(document | {"kind": kind})
    except Unreadable as exc:
        raise Failed(status.bad_request(f"{name} cannot be handled as a {kind}: {exc}")) from exc
    return decoded


def _namespace(metadata: dict[str, Any], location: Location) -> None:
    if metadata.setdefault("namespace", location.namespace) != location.namespace:
        message = "the namespace of the provided object does not match the namespace sent on the request"
        raise Failed(status.bad_request(message))


def _check(wanted: Object, old: Object | None) -> None:
    shape = secret if wanted["kind"] == SECRETS.kind else roles
    causes = list(shape.mistakes(wanted)) + (list(shape.changes(wanted, old)) if old else [])
    if causes:
        raise Failed(status.invalid(wanted["kind"], wanted["metadata"].get("name", ""), causes))


def _shape(resource: Resource) -> ModuleType:
    """What knows the objects of this kind that are written here: Secrets, and RBAC's four."""
    return secret if resource is SECRETS else roles


def _dry_run(request: Request) -> bool:
    return request.first("dryRun") == "All"
