"""A Secret in Kubernetes' protobuf, which is how kubectl sends one that it creates. Only reading, only this kind."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
# Field numbers, from the .proto files of k8s.io/apimachinery and k8s.io/api.
_TYPE_META, _RAW = 1, 2  # runtime.Unknown
_STRINGS = {1: "name", 2: "generateName", 3: "namespace", 5: "uid", 6: "resourceVersion"}  # ObjectMeta
_MAPS = {11: "labels", 12: "annotations"}


def secret(body: bytes) -> dict[str, Any]:
    """The Secret as JSON would have it.

    Raises ValueError if it can't be read.
    """
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    unknown = dict(_fields(body[len(_MAGIC) :]))
    type_meta = dict(_fields(unknown.get(_TYPE_META, b"")))
    document: dict[str, Any] = {"apiVersion": type_meta.get(1, b"").decode(), "kind": type_meta.get(2, b"").decode()}
    for number, value in _fields(unknown.get(_RAW, b"")):
        match number:
            case 1:
                document["metadata"] = _metadata(value)
            case 2:
                key, data = _entry(value)
                document.setdefault("data", {})[key] = base64.b64encode(data).decode()
            case 3:
                document["type"] = value.decode()
            case 4:
                key, data = _entry(value)
                document.setdefault("stringData", {})[key] = data.decode()
            case 5:
                document["immutable"] = value != b"\0"
    return document


def _metadata(raw: bytes) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for number, value in _fields(raw):
        if number in _STRINGS:
            metadata[_STRINGS[number]] = value.decode()
        elif number in _MAPS:
            key, text = _entry(value)
            metadata.setdefault(_MAPS[number], {})[key] = text.decode()
    return metadata


def _entry(raw: bytes) -> tuple[str, bytes]:
    entry = dict(_fields(raw))
    return entry.get(1, b"").decode(), entry.get(2, b"")


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
