"""Who was let in, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """How a caller proved who it is; the value stands in the log."""

    HMAC = "hmac"
    CLIENT_CERT = "client_cert"


@dataclass(frozen=True, slots=True)
class Principal:
    """``name`` is the key's id, or the certificate's subject that is listed.

    The rest are claims, as far as the credential makes any: ``user`` and ``groups`` are whom the caller speaks for,
    ``reason`` is why. ``guacd``: the certificate's subject says that this is guacd, which needs its own profile
    (``wire.rules.guacd``).
    """

    mode: Mode
    name: str
    user: str | None = None
    groups: tuple[str, ...] = ()
    reason: str | None = None
    guacd: bool = False
