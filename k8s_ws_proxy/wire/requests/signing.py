"""Signing v1: who may open a session, decided from two headers (docs/reference/signing.md)."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import CredentialRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMESTAMP_HEADER = "X-Catalyst-Timestamp"
HMAC_HEADER = "X-Catalyst-HMAC"

_FINGERPRINTED = b"k8s-ws-proxy key v1\0"  # before the key, so that no other use of SHA-256 gives the same digits

_UNIX_SECONDS = re.compile(r"[0-9]{1,19}", re.ASCII)
_SHA256_HEX = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Key:
    """An accepted key: its ``id`` may be logged, its ``secret`` never is (it has no place in ``repr``)."""

    id: str
    secret: bytes = field(repr=False)


def key_fingerprint(secret: bytes) -> str:
    """12 hex digits that tell keys apart and may be shown: of SHA-256 over a fixed prefix and the key.

    Who knows them can try guesses against them, as against any signature: a key must be too long to guess.
    """
    return hashlib.sha256(_FINGERPRINTED + secret).hexdigest()[:12]


def sign(secret: bytes, timestamp: str, path: str) -> str:
    """The lower-case hex HMAC-SHA256 of ``"{timestamp}:{path}"``.

    ``path`` is percent-decoded and has neither query nor fragment; ``timestamp`` is Unix seconds as decimal text.
    """
    return hmac.new(secret, f"{timestamp}:{path}".encode(), hashlib.sha256).hexdigest()


def signed_headers(secret: bytes, path: str, now: int) -> dict[str, str]:
    """The two headers for a request to ``path`` made at ``now`` (Unix seconds)."""
    timestamp = str(now)
    return {TIMESTAMP_HEADER: timestamp, HMAC_HEADER: sign(secret, timestamp, path)}


def verify(
    timestamps: Sequence[str],
    hmacs: Sequence[str],
    *,
    path: str,
    keys: Sequence[Key],
    now: float,
    skew: int,
) -> Key:
    """The key that signed the request.

    ``timestamps`` and ``hmacs`` are all the values of each header, as they came; ``now`` is Unix seconds and
    ``skew`` the seconds by which a timestamp may differ from it, both ends included.

    Raises CredentialRefused with ``missing_timestamp``, ``missing_hmac``, ``malformed_timestamp``,
    ``malformed_hmac``, ``expired`` or ``bad_signature``, in this order of precedence; a header that comes twice is
    malformed, and stands where a missing one would.
    """
    timestamp = _single(timestamps, TIMESTAMP_HEADER, Reason.MISSING_TIMESTAMP, Reason.MALFORMED_TIMESTAMP)
    signature = _single(hmacs, HMAC_HEADER, Reason.MISSING_HMAC, Reason.MALFORMED_HMAC)
    if not _UNIX_SECONDS.fullmatch(timestamp) or int(timestamp) > _INT64_MAX:
        raise CredentialRefused(
            Reason.MALFORMED_TIMESTAMP, f"{TIMESTAMP_HEADER} must be Unix seconds in decimal digits."
        )
    if not _SHA256_HEX.fullmatch(signature):
        raise CredentialRefused(Reason.MALFORMED_HMAC, f"{HMAC_HEADER} must be the 64 hex digits of an HMAC-SHA256.")
    if abs(int(now) - int(timestamp)) > skew:
        raise CredentialRefused(
            Reason.EXPIRED,
            f"{TIMESTAMP_HEADER} is more than {skew} s away from this server's clock: "
            "compare yours with the Date header of this answer.",
            detail=f"timestamp {int(timestamp) - int(now):+d} s",
        )
    signer: Key | None = None
    for key in keys:  # every key, whether or not one matched already: the time taken tells nothing
        if hmac.compare_digest(sign(key.secret, timestamp, path), signature.lower()):
            signer = key
    if signer is None:
        raise CredentialRefused(
            Reason.BAD_SIGNATURE,
            f"{HMAC_HEADER} doesn't match. Sign '<timestamp>:<path>', the path percent-decoded and "
            "without its query, with the current secret.",
        )
    return signer


def _single(values: Sequence[str], name: str, missing: Reason, malformed: Reason) -> str:
    if len(values) > 1:
        raise CredentialRefused(malformed, f"{name} may come only once.")
    value = values[0].strip(" \t") if values else ""
    if not value:
        raise CredentialRefused(missing, f"{name} is missing: every request must be signed.")
    return value
