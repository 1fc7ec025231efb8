"""What a rotation calls the Secret's entries, and whose key an entry is."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_ENTRY: Final = "secret"
NEXT: Final = "next"
PREVIOUS: Final = "previous"
_ROTATED: Final = re.compile(rf"(?:(?P<entry>.+)\.)?(?:{NEXT}|{PREVIOUS})(?:-[0-9]+)?", re.ASCII)


def rotated(entry: str, role: str) -> str:
    """The name for ``entry``'s next or previous key: ``next``, or ``billing.next`` where it isn't the default one."""
    return role if entry == DEFAULT_ENTRY else f"{entry}.{role}"


def entry_of(key_id: str) -> str:
    """The entry that a key belongs to: what a rotation adds or keeps belongs to the one that it rotates."""
    found = _ROTATED.fullmatch(key_id)
    return key_id if found is None else found["entry"] or DEFAULT_ENTRY
