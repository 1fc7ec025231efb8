"""The pod proxy: a request handed on to where a pod's port really is, or to a function that answers in its place."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from k8s_ws_proxy.devcluster import http, status
from k8s_ws_proxy.devcluster.http import Request, Response

Backend = tuple[str, int] | Callable[[Request], Awaitable[Response]]
"""Where a pod's port is: host and port of a real listener, or what answers for it. Such a function sees the path as the
pod would; raising OSError is a pod that can't be reached.
"""

_CHUNK = 65536
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


async def forward(target: ProxyTarget) -> Response:
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


async def _ask(request: Request, backend: Backend | None) -> Response:
    if backend is None:
        raise ConnectionRefusedError
    if callable(backend):
        return await backend(request)
    return await _over_tcp(request, *backend)


async def _over_tcp(request: Request, host: str, port: int) -> Response:
    reader, writer = await asyncio.open_connection(host, port)
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
        return await _response(reader, client)
    finally:
        writer.transport.abort()


async def _response(reader: asyncio.StreamReader, client: h11.Connection) -> Response:
    head: h11.Response | None = None
    body: list[bytes] = []
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_CHUNK)
            if not data and head is None:
                raise EOFError
            client.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            break
    assert head is not None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    content_type = headers.pop("content-type", "")
    kept = tuple((k, v) for k, v in headers.items() if k not in DROPPED and k != "content-length")
    return Response(head.status_code, b"".join(body), content_type, kept)
