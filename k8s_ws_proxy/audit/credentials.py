"""A NATS credentials file: a user's JWT, and the seed of the Ed25519 key that signs the server's nonce.

(docs.nats.io, "JWT authentication"; the seed's form is nkeys': base32 of a prefix, 32 bytes and a CRC-16.)
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = r"-----BEGIN {}-----\s+(\S+)\s+-+END {}-+"
_MOST: Final = 64 * 1024  # bytes of the file
_SEED: Final = 18 << 3  # what the first byte of a seed says: S
_USER: Final = 20 << 3  # and the next one: U


@dataclass(frozen=True, slots=True)
class Credentials:
    """As whom NATS is spoken to."""

    jwt: str = field(repr=False)
    seed: bytes = field(repr=False)

    def signed(self, nonce: str) -> bytes:
        """The signature of a server's ``nonce``, in base64."""
        from nacl.signing import SigningKey  # noqa: PLC0415 - only where there are such

        return base64.b64encode(SigningKey(self.seed).sign(nonce.encode()).signature)


def read(path: Path) -> Credentials:
    """Those in a file. It blocks. Raises AuditError, which holds nothing of what stands in it."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode("ascii", "replace")
    except OSError as error:
        raise AuditError(f"AUDIT_NATS_CREDENTIALS {path} can't be read: {error.strerror}") from error
    jwt, seed = _block(text, "NATS USER JWT"), _block(text, "USER NKEY SEED")
    if not jwt or not seed or (key := _key(seed)) is None:
        raise AuditError(f"AUDIT_NATS_CREDENTIALS {path} isn't a credentials file: a user's JWT and its seed")
    return Credentials(jwt, key)


def _block(text: str, name: str) -> str:
    found = re.search(_BLOCK.format(name, name), text)
    return found[1] if found else ""


def _key(seed: str) -> bytes | None:
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError:
        return None
    if len(raw) != 36 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        return None
    kind, whose = raw[0] & 0xF8, (raw[0] & 7) << 5 | raw[1] >> 3
    return raw[2:-2] if kind == _SEED and whose == _USER else None
