"""What a request says of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.auth.authenticator import Presented

if TYPE_CHECKING:
    from aiohttp import web


def presented(request: web.BaseRequest, path: str) -> Presented:
    """For the authorizer; ``path`` is percent-decoded."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    return Presented(request.method, request.raw_path, path, request.headers, certificate)


def peer_of(request: web.BaseRequest) -> str:
    """The caller's address, without the port."""
    transport = request.transport
    return address_of(transport.get_extra_info("peername") if transport else None)


def address_of(name: tuple[Any, ...] | None) -> str:
    """The address in a socket's name: an IPv4 one as such, also on a socket for both (RFC 4291 §2.5.5.2)."""
    return str(name[0]).removeprefix("::ffff:") if name else "?"
