"""A command's way to the proxy: the signed upgrade, and what is said where there is no answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote

import aiohttp

from k8s_ws_proxy.cli.answers import Refused, session_of
from k8s_ws_proxy.cli.signer import Signer
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from k8s_ws_proxy.cli.connection import Connection

_Answer = TypeVar("_Answer")

_CONNECT: Final = 10.0  # seconds for TCP and TLS
_HANDSHAKE: Final = 60.0  # seconds for the 101: the proxy has its own, shorter limit and tells it better
_CLOSE: Final = 2.0  # seconds for the other side to take our close frame and answer it
_LARGEST_MESSAGE: Final = 32 << 20  # bytes; docs/observed.md, "Frames": it drops more itself
_SWITCHING: Final = 101
_UPGRADE_REQUIRED: Final = 426
_GOOD: Final = (200, 202)
_LARGEST_BODY: Final = 64 * 1024  # bytes of a refusal that are read

# Only a connection without traffic is asked whether it still lives; one that is busy never is.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """An open WebSocket, and the name that the proxy's log has for its session, where it said so."""

    ws: aiohttp.ClientWebSocketResponse[Any]
    session: str


@contextlib.asynccontextmanager
async def upgraded(
    to: Connection, path: str, query: str, subprotocols: Sequence[str] = SUBPROTOCOLS
) -> AsyncIterator[Upgraded]:
    """A WebSocket to ``path`` (percent-decoded) of the proxy, until the block is left.

    Raises ProxyError with a sentence that says what to do.
    """
    async with upgraded_by(Signer(to, _target(path, query)), subprotocols) as opened:
        yield opened


@contextlib.asynccontextmanager
async def upgraded_by(signer: Signer, subprotocols: Sequence[str] = SUBPROTOCOLS) -> AsyncIterator[Upgraded]:
    """A WebSocket by the request that ``signer`` signs, until the block is left. Raises ProxyError."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
    transports: list[asyncio.BaseTransport] = []
    named: list[str] = []

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Read a refusal while it can be read: ``ws_connect`` throws the body away. No redirect is followed."""
        response = await handler(request)
        if response.status != _SWITCHING:
            try:
                body = await _body(response)
            except aiohttp.ClientError:
                body = b""
            response.close()
            raise signer.refused(response, body)
        named.append(session_of(response))
        if response.connection is not None and response.connection.transport is not None:
            transports.append(response.connection.transport)
        return response

    async with _session(signer, timeout, look) as session:

        async def ask() -> aiohttp.ClientWebSocketResponse[Any]:
            async with asyncio.timeout(_HANDSHAKE):
                ws: aiohttp.ClientWebSocketResponse[Any] = await session.ws_connect(
                    signer.url,
                    protocols=subprotocols,
                    **_by(signer.to),
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE),
                    max_msg_size=_LARGEST_MESSAGE,
                    autoping=False,  # see keepalive.py: answering must not wait for the socket
                    compress=0,
                    decode_text=False,
                )
                return ws

        ws = await _until_taken(signer, ask)
        _keep_alive(ws.get_extra_info("socket"))
        try:
            yield Upgraded(ws, named[-1])
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE):
                    await ws.close()
            for transport in transports:
                # Both have said their close. asyncio's TLS would wait for a close of its own, in a loop that ends now.
                # Python 3.11.2's has nothing left to abort once it was closed twice, and trips over that.
                with contextlib.suppress(AttributeError):
                    cast("asyncio.Transport", transport).abort()


async def let_in(to: Connection, path: str) -> None:
    """Ask for ``path`` without an upgrade: the proxy says whether it would let us in, and opens nothing.

    Raises ProxyError if it wouldn't, or can't be asked.
    """
    timeout = aiohttp.ClientTimeout(total=_HANDSHAKE, sock_connect=_CONNECT)
    signer = Signer(to, _target(path, ""))
    async with _session(signer, timeout) as session:

        async def ask() -> None:
            async with session.get(signer.url, allow_redirects=False, **_by(to)) as response:
                body = await _body(response)
            if response.status != _UPGRADE_REQUIRED:
                raise signer.refused(response, body)

        await _until_taken(signer, ask)


async def answer_of(to: Connection, method: str, target: str, *, max_bytes: int) -> tuple[bytes, str]:
    """The body of a good answer to this request, up to ``max_bytes``, and its Date; ``target`` is path and query.

    Raises ProxyError if it is another, or if there is none.
    """
    timeout = aiohttp.ClientTimeout(total=_HANDSHAKE, sock_connect=_CONNECT)
    signer = Signer(to, target)
    async with _session(signer, timeout) as session:

        async def ask() -> tuple[bytes, str]:
            async with session.request(method, signer.url, allow_redirects=False, **_by(to)) as response:
                if response.status in _GOOD:
                    return await _body(response, max_bytes), response.headers.get("Date", "")
                raise signer.refused(response, await _body(response))

        return await _until_taken(signer, ask)


@contextlib.asynccontextmanager
async def download(signer: Signer) -> AsyncIterator[aiohttp.StreamReader]:
    """The body of a good answer to the GET that ``signer`` signs, as it comes, until the block is left.

    Raises ProxyError.
    """
    async with _session(signer, aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)) as session:

        async def ask() -> aiohttp.ClientResponse:
            async with asyncio.timeout(_HANDSHAKE):
                response = await session.get(signer.url, allow_redirects=False, **_by(signer.to))
                if response.status in _GOOD:
                    # Who only reads would never notice that a node is gone which could say nothing any more.
                    if response.connection is not None and response.connection.transport is not None:
                        _keep_alive(response.connection.transport.get_extra_info("socket"))
                    return response
                async with response:
                    raise signer.refused(response, await _body(response))

        response = await _until_taken(signer, ask)
        try:
            yield response.content
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProxyError(f"{signer.to.url} broke off in the middle: what came isn't whole. Try again") from error
        finally:
            response.close()


def _session(
    signer: Signer, timeout: aiohttp.ClientTimeout, *middlewares: aiohttp.ClientMiddlewareType
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=timeout, middlewares=(*middlewares, signer.sign), trust_env=signer.to.way is not None
    )


def _keep_alive(connected: Any) -> None:
    """Have the kernel ask whether the peer of this socket, if it is one, still lives."""
    for level, option, value in _KEEPALIVE:
        with contextlib.suppress(OSError, AttributeError):
            connected.setsockopt(level, option, value)


def _by(to: Connection) -> dict[str, Any]:
    """How a request gets there."""
    how: dict[str, Any] = {"ssl": to.tls or True}
    if (way := to.way) is not None:
        how |= {"proxy": way.proxy, "proxy_headers": way.proxy_headers, "server_hostname": way.server_name}
    return how


def _target(path: str, query: str) -> str:
    """What stands in the request line, as the proxy gets to see it."""
    return f"{quote(path)}?{query}" if query else quote(path)


async def _until_taken(signer: Signer, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """What ``ask`` gives, with each of the signatures that there is a reason to try. Raises ProxyError."""
    while True:
        try:
            with _told(signer):
                return await ask()
        except Refused as refused:
            if not await signer.another(refused):
                raise


@contextlib.contextmanager
def _told(signer: Signer) -> Iterator[None]:
    """What goes wrong before there is an answer, as a ProxyError."""
    try:
        yield
    except (TimeoutError, aiohttp.ClientError) as error:
        raise ProxyError(signer.unanswered(error)) from error


async def _body(response: aiohttp.ClientResponse, max_bytes: int = _LARGEST_BODY) -> bytes:
    body = b""
    while len(body) < max_bytes and (part := await response.content.read(_LARGEST_BODY)):
        body += part
    return body
