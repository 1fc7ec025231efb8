"""The headers that say who is asking, and why (docs/reference/requests.md).

They are worth what the signature over them is: nothing here asks whether there was one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import http_sf

from k8s_ws_proxy.errors import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USER_HEADER: Final = "X-Catalyst-User"
GROUPS_HEADER: Final = "X-Catalyst-Groups"
REASON_HEADER: Final = "X-Catalyst-Reason"
NODE_HEADER: Final = "X-Catalyst-Node"
WHO: Final = (USER_HEADER, GROUPS_HEADER, REASON_HEADER)

MOST_GROUPS: Final = 64
LONGEST_GROUPS: Final = 4096  # bytes of the header
LONGEST_REASON: Final = 256  # characters
_USER: Final = re.compile(r"[!-~]{1,253}", re.ASCII)
_ESCAPES: Final = re.compile(r"(?:[ -$&-~]|%[0-9A-Fa-f]{2})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claims:
    """Whom the caller speaks for, and why; what it doesn't say is None or empty."""

    user: str | None = None
    groups: tuple[str, ...] = ()
    reason: str | None = None


def parse_claims(values: Callable[[str], Sequence[str]]) -> Claims:
    """Those in the headers; ``values`` gives a header's values by its name. Raises Refusal(``malformed_identity``)."""
    groups = values(GROUPS_HEADER)
    return Claims(
        _user(_once(USER_HEADER, values(USER_HEADER))),
        _groups(", ".join(groups)) if groups else (),
        _reason(_once(REASON_HEADER, values(REASON_HEADER))),
    )


def _once(header: str, values: Sequence[str]) -> str | None:
    if len(values) > 1:
        raise _malformed(f"{header} may come only once.")
    return values[0].strip(" \t") if values else None


def _user(value: str | None) -> str | None:
    if value is not None and not _USER.fullmatch(value):
        raise _malformed(f"{USER_HEADER} must be 1 to 253 visible ASCII characters.")
    return value


def _groups(value: str) -> tuple[str, ...]:
    what = f'{GROUPS_HEADER} must be a list of strings (RFC 9651 §3.1), such as "ops", "CN=dev,OU=eng"'
    data = value.encode("utf-8", "surrogateescape")
    if len(data) > LONGEST_GROUPS:
        raise _malformed(f"{GROUPS_HEADER} may have at most {LONGEST_GROUPS} bytes.")
    try:
        members: Any = http_sf.parse(data, tltype="list")
    except (http_sf.StructuredFieldError, ValueError) as error:
        raise _malformed(f"{what}.") from error
    groups = [member[0] for member in members]
    if any(type(group) is not str for group in groups) or any(member[1] for member in members):
        raise _malformed(f"{what}, without parameters.")
    if len(groups) > MOST_GROUPS:
        raise _malformed(f"{GROUPS_HEADER} may have at most {MOST_GROUPS} groups.")
    # What is around a header's value is lost on its way: " system:masters" would arrive as something else.
    if any(not group or group != group.strip() for group in groups):
        raise _malformed(f"In {GROUPS_HEADER} a group is empty, or has spaces around it.")
    return tuple(groups)


def _reason(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        reason = unquote(value, errors="strict") if _ESCAPES.fullmatch(value) else None
    except UnicodeDecodeError:
        reason = None
    if reason is None:
        raise _malformed(
            f"{REASON_HEADER} must be UTF-8, percent-encoded where it isn't printable ASCII, and % as %25."
        )
    if len(reason) > LONGEST_REASON:
        raise _malformed(f"{REASON_HEADER} may have at most {LONGEST_REASON} characters.")
    if not reason.isprintable():
        raise _malformed(f"{REASON_HEADER} may hold printable characters only.")
    return reason


def _malformed(text: str) -> Refusal:
    return Refusal(Reason.MALFORMED_IDENTITY, text)
