"""Requests signed with RFC 9421: what they say of who is asking, refused here where the proxy would refuse it."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import http_sf

from k8s_ws_proxy.errors import ProxyError, Refusal
from k8s_ws_proxy.wire.requests.claims import GROUPS_HEADER, NODE_HEADER, REASON_HEADER, USER_HEADER, parse_claims
from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_AS_IT_IS: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")  # in a reason
_NONCE: Final = 24  # random bytes
_NODE: Final = re.compile(r"[!-~]{1,253}", re.ASCII)


def v2_headers(
    secret: bytes, method: str, target: str, more: Mapping[str, str], *, created: int | None = None, keyid: str = ""
) -> dict[str, str]:
    """``more``, and an RFC 9421 signature over it and the request, made now unless ``created`` says when."""
    created = int(time.time()) if created is None else created
    nonce = secrets.token_urlsafe(_NONCE)
    return signed_headers_v2(secret, method, target, created=created, nonce=nonce, more=more, keyid=keyid)


def user_header(option: str, user: str | None) -> dict[str, str]:
    """For ``user``, whom ``option`` names; none if it is None. Raises ProxyError."""
    if user is None:
        return {}
    if user != user.strip():
        raise ProxyError(f"{option}: {user!r} has spaces around it, which would be lost on the way")
    return _checked(option, USER_HEADER, user)


def groups_header(option: str, groups: Sequence[str]) -> dict[str, str]:
    """For ``groups``, as a Structured Field (RFC 9651 §3.1), in which commas and quotation marks are safe.

    Raises ProxyError.
    """
    if not groups:
        return {}
    try:
        value = http_sf.ser([(group, {}) for group in groups])
    except ValueError as error:
        raise ProxyError(f"{option}: a group's name can hold printable ASCII characters only") from error
    return _checked(option, GROUPS_HEADER, value)


def reason_header(option: str, reason: str | None) -> dict[str, str]:
    """For ``reason``, percent-encoded where it isn't printable ASCII. Raises ProxyError."""
    if reason is None:
        return {}
    reason = reason.strip()
    if not reason:
        raise ProxyError(f"{option}: it says nothing; leave it out, or give a reason")
    # What the command line held that isn't UTF-8 is encoded as it was, and refused as that.
    return _checked(option, REASON_HEADER, quote(reason, safe=_AS_IT_IS, errors="surrogateescape"))


def node_header(option: str, node: str | None) -> dict[str, str]:
    """For the node that the request is meant for. Raises ProxyError."""
    if node is None:
        return {}
    if not _NODE.fullmatch(node):
        raise ProxyError(f"{option}: {node!r} can't be the name of a node")
    return {NODE_HEADER: node}


def _checked(option: str, header: str, value: str) -> dict[str, str]:
    try:
        parse_claims(lambda name: [value] if name == header else [])
    except Refusal as refusal:
        raise ProxyError(f"{option}: {refusal}") from refusal
    return {header: value}
