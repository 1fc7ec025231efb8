"""Who was let in, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """How a caller proved who it is; the value stands in the log."""

    HMAC = "hmac"
    RFC9421 = "rfc9421"
    CLIENT_CERT = "client_cert"

    @property
    def signs(self) -> bool:
        """By one of the shared keys, which the principal is then named after."""
        return self is not Mode.CLIENT_CERT


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

    def log_fields(self) -> dict[str, object]:
        """Its claims for a line in the log; of groups only how many, since there may be many and long ones."""
        if self.user is None and not self.groups and self.reason is None:
            return {}
        said = {"user": self.user, "groups": len(self.groups), "caller_reason": self.reason}
        return {name: value for name, value in said.items() if value is not None}
