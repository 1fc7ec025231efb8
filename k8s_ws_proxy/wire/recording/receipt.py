"""The receipt of a recording: whose session it was, how it ended, what the file's hash is; sealed with the shared key.

Who has the recording and the key can tell that neither was changed. Who has the key can write another one: it stands
against those who can reach the files, not against those who sign requests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import rfc8785

from k8s_ws_proxy.wire.requests.signing import key_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION: Final = 1
INTERRUPTED: Final = "interrupted"
"""The ``ending`` of a session whose daemon was killed."""
_LABEL: Final = b"k8s-ws-proxy receipt v1"
_LONGEST: Final = 1024 * 1024  # bytes of a receipt: a command of 64 KiB may be escaped, and have many watchers


@dataclass(frozen=True, slots=True)
class File:
    """The recording itself. ``sha256`` is hexadecimal, ``size`` in bytes.

    ``replaced`` counts characters that stand for bytes that were no UTF-8; None where who counted was killed.
    ``problem`` says why it isn't whole.
    """

    path: str
    size: int
    sha256: str
    replaced: int | None = 0
    problem: str = ""

    def told(self) -> dict[str, Any]:
        """Its part of the receipt."""
        return {
            "recordingPath": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "replaced": self.replaced,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class End:
    """How the session ended: ``ended`` is a date (RFC 3339), ``ending`` the reason in the log, or ``interrupted``.

    The counts are those of the session's end in the log; None where the daemon was killed before.
    """

    ended: str
    ending: str
    exit_code: int | None
    bytes_in: int | None
    bytes_out: int | None
    watchers: tuple[Mapping[str, str], ...] = ()

    def told(self) -> dict[str, Any]:
        """Its part of the receipt."""
        return {
            "ended": self.ended,
            "ending": self.ending,
            "exitCode": self.exit_code,
            "bytesIn": self.bytes_in,
            "bytesOut": self.bytes_out,
            "watchers": [dict(each) for each in self.watchers],
        }


class Verdict(Enum):
    """What a receipt and its recording are worth."""

    WHOLE = "whole"
    RECORDING_CHANGED = "recording_changed"
    RECEIPT_CHANGED = "receipt_changed"
    OTHER_KEY = "other_key"  # none of the keys given is the one that it was sealed with
    NOT_A_RECEIPT = "not_a_receipt"


def sealed(begun: Mapping[str, Any], end: End, file: File, secret: bytes) -> bytes:
    """The receipt's bytes: what was known at the begin, how it ended, the file, and the seal of it all."""
    told = {"version": VERSION, **begun, **end.told(), **file.told(), "key": key_fingerprint(secret)}
    return canonical({**told, "hmac": _seal(told, secret)}) + b"\n"


def verify(receipt: bytes, sha256: str | None, secrets: Iterable[bytes]) -> Verdict:
    """Whether ``receipt`` was sealed with one of ``secrets``, and is of a file with that hash, if one is given."""
    told = parse(receipt)
    if told is None:
        return Verdict.NOT_A_RECEIPT
    seal = told.pop("hmac")
    secret = next((each for each in secrets if key_fingerprint(each) == told["key"]), None)
    if secret is None:
        return Verdict.OTHER_KEY
    try:
        genuine = hmac.compare_digest(_seal(told, secret), seal)
    except rfc8785.CanonicalizationError:
        genuine = False
    if not genuine:
        return Verdict.RECEIPT_CHANGED
    return Verdict.WHOLE if sha256 in (None, told["sha256"]) else Verdict.RECORDING_CHANGED


def parse(receipt: bytes) -> dict[str, Any] | None:
    """What is in it; None where it is none."""
    if len(receipt) > _LONGEST:
        return None
    try:
        told = json.loads(receipt)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    texts = ("sessionId", "namespace", "recordingPath", "sha256", "key", "hmac")
    whole = all(isinstance(told.get(name), str) for name in texts) and told["hmac"].isascii()
    return told if whole and told.get("version") == VERSION else None


def entry(known: Mapping[str, Any], secret: bytes) -> bytes:
    """What is known of a session that goes on, sealed: for the receipt of one whose daemon is killed."""
    return canonical({**known, "hmac": _seal(known, secret)})


def watchers_in(entered: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Who had watched the session when the entry was written, as far as that can be read."""
    found = entered.get("watchers")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def is_genuine(entered: Mapping[str, Any], secret: bytes) -> bool:
    """Whether such an entry was sealed with ``secret``."""
    seal = entered.get("hmac")
    try:
        expected = _seal({name: value for name, value in entered.items() if name != "hmac"}, secret)
    except rfc8785.CanonicalizationError:
        return False
    return isinstance(seal, str) and seal.isascii() and hmac.compare_digest(expected, seal)


def canonical(told: Mapping[str, Any]) -> bytes:
    """As JSON in one way only (RFC 8785)."""
    return rfc8785.dumps(dict(told))


def key_of(secret: bytes) -> bytes:
    """The key for receipts, made of the shared one: HKDF-SHA256 (RFC 5869), without salt, of one block."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, _LABEL + b"\x01", hashlib.sha256)


def _seal(told: Mapping[str, Any], secret: bytes) -> str:
    return hmac.digest(key_of(secret), canonical(told), hashlib.sha256).hex()
