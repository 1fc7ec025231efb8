"""As whom the apiserver is to see a caller: ``IDENTITY`` (docs/reference/settings.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.impersonation import Identity
from k8s_ws_proxy.wire.requests.key_names import entry_of

if TYPE_CHECKING:
    from k8s_ws_proxy.auth.principal import Principal

CALLER_PREFIX: Final = "k8s-ws-proxy:caller:"
CALLERS_GROUP: Final = "k8s-ws-proxy:callers"
_RESERVED: Final = "system:"


@dataclass(frozen=True, slots=True)
class Impersonator:
    """``mode`` is ``proxy``, ``caller`` or ``user``; the prefixes are for ``user``."""

    mode: str = "proxy"
    user_prefix: str = ""
    group_prefix: str = ""

    def identity_of(self, principal: Principal) -> Identity | None:
        """As whom the apiserver is asked for ``principal``; None as the proxy itself.

        Raises Refusal: ``user_required`` or ``identity_denied``.
        """
        if (user := self.user_of(principal)) is None:
            return None
        if self.mode == "caller":
            return Identity(user, (CALLERS_GROUP,))
        return Identity(user, tuple(_allowed(self.group_prefix, group) for group in principal.groups))

    def user_of(self, principal: Principal) -> str | None:
        """The user of that identity: groups, of which there may be many, aren't looked at. Raises as it does."""
        if self.mode == "caller":
            name = entry_of(principal.name) if principal.mode.signs else principal.name
            return _told(CALLER_PREFIX + name)
        if self.mode == "user":
            if principal.user is None:
                raise Refusal(
                    Reason.USER_REQUIRED,
                    "Here each session is a user's (IDENTITY=user): sign with RFC 9421 and send X-Catalyst-User, "
                    "or come with a client certificate that has a CN.",
                )
            return _allowed(self.user_prefix, principal.user)
        return None


def _allowed(prefix: str, name: str) -> str:
    """``name`` with its prefix. Raises Refusal(``identity_denied``) for one that only Kubernetes gives.

    An apiserver lets whoever may impersonate groups become system:masters, who may do everything. It compares bytes; a
    name that looks like one of these is refused, too.
    """
    if any(text.strip().casefold().startswith(_RESERVED) for text in (name, prefix + name)):
        raise Refusal(
            Reason.IDENTITY_DENIED,
            f"Names that begin with {_RESERVED} are Kubernetes' own, and nobody comes in by one.",
        )
    _told(name)  # a prefix alone is nobody's name
    return _told(prefix + name)


def _told(name: str) -> str:
    """Raises Refusal(``identity_denied``) for a name that wouldn't arrive as it is in an HTTP header."""
    if not name or name != name.strip() or not name.isprintable():
        raise Refusal(
            Reason.IDENTITY_DENIED,
            "The name of a user or group is empty, or has spaces around it or characters that can't be sent.",
        )
    return name
