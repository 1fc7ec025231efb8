"""Objects in Kubernetes' protobuf, which is how kubectl sends those that it makes. Only reading, only these kinds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_TYPE_META, _RAW = 1, 2  # runtime.Unknown

Reader = Callable[[bytes], Any]
Message = dict[int, tuple[str, type | None, Reader]]
"""By number: a field's name, whether there are many (`list`, `dict`), and what reads one."""


def read(body: bytes) -> dict[str, Any]:
    """The object as JSON would have it; of a kind that isn't known here, no more than its kind.

    Raises ValueError if it can't be read.
    """
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    unknown = dict(_fields(body[len(_MAGIC) :]))
    type_meta = dict(_fields(unknown.get(_TYPE_META, b"")))
    document: dict[str, Any] = {"apiVersion": type_meta.get(1, b"").decode(), "kind": type_meta.get(2, b"").decode()}
    document |= _message(_KINDS.get(document["kind"], {}))(unknown.get(_RAW, b""))
    return document


def _message(fields: Message) -> Reader:
    def read_(raw: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, value in _fields(raw):
            name, many, reader = fields.get(number, ("", None, bytes))
            if not name:
                continue
            if many is list:
                found.setdefault(name, []).append(reader(value))
            elif many is dict:
                entry = dict(_fields(value))
                found.setdefault(name, {})[entry.get(1, b"").decode()] = reader(entry.get(2, b""))
            else:
                found[name] = reader(value)
        return found

    return read_


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _text(raw: bytes) -> str:
    return raw.decode()


def _texts(*names: str) -> Message:
    """Texts, numbered from 1."""
    return {number: (name, None, _text) for number, name in enumerate(names, 1)}


def _truth(raw: bytes) -> bool:
    return raw != b"\0"


# Field numbers, from the .proto files of k8s.io/apimachinery and k8s.io/api.
_METADATA = _message(
    {number: (name, None, _text) for number, name in ((5, "uid"), (6, "resourceVersion"))}
    | _texts("name", "generateName", "namespace")
    | {11: ("labels", dict, _text), 12: ("annotations", dict, _text)}
)
_RULE: Message = {
    number: (name, list, _text)
    for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
}
_SPEC: Message = {
    1: (
        "resourceAttributes",
        None,
        _message(_texts("namespace", "verb", "group", "version", "resource", "subresource", "name")),
    ),
    2: ("nonResourceAttributes", None, _message(_texts("path", "verb"))),
    3: ("user", None, _text),
    4: ("groups", list, _text),
    6: ("uid", None, _text),
}
_ROLE: Message = {2: ("rules", list, _message(_RULE))}
_BINDING: Message = {
    2: ("subjects", list, _message(_texts("kind", "apiGroup", "name", "namespace"))),
    3: ("roleRef", None, _message(_texts("apiGroup", "kind", "name"))),
}
_SECRET: Message = {
    2: ("data", dict, _base64),
    3: ("type", None, _text),
    4: ("stringData", dict, _text),
    5: ("immutable", None, _truth),
}
_REVIEW: Message = {2: ("spec", None, _message(_SPEC))}
_KINDS: dict[str, Message] = {
    kind: {1: ("metadata", None, _METADATA)} | fields
    for kind, fields in {
        "Secret": _SECRET,
        "Role": _ROLE,
        "ClusterRole": _ROLE,
        "RoleBinding": _BINDING,
        "ClusterRoleBinding": _BINDING,
        "SubjectAccessReview": _REVIEW,
        "SelfSubjectAccessReview": _REVIEW,
    }.items()
}


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each field; a varint's value is one byte, which is all that is asked of one here."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(raw, position)
            yield number, bytes((value & 0xFF,))
        elif wire_type == 2:
            length, position = _varint(raw, position)
            if position + length > len(raw):
                raise ValueError("unexpected EOF")
            yield number, raw[position : position + length]
            position += length
        else:
            raise ValueError(f"proto: wrong wireType = {wire_type}")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(raw):
            raise ValueError("unexpected EOF")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise ValueError("proto: integer overflow")
