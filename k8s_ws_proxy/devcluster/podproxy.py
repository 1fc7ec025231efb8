"""The pod proxy: a request handed on to where a pod's port really is, or to a function that answers in its place."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

import h11

from k8s_ws_proxy.devcluster import http, status
from k8s_ws_proxy.devcluster.http import Request, Response

Backend = tuple[str, int] | Callable[[Request], Awaitable[Response]]
"""Where a pod's port is: host and port of a real listener, or what answers for it. Such a function sees the path as the
pod would; raising OSError is a pod that can't be reached.
"""

_CHUNK = 65536
_OK = 200
DROPPED = frozenset(
    # The apiserver takes the credential out before anything else; the rest is hop by hop (RFC 9110, section 7.6.1).
    {"authorization", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class ProxyTarget:
    """A request that may be handed on. `address` is what the pod's own is called; without a backend nobody listens."""

    request: Request
    backend: Backend | None
    address: str


@dataclass(frozen=True, slots=True)
class Unended:
    """A good answer without a length. `body` is what comes, as it comes; `close` has to be called after it."""

    headers: tuple[tuple[str, str], ...]
    body: AsyncGenerator[bytes]
    writer: asyncio.StreamWriter

    def close(self) -> None:
        """Nothing more is wanted of it."""
        self.writer.transport.abort()


async def forward(target: ProxyTarget) -> Response | Unended:
    """The pod's answer, or 503 if there is none."""
    request = dataclasses.replace(
        target.request,
        headers=tuple((name, value) for name, value in target.request.headers if name not in DROPPED),
    )
    try:
        return await _ask(request, target.backend)
    except ConnectionRefusedError:
        why = f"dial tcp {target.address}: connect: connection refused"
    except TimeoutError:
        why = f"dial tcp {target.address}: i/o timeout"
    except (ConnectionResetError, BrokenPipeError):
        why = f"read tcp 10.0.0.1:40000->{target.address}: read: connection reset by peer"
    except OSError as exc:
        why = f"dial tcp {target.address}: connect: {(exc.strerror or str(exc)).lower()}"
    except EOFError:
        why = "EOF"
    except h11.RemoteProtocolError as exc:
        why = f'malformed HTTP response "{exc}"'
    return http.of_status(status.unreachable(why))


async def _ask(request: Request, backend: Backend | None) -> Response | Unended:
    if backend is None:
        raise ConnectionRefusedError
    if callable(backend):
        return await backend(request)
    return await _over_tcp(request, *backend)


async def _over_tcp(request: Request, host: str, port: int) -> Response | Unended:
    reader, writer = await asyncio.open_connection(host, port)
    answer: Response | Unended | None = None
    try:
        client = h11.Connection(h11.CLIENT)
        headers = [(name, value) for name, value in request.headers if name != "content-length"]
        if request.body:
            headers.append(("content-length", str(len(request.body))))
        headers.append(("connection", "close"))
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        for event in (head, h11.Data(data=request.body), h11.EndOfMessage()):
            writer.write(client.send(event) or b"")
        await writer.drain()
        answer = await _response(reader, writer, client)
    finally:
        if not isinstance(answer, Unended):
            writer.transport.abort()
    return answer


async def _response(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: h11.Connection
) -> Response | Unended:
    while (head := client.next_event()) is h11.NEED_DATA:
        if not (data := await reader.read(_CHUNK)):
            raise EOFError
        client.receive_data(data)
    assert isinstance(head, h11.Response)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    content_type = headers.pop("content-type", "")
    kept = tuple((k, v) for k, v in headers.items() if k not in DROPPED and k != "content-length")
    if head.status_code == _OK and "content-length" not in headers:
        return Unended((("Content-Type", content_type), *kept), _rest(reader, client), writer)
    body = b"".join([data async for data in _body(reader, client)])
    return Response(head.status_code, body, content_type, kept)


async def _rest(reader: asyncio.StreamReader, client: h11.Connection) -> AsyncGenerator[bytes]:
    try:
        async for data in _body(reader, client):
            yield data
    except h11.RemoteProtocolError as exc:
        raise ConnectionResetError("the pod broke off") from exc


async def _body(reader: asyncio.StreamReader, client: h11.Connection) -> AsyncGenerator[bytes]:
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Data):
            yield bytes(event.data)
        else:
            return
