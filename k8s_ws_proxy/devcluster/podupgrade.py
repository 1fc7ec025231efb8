"""The pod proxy's upgrades: to a pod's port, then bytes both ways (apimachinery: UpgradeAwareHandler.tryUpgrade).

The pod gets the path without the query: an apiserver loses it here, and here only (kubernetes/kubernetes#77142).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import http, podproxy, status
from k8s_ws_proxy.devcluster.faults import Death
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.faults import Die
    from k8s_ws_proxy.devcluster.http import Request, Response
    from k8s_ws_proxy.devcluster.podproxy import ProxyTarget
    from k8s_ws_proxy.devcluster.tls import TlsStream

_CHUNK = 65536
_SWITCHING = b"101"


@dataclasses.dataclass(frozen=True, slots=True)
class Upgraded:
    """A connection that the pod has upgraded; `head` is its answer, with what came along."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def connect(target: ProxyTarget, peer: str) -> Upgraded | Response:
    """Ask the pod, for the client at `peer`; an answer that isn't an upgrade is the client's."""
    request = dataclasses.replace(target.request, target=target.request.target.partition("?")[0], query={})
    refused = _failed(f"dial tcp {target.address}: connect: connection refused")
    if target.backend is None:
        return refused
    if callable(target.backend):
        answered = await podproxy.forward(dataclasses.replace(target, request=request))
        assert not isinstance(answered, podproxy.Unended), "a function answers whole"
        return answered
    try:
        reader, writer = await asyncio.open_connection(*target.backend, limit=http.MAX_HEAD)
    except OSError:
        return refused
    answer: Upgraded | None = None
    try:
        writer.write(_head(request, peer))
        head = await reader.readuntil(b"\r\n\r\n")
        code = head.split(b" ", 2)[1]
        if code != _SWITCHING:
            return await _instead(head, code, reader)
        answer = Upgraded(head, reader, writer)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
        return _failed("unexpected EOF")
    else:
        return answer
    finally:
        if answer is None:
            writer.transport.abort()


async def carry(upgraded: Upgraded, stream: TlsStream, early: bytes, death: Die | None) -> None:
    """Bytes both ways until either side ends, which ends the other."""
    upgraded.writer.write(early)
    directions = (
        tasks.start(_to_pod(stream, upgraded.writer), name="devcluster upgrade to the pod"),
        tasks.start(_from_pod(upgraded, stream, death), name="devcluster upgrade from the pod"),
    )
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in directions:
            each.cancel()
        await asyncio.wait(directions)
        upgraded.writer.close()
        stream.finish()


async def _to_pod(stream: TlsStream, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await stream.read(_CHUNK):
            writer.write(data)
            await writer.drain()


async def _from_pod(upgraded: Upgraded, stream: TlsStream, death: Die | None) -> None:
    with contextlib.suppress(OSError):
        stream.write(upgraded.head)
        left = death.sent if death is not None else 0
        while death is None or left > 0:
            data = await upgraded.reader.read(_CHUNK if death is None else min(left, _CHUNK))
            if not data:
                return
            left -= len(data)
            stream.write(data)
            await stream.drain()
        if death.how is Death.RESET:
            stream.reset()


def _head(request: Request, peer: str) -> bytes:
    """As it came, without the credential and with the client's address."""
    kept = [(name, value) for name, value in request.headers if name not in {"authorization", "x-forwarded-for"}]
    known = request.listed("x-forwarded-for")
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept)]
    return "\r\n".join([*lines, f"x-forwarded-for: {', '.join([*known, peer])}", "", ""]).encode("latin-1")


async def _instead(head: bytes, code: bytes, reader: asyncio.StreamReader) -> Response:
    """A refusal is handed on, what is none isn't; either is the connection's last answer."""
    if not code.isdigit() or int(code) < 400:
        return _failed(f"invalid upgrade response: status code {code.decode('latin-1')}")
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = fields.pop("content-length", "")
    body = await (reader.readexactly(int(length)) if length.isdigit() else reader.read(http.MAX_BODY))
    content_type = fields.pop("content-type", "")
    kept = tuple((name, value) for name, value in fields.items() if name not in podproxy.DROPPED)
    return http.Response(int(code), body, content_type, (*kept, ("Connection", "close")), handed_through=True)


def _failed(why: str) -> Response:
    return http.of_status(status.upgrade_failed(why))
