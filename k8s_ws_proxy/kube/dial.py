"""Dialling the apiserver: a connection, and one HTTP exchange on it."""

from __future__ import annotations

import base64
import contextlib
import secrets
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.errors import ClusterConfigError, UpstreamError, UpstreamRefused, UpstreamUnreachable
from k8s_ws_proxy.kube.connect import connect, keep_session
from k8s_ws_proxy.relay.stream import Stream, StreamLost
from k8s_ws_proxy.wire.channels import SUBPROTOCOLS
from k8s_ws_proxy.wire.handshake import Exchange, Upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.config import Endpoint

_T = TypeVar("_T")

_READ: Final = 32 * 1024  # bytes: a TLS record must fit
_MAX_BODY: Final = 8 * 1024 * 1024  # bytes of a plain answer: a list of pods


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upgraded connection to the apiserver, and what it sent right after the 101."""

    stream: Stream
    subprotocol: str | None
    early: bytes


async def dial(access: Access, path: str, subprotocols: Sequence[str] = SUBPROTOCOLS) -> Upstream:
    """Open a WebSocket to ``path`` on the apiserver, which takes one of ``subprotocols`` (or, by saying none, v4).

    A 401, or a certificate that doesn't verify, has the configuration read again and one more try: a token expires
    and a CA is replaced under a running daemon. Raises UpstreamError; the caller bounds the time.
    """
    try:
        return await _dial_once(access, path, subprotocols)
    except UpstreamRefused as refused:
        if refused.status != 401:
            raise
    except UpstreamUnreachable as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise
    await access.reread()
    return await _dial_once(access, path, subprotocols)


async def get(access: Access, path: str) -> tuple[int, str, bytes]:
    """Status, content type and body (its first 8 MiB) of a GET; a 401 has the configuration read again, as in dial().

    Raises UpstreamError; the caller bounds the time.
    """
    answer = await _get_once(access, path)
    if answer[0] == 401:
        await access.reread()
        answer = await _get_once(access, path)
    return answer


async def _get_once(access: Access, path: str) -> tuple[int, str, bytes]:
    endpoint = _endpoint(access)
    headers = [("Host", endpoint.authority), ("Accept", "application/json"), ("Connection", "close")]
    if endpoint.authorization:
        headers.append(("Authorization", endpoint.authorization))
    exchange = Exchange(endpoint.prefix + path, headers, max_body=_MAX_BODY)
    async with _connected(access, endpoint) as stream:
        result = await _exchange(stream, exchange.request, exchange.receive)
        stream.close()
    if not isinstance(result, tuple):
        raise UpstreamUnreachable("The apiserver switched protocols on a plain request.")
    access.succeeded()
    return result


async def _dial_once(access: Access, path: str, subprotocols: Sequence[str]) -> Upstream:
    endpoint = _endpoint(access)
    upgrade = Upgrade(
        endpoint.prefix + path,
        host=endpoint.authority,
        key=base64.b64encode(secrets.token_bytes(16)).decode(),
        authorization=endpoint.authorization,
        subprotocols=subprotocols,
    )
    async with _connected(access, endpoint) as stream:
        try:
            accepted = await _exchange(stream, upgrade.request, upgrade.receive)
        except UpstreamRefused:
            access.succeeded()
            raise
        access.succeeded()
        return Upstream(stream, accepted.subprotocol, accepted.early)


def _endpoint(access: Access) -> Endpoint:
    try:
        return access.endpoint
    except ClusterConfigError as error:
        raise UpstreamUnreachable("The proxy doesn't know where the apiserver is.", detail=str(error)) from error


@contextlib.asynccontextmanager
async def _connected(access: Access, endpoint: Endpoint) -> AsyncIterator[Stream]:
    """A stream to the apiserver, closed if the block fails; network errors become UpstreamUnreachable."""
    stream = None
    try:
        stream = await connect(endpoint)
        yield stream
    except (OSError, StreamLost) as error:
        # ssl's errors are OSErrors. The peer isn't told addresses; the log is.
        if stream is not None:
            stream.close()
        access.failed(str(error))
        text = (
            "The apiserver's certificate doesn't verify."
            if isinstance(error, ssl.SSLCertVerificationError)
            else "The apiserver can't be reached."
        )
        raise UpstreamUnreachable(text, detail=str(error)) from error
    except UpstreamError as error:
        if stream is not None:
            stream.close()
        if not isinstance(error, UpstreamRefused):
            access.failed(str(error))
        raise
    except BaseException:
        if stream is not None:
            stream.close()
        raise


async def _exchange(stream: Stream, request: bytes, receive: Callable[[bytes], _T | None]) -> _T:
    view = memoryview(request)
    while view:
        sent = stream.write(view)
        if sent is None:
            await stream.writable()
        else:
            view = view[sent:]
    block = bytearray(_READ)
    while True:
        count = stream.read_into(memoryview(block))
        if count is None:
            await stream.readable()
            continue
        keep_session(stream.tls)
        if (result := receive(bytes(block[:count]))) is not None:
            return result
