"""What a request says of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    name = transport.get_extra_info("peername") if transport else None
    return str(name[0]) if name else "?"
