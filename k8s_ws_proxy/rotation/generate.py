"""A new key."""

from __future__ import annotations

import base64
import secrets


def new_key() -> bytes:
    """32 random bytes as base64 text, 44 characters: what callers and the daemon take as it is."""
    return base64.b64encode(secrets.token_bytes(32))
