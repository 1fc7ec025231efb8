"""UUIDs that sort by time (RFC 9562 §5.7)."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Final

_MILLISECONDS: Final = (1 << 48) - 1
_VERSION: Final = 7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM: Final = ~((0xF << 76) | (0b11 << 62))


def uuid7() -> str:
    """One made now: 48 bits of Unix milliseconds, 74 random ones."""
    now = (time.time_ns() // 1_000_000) & _MILLISECONDS
    return str(uuid.UUID(int=now << 80 | (secrets.randbits(80) & _RANDOM) | _VERSION | _VARIANT))
