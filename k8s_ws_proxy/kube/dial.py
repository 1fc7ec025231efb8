"""Dialling the apiserver: a connection, and one HTTP exchange on it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import secrets
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.errors import (
    ClusterConfigError,
    UpstreamError,
    UpstreamNotTried,
    UpstreamRefused,
    UpstreamUnreachable,
)
from k8s_ws_proxy.kube.connect import connect, keep_session
from k8s_ws_proxy.relay.stream import NothingSent, Stream, StreamLost
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS
from k8s_ws_proxy.wire.http.body import Download, DownloadExchange
from k8s_ws_proxy.wire.http.handshake import Exchange, Upgrade, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.config import Endpoint
    from k8s_ws_proxy.kube.ready import Ready
    from k8s_ws_proxy.wire.http.handshake import Headers

_T = TypeVar("_T")

_READ: Final = 32 * 1024  # bytes: a TLS record must fit
# Bytes of a plain answer. etcd takes objects up to 1.5 MiB; what is parsed at once is time that everybody waits.
_MAX_BODY: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upgraded connection to the apiserver, and what it sent right after the 101."""

    stream: Stream
    subprotocol: str | None
    early: bytes

    async def read(self) -> bytes:
        """The next bytes. Raises EOFError or StreamLost.

        Others have their turn before, and a time-out its chance, however much there is to be read.
        """
        await asyncio.sleep(0)
        block = bytearray(_READ)
        while (count := self.stream.read_into(memoryview(block))) is None:
            await self.stream.readable()
        if not count:
            raise EOFError("the connection ended")
        return bytes(block[:count])


async def dial(
    access: Access,
    path: str,
    subprotocols: Sequence[str] = SUBPROTOCOLS,
    more: Headers = (),
    *,
    ready: Ready | None = None,
) -> Upstream:
    """Open a WebSocket to ``path`` on the apiserver, which takes one of ``subprotocols`` (or, by saying none, v4).

    ``more`` are headers of the request, as in the other two; ``ready`` may have a connection for it. Raises
    UpstreamError; the caller bounds the time.
    """
    return await _afresh(access, lambda: _dial_once(access, path, subprotocols, more, ready))


async def download(
    access: Access, path: str, more: Headers = (), *, ready: Ready | None = None
) -> tuple[Stream, Download]:
    """GET ``path`` up to where the answer's body begins. Raises UpstreamError; the caller bounds the time."""
    return await _afresh(access, lambda: _download_once(access, path, more, ready))


async def get(access: Access, path: str, more: Headers = (), *, posted: bytes | None = None) -> tuple[int, str, bytes]:
    """Status, content type and body (its first 2 MiB) of a GET, or of a POST of the JSON ``posted``.

    Raises UpstreamError; the caller bounds the time.
    """
    try:
        return await _afresh(access, lambda: _get_once(access, path, more, posted))
    except UpstreamRefused as refused:
        return refused.status, refused.content_type, refused.body


async def _afresh(access: Access, attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Try, and where the configuration may be to blame, read it again and try once more.

    A token expires, a CA is replaced and an apiserver moves under a running daemon. After a 401 there is another try
    in any case; without an answer only if the configuration says something else now, and nobody can have got what was
    asked: a command is started once.
    """
    known = access.known
    try:
        return await attempt()
    except UpstreamRefused as refused:
        if refused.status != 401:
            raise
        await access.reread()
    except UpstreamUnreachable as error:
        await access.reread()
        if error.asked or access.known == known:
            raise
    return await attempt()


async def _get_once(access: Access, path: str, more: Headers, posted: bytes | None) -> tuple[int, str, bytes]:
    endpoint = _endpoint(access)
    headers = [*_headers(endpoint, accept="application/json"), *more]
    exchange = Exchange(endpoint.prefix + path, headers, max_body=_MAX_BODY, posted=posted)
    async with _asked(access, endpoint, exchange.request) as stream:
        result = await _answer(stream, exchange.receive)
        stream.close()
    if not isinstance(result, tuple):
        raise UpstreamUnreachable("The apiserver switched protocols on a plain request.")
    access.succeeded()
    if result[0] == 401:
        raise refusal(*result)
    return result


async def _dial_once(
    access: Access, path: str, subprotocols: Sequence[str], more: Headers, ready: Ready | None
) -> Upstream:
    endpoint = _endpoint(access)
    upgrade = Upgrade(
        endpoint.prefix + path,
        host=endpoint.authority,
        key=base64.b64encode(secrets.token_bytes(16)).decode(),
        authorization=endpoint.authorization,
        subprotocols=subprotocols,
        more=more,
    )
    async with _asked(access, endpoint, upgrade.request, ready) as stream:
        accepted = await _answer(stream, upgrade.receive)
        access.succeeded()
        return Upstream(stream, accepted.subprotocol, accepted.early)


async def _download_once(access: Access, path: str, more: Headers, ready: Ready | None) -> tuple[Stream, Download]:
    endpoint = _endpoint(access)
    exchange = DownloadExchange(endpoint.prefix + path, [*_headers(endpoint, accept="*/*"), *more])
    async with _asked(access, endpoint, exchange.request, ready) as stream:
        download = await _answer(stream, exchange.receive)
        access.succeeded()
        return stream, download


def _headers(endpoint: Endpoint, *, accept: str) -> list[tuple[str, str]]:
    """Those of a plain request. Without Accept-Encoding the body comes as it is."""
    headers = [("Host", endpoint.authority), ("Accept", accept), ("Connection", "close")]
    return [*headers, ("Authorization", endpoint.authorization)] if endpoint.authorization else headers


def _endpoint(access: Access) -> Endpoint:
    try:
        return access.endpoint
    except ClusterConfigError as error:
        raise UpstreamUnreachable("The proxy doesn't know where the apiserver is.", detail=str(error)) from error


@contextlib.asynccontextmanager
async def _asked(
    access: Access, endpoint: Endpoint, request: bytes, ready: Ready | None = None
) -> AsyncIterator[Stream]:
    """A stream to the apiserver, which was sent ``request``; closed if the block fails.

    Network errors become UpstreamUnreachable. Raises UpstreamNotTried where it is our own lack; the apiserver isn't
    blamed for it.
    """
    stream, left = _begun(endpoint, request, ready)
    try:
        if stream is None:
            stream = await connect(endpoint)
        await _send(stream, left)
        yield stream
    except (OSError, StreamLost) as error:
        # ssl's errors are OSErrors. The peer isn't told addresses; the log is.
        if stream is not None:
            stream.close()
        if error.__class__ is OSError and error.errno in (errno.EMFILE, errno.ENFILE):
            text = "This proxy has no file descriptors left: try again in a while."
            raise UpstreamNotTried(text, detail=str(error)) from error
        access.failed(str(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            text = "The apiserver's certificate doesn't verify."
        elif stream is None:
            text = "The apiserver can't be reached."
        else:
            text = "The connection to the apiserver broke before it answered."
        raise UpstreamUnreachable(text, detail=str(error), asked=stream is not None) from error
    except UpstreamError as error:
        if stream is not None:
            stream.close()
        if isinstance(error, UpstreamRefused):
            access.succeeded()  # it has answered
        else:
            access.failed(str(error))
        raise
    except BaseException:
        if stream is not None:
            stream.close()
        raise


def _begun(endpoint: Endpoint, request: bytes, ready: Ready | None) -> tuple[Stream | None, memoryview]:
    """A connection that was ready and has taken the beginning of ``request``, and what it still has to.

    One that was closed a moment ago, so that its end hasn't been seen yet, takes nothing: the next one may have it. But
    once a byte is on its way the command may have begun, whatever becomes of the connection.
    """
    view = memoryview(request)
    while ready is not None and (stream := ready.take(endpoint)) is not None:
        try:
            return stream, view[stream.begin(view) :]
        except NothingSent:
            stream.close()
    return None, view


async def _send(stream: Stream, view: memoryview) -> None:
    while view:
        sent = stream.write(view)
        if sent is None:
            await stream.writable()
        else:
            view = view[sent:]
    while not stream.flush():
        await stream.writable()


async def _answer(stream: Stream, receive: Callable[[bytes], _T | None]) -> _T:
    block, once = bytearray(_READ), False
    while True:
        if once:  # an answer that comes faster than it is read must not keep others from their turn
            await asyncio.sleep(0)
        count = stream.read_into(memoryview(block))
        if count is None:
            await stream.readable()
            continue
        once = True
        keep_session(stream.tls)
        if (result := receive(bytes(block[:count]))) is not None:
            return result
