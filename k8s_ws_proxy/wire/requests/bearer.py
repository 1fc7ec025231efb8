"""A ticket in a request's headers: where a program puts it, and where a browser can (docs/reference/sessions.md)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

SUBPROTOCOL_PREFIX: Final = "base64url.bearer.authorization.k8s.io."
"""What a bearer token's subprotocol begins with (Kubernetes, apiserver, websocket.protocol.go)."""
_MEANT: Final = SUBPROTOCOL_PREFIX.removeprefix("base64url.").removesuffix(".")
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}


def ticket_in(authorization: Sequence[str], subprotocols: Sequence[str]) -> str | None:
    """The one ticket in ``Authorization: Bearer`` or among the subprotocols; None where there is none, or more."""
    found = [name.removeprefix(SUBPROTOCOL_PREFIX) for name in subprotocols if name.startswith(SUBPROTOCOL_PREFIX)]
    found += _tokens(authorization)
    return found[0] if len(found) == 1 and _TICKET.fullmatch(found[0]) else None


def ticket_meant(authorization: Sequence[str], subprotocols: Sequence[str]) -> bool:
    """Whether there is one, or what can only be meant as one."""
    return bool(_tokens(authorization)) or any(_MEANT in name for name in subprotocols)


def _tokens(authorization: Sequence[str]) -> list[str]:
    """Of the scheme Bearer, in either case (RFC 9110 §11.1). Others are for what stands in front."""
    found = (value.partition(" ") for value in authorization)
    return [token.strip() for scheme, _, token in found if scheme.lower() == "bearer"]


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` is this host's: same name and port, by whatever scheme it was reached here."""
    try:
        parts = urlsplit(origin)
        port = _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return False
    theirs = parts.netloc.lower().removesuffix(port)
    return bool(theirs) and theirs == host.strip().lower().removesuffix(port)
