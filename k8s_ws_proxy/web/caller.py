"""What a request says of its caller."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from aiohttp import web

from k8s_ws_proxy.auth.authenticator import Presented
from k8s_ws_proxy.errors import Reason, Refusal

MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body that are read."""


def presented(request: web.BaseRequest, path: str, until: float) -> Presented:
    """For the authorizer; ``path`` is percent-decoded. A body that is signed must be there by ``until``, the loop's."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    secure = transport is not None and transport.get_extra_info("sslcontext") is not None
    return Presented(
        request.method,
        request.raw_path,
        path,
        request.headers,
        certificate,
        "https" if secure else "http",
        request.body_exists,
        partial(body_of, request, until),
    )


async def body_of(request: web.BaseRequest, until: float) -> bytes:
    """The body, which is kept in the request, if it is there by ``until``, the loop's time.

    Raises Refusal: ``malformed_request`` or ``request_timeout``.
    """
    try:
        async with asyncio.timeout_at(until):
            return await request.read()
    except TimeoutError:
        raise Refusal(Reason.REQUEST_TIMEOUT, "The request's body was not there in time.") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(Reason.MALFORMED_REQUEST, f"A body may have at most {MAX_BODY} bytes.") from None


def peer_of(request: web.BaseRequest) -> str:
    """The caller's address, without the port."""
    transport = request.transport
    return address_of(transport.get_extra_info("peername") if transport else None)


def address_of(name: tuple[Any, ...] | None) -> str:
    """The address in a socket's name: an IPv4 one as such, also on a socket for both (RFC 4291 §2.5.5.2)."""
    return str(name[0]).removeprefix("::ffff:") if name else "?"
