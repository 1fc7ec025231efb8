"""What makes a Secret one: base64 data, stringData that goes into it, and no change once it is immutable."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import metadata
from k8s_ws_proxy.devcluster.metadata import Unreadable, expect, expect_strings
from k8s_ws_proxy.devcluster.status import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE = 1 << 20
"""Bytes of all values together, decoded."""
FIELDS = frozenset({"kind", "apiVersion", "metadata", "data", "stringData", "type", "immutable"})
_FROZEN = "Forbidden: field is immutable when `immutable` is set"
_KEY = r"[-._a-zA-Z0-9]+"
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    f"or 'key-name', regex used for validation is '{_KEY}')"
)


def decode(document: dict[str, Any]) -> dict[str, Any]:
    """The Secret that a client sent, as it is stored: stringData folded into data, fields nobody knows left out.

    Raises metadata.Unreadable.
    """
    expect_strings(document.get("data"), "Secret.data")
    expect_strings(document.get("stringData"), "Secret.stringData")
    expect(document.get("type"), str, "Secret.type")
    expect(document.get("immutable"), bool, "Secret.immutable")
    data = {key: _base64(value or "") for key, value in (document.get("data") or {}).items()}
    strings = document.get("stringData") or {}
    data |= {key: base64.b64encode((value or "").encode()).decode() for key, value in strings.items()}
    decoded: dict[str, Any] = {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": metadata.decode(document.get("metadata")),
    }
    if data:
        decoded["data"] = data
    if document.get("immutable") is not None:
        decoded["immutable"] = document["immutable"]
    decoded["type"] = document.get("type") or "Opaque"
    return decoded


def mistakes(secret: dict[str, Any]) -> Iterator[Cause]:
    """What is wrong with a Secret that could be read."""
    yield from metadata.mistakes(secret["metadata"])
    data = secret.get("data", {})
    for key in data:
        if len(key) > 253 or key in {".", ".."} or not re.fullmatch(_KEY, key):
            yield Cause("FieldValueInvalid", f"data[{key}]", f'Invalid value: "{key}": {_KEY_RULE}')
    if sum(len(base64.b64decode(value)) for value in data.values()) > MAX_SIZE:
        yield Cause("FieldValueTooLong", "data", f"Too long: may not be more than {MAX_SIZE} bytes")


def changes(new: dict[str, Any], old: dict[str, Any]) -> Iterator[Cause]:
    """What an update must not change, and does."""
    yield from metadata.changes(new["metadata"], old["metadata"])
    if new["type"] != old["type"]:
        yield Cause("FieldValueInvalid", "type", f'Invalid value: "{new["type"]}": field is immutable')
    if old.get("immutable"):
        if not new.get("immutable"):
            yield Cause("FieldValueForbidden", "immutable", _FROZEN)
        if new.get("data", {}) != old.get("data", {}):
            yield Cause("FieldValueForbidden", "data", _FROZEN)


def _base64(text: str) -> str:
    """The text itself, without line breaks, if Go's decoder would take it."""
    text = text.replace("\r", "").replace("\n", "")
    illegal = re.search(r"[^A-Za-z0-9+/=]", text)
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        at = illegal.start() if illegal else len(text.rstrip("=")) // 4 * 4
        raise Unreadable(f"illegal base64 data at input byte {at}") from None
    return text
