"""``Range: bytes=...`` (RFC 9110 §14): which of a file's bytes are wanted."""

from __future__ import annotations

import re
from typing import Final

_ONE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*", re.ASCII | re.IGNORECASE)


class OutOfRange(Exception):
    """None of the bytes are there (RFC 9110 §15.5.17)."""


def byte_range(value: str, size: int) -> range | None:
    """The bytes, of ``size`` that there are, that one range in a ``Range`` header asks for.

    None where the header is to be passed over, and all of it sent: it is in another unit, isn't well formed, or asks
    for several ranges (§14.2 leaves that to the server). Raises OutOfRange.
    """
    found = _ONE.fullmatch(value)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        suffix = int(found[2])
        if not suffix:
            raise OutOfRange
        return range(max(0, size - suffix), size) if size else None
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None  # §14.1.1: it is invalid
    if first >= size:
        raise OutOfRange
    return range(first, min(last + 1, size))
