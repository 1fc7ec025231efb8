"""ObjectMeta: what may stand in it, and what an object's reader would choke on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster.status import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ANNOTATIONS = 256 << 10
"""Bytes of all keys and values of an object's annotations together."""
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
)
_IMMUTABLE = ("uid", "name", "namespace", "creationTimestamp")


class Unreadable(Exception):
    """A field is of the wrong type; the text is what Go's decoder would say."""


def expect(value: Any, wanted: type, path: str) -> None:
    """Raise Unreadable unless `value` is of this JSON type, or null."""
    if value is None or type(value) is wanted:
        return
    found = {list: "array", dict: "object", str: "string", bool: "bool"}.get(type(value), "number")
    go = {str: "string", bool: "bool", dict: "map[string]string"}[wanted]
    raise Unreadable(f"json: cannot unmarshal {found} into Go struct field {path} of type {go}")


def expect_strings(value: Any, path: str) -> None:
    """Raise Unreadable unless `value` is a map of strings, or null."""
    expect(value, dict, path)
    for each in (value or {}).values():
        expect(each, str, path)


def decode(metadata: Any) -> dict[str, Any]:
    """The metadata of what a client sent, without what is empty.

    Raises Unreadable.
    """
    expect(metadata, dict, "ObjectMeta.metadata")
    found = {name: value for name, value in (metadata or {}).items() if value not in (None, "", {}, [])}
    for name in ("name", "generateName", "namespace", "uid", "resourceVersion", "creationTimestamp"):
        expect(found.get(name), str, f"ObjectMeta.metadata.{name}")
    for name in ("labels", "annotations"):
        expect_strings(found.get(name), f"ObjectMeta.metadata.{name}")
    return found


def mistakes(metadata: dict[str, Any]) -> Iterator[Cause]:
    """What is wrong with metadata that could be read (apimachinery: ValidateObjectMeta)."""
    name = metadata.get("name", "")
    if not name:
        yield Cause("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")
    elif len(name) > 253:
        yield Cause("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": must be no more than 253 bytes')
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield Cause("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {_SUBDOMAIN_RULE}')
    for field in ("labels", "annotations"):
        for key in metadata.get(field, {}):
            prefix, slash, part = key.rpartition("/")
            if len(part) > 63 or not re.fullmatch(_NAME, part):
                yield Cause("FieldValueInvalid", f"metadata.{field}", f'Invalid value: "{key}": {_NAME_RULE}')
            elif slash and not re.fullmatch(_SUBDOMAIN, prefix.lower() if field == "annotations" else prefix):
                rule = f"prefix part {_SUBDOMAIN_RULE}"
                yield Cause("FieldValueInvalid", f"metadata.{field}", f'Invalid value: "{key}": {rule}')
    for value in metadata.get("labels", {}).values():
        if len(value) > 63 or not re.fullmatch(f"({_NAME})?", value):
            rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            yield Cause("FieldValueInvalid", "metadata.labels", f'Invalid value: "{value}": {rule}')
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.get("annotations", {}).items())
    if size > MAX_ANNOTATIONS:
        text = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        yield Cause("FieldValueTooLong", "metadata.annotations", text)


def changes(new: dict[str, Any], old: dict[str, Any]) -> Iterator[Cause]:
    """What an update must not change, and does. What it leaves out stays as it was."""
    for field in _IMMUTABLE:
        if field in new and new[field] != old.get(field):
            text = f'Invalid value: "{new[field]}": field is immutable'
            yield Cause("FieldValueInvalid", f"metadata.{field}", text)
