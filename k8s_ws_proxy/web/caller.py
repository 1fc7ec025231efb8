"""What a request says of its caller."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from aiohttp import web

from k8s_ws_proxy.auth.authenticator import Presented
from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.web.transport import StreamTransport, address_of

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

    A client that waits until it may send it is asked for it: so this is for when the head has been accepted, as far as
    it can be. Raises Refusal: ``malformed_request`` or ``request_timeout``.
    """
    if _waits(request) and isinstance(transport := request.transport, StreamTransport):
        transport.ask_for_body()
    try:
        async with asyncio.timeout_at(until):
            return await request.read()
    except TimeoutError:
        raise Refusal(Reason.REQUEST_TIMEOUT, "The request's body was not there in time.") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(Reason.MALFORMED_REQUEST, f"A body may have at most {MAX_BODY} bytes.") from None


def _waits(request: web.BaseRequest) -> bool:
    """Its client sends the body after a 100 only (RFC 9110 §10.1.1), and not all of it has come."""
    if request.version < (1, 1) or request.content.is_eof():
        return False
    return any(value.strip().lower() == "100-continue" for value in request.headers.getall("Expect", []))


def peer_of(request: web.BaseRequest) -> str:
    """The caller's address, without the port."""
    transport = request.transport
    return address_of(transport.get_extra_info("peername") if transport else None)
