"""The three patches that are taken: merge (RFC 7396), JSON (RFC 6902), and as much of the strategic one as metadata
and maps need.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import jsonpointer

from k8s_ws_proxy.devcluster import status
from k8s_ws_proxy.devcluster.status import Failed

JSON, MERGE, STRATEGIC = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
ACCEPTED = (JSON, MERGE, STRATEGIC)

_MERGE_KEYS = {"ownerReferences": "uid", "finalizers": None}
"""Lists that a strategic patch merges: by this key of their members, or as sets."""


def apply(document: dict[str, Any], media_type: str, body: bytes) -> dict[str, Any]:
    """`document` as the patch leaves it; the document itself is not changed.

    Raises Failed: 415 for another media type, 400 for what can't be read, 422 for what doesn't fit.
    """
    if media_type not in ACCEPTED:
        raise Failed(status.unsupported_media_type(ACCEPTED))
    try:
        patch = json.loads(body)
    except ValueError as exc:
        raise Failed(status.bad_request(f"error decoding patch: {exc}")) from exc
    if not isinstance(patch, list if media_type == JSON else dict):
        raise Failed(status.bad_request(f"error decoding patch: json: cannot unmarshal {_kind(patch)}"))
    document = copy.deepcopy(document)
    apply_ = {JSON: _json, MERGE: merge, STRATEGIC: strategic}[media_type]
    patched = apply_(document, patch)
    assert isinstance(patched, dict)
    return patched


def merge(document: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def strategic(document: Any, patch: Any) -> Any:
    """A merge patch, but that some lists are merged too, and that a map may say `$patch: replace` or `delete`."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch", "merge")
    patch = {name: value for name, value in patch.items() if not name.startswith("$")}
    if directive == "delete":
        return {}
    merged = dict(document) if isinstance(document, dict) and directive == "merge" else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif name in _MERGE_KEYS and isinstance(value, list):
            merged[name] = _merge_lists(merged.get(name) or [], value, _MERGE_KEYS[name])
        else:
            merged[name] = strategic(merged.get(name), value)
    return merged


def _merge_lists(members: list[Any], patch: list[Any], key: str | None) -> list[Any]:
    if key is None:
        return members + [each for each in patch if each not in members]
    by_key = {each[key]: each for each in members}
    for each in patch:
        if each.get("$patch") == "delete":
            by_key.pop(each.get(key), None)
        else:
            by_key[each.get(key)] = strategic(by_key.get(each.get(key)), each)
    return list(by_key.values())


def _json(document: Any, operations: Any) -> Any:
    try:
        patched = jsonpatch.apply_patch(document, operations, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as exc:
        raise Failed(status.patch_failed()) from exc
    if not isinstance(patched, dict):
        raise Failed(status.patch_failed())
    return patched


def _kind(value: Any) -> str:
    names = {list: "array", dict: "object", str: "string", bool: "bool", int: "number", float: "number"}
    return names.get(type(value), "null")
