"""Where a list goes on: an id, sealed. It may be that of a recording which its reader may know nothing of."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import uuid
from typing import Final

_NONCE: Final = 12  # bytes
_ID: Final = 16
_SEAL: Final = 16


class Cursors:
    """Made and understood by one daemon only, as long as it runs."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def seal(self, session: str) -> str:
        """A token for this id."""
        nonce = secrets.token_bytes(_NONCE)
        hidden = self._mixed(nonce, uuid.UUID(session).bytes)
        return base64.urlsafe_b64encode(nonce + hidden + self._seal(nonce + hidden)).decode().rstrip("=")

    def open(self, token: str) -> str | None:
        """The id; None where the token isn't one of ours."""
        try:
            found = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        if len(found) != _NONCE + _ID + _SEAL or not hmac.compare_digest(self._seal(found[:-_SEAL]), found[-_SEAL:]):
            return None
        return str(uuid.UUID(bytes=self._mixed(found[:_NONCE], found[_NONCE:-_SEAL])))

    def _mixed(self, nonce: bytes, data: bytes) -> bytes:
        pad = hmac.digest(self._key, b"id" + nonce, "sha256")
        return bytes(one ^ other for one, other in zip(data, pad, strict=False))

    def _seal(self, data: bytes) -> bytes:
        return hmac.digest(self._key, b"seal" + data, "sha256")[:_SEAL]
