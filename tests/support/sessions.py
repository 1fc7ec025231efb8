"""Callers of the session API."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.wire.framing.channels import V5
from k8s_ws_proxy.wire.requests.bearer import SUBPROTOCOL_PREFIX
from support import rawws

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from support.daemon import Daemon
    from support.rawws import Answer, RawWebSocket

SESSIONS = "/proxy/sessions"
SHELL = {"subresource": "exec", "namespace": "default", "pod": "shell", "container": "shell"}


async def call(
    daemon: Daemon,
    method: str,
    target: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    **who: str,
) -> Answer:
    """The answer to a signed request; ``body`` is sent as JSON, or as it is if it is bytes."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    signed = headers
    if signed is None:
        signed = daemon.headers_v2(target, method=method, body=data if body is not None else None, **who)
    length = {"Content-Length": str(len(data))} if body is not None else {}
    lines = [f"{method} {target} HTTP/1.1", "Host: proxy"]
    lines += [f"{name}: {value}" for name, value in {**signed, **length}.items()]
    raw = ("\r\n".join(lines) + "\r\n\r\n").encode() + data
    port = daemon.ports["https"] if tls else daemon.port
    async with rawws.connected(port, raw, tls=tls) as connection:
        if connection.answer.headers.get("transfer-encoding") == "chunked":
            connection.answer.body = await rawws.read_chunks(connection.reader)
        return connection.answer


async def issue(daemon: Daemon, *, who: Mapping[str, str] | None = None, **order: Any) -> dict[str, Any]:
    """A session that was issued, as its answer tells; its ticket must be in no log line."""
    answer = await call(daemon, "POST", SESSIONS, {**SHELL, **order}, **(who or {}))
    assert answer.status == 201, answer
    told: dict[str, Any] = json.loads(answer.body)
    daemon.confidential.add(told["ticket"])
    return told


async def ticket_to(daemon: Daemon, session: str, mode: str, **who: str) -> dict[str, Any]:
    """What somebody is told who wants to join a session; the ticket must be in no log line."""
    answer = await call(daemon, "POST", f"{SESSIONS}/{session}/ticket", {"mode": mode}, **who)
    assert answer.status == 201, answer
    told: dict[str, Any] = json.loads(answer.body)
    daemon.confidential.add(told["ticket"])
    return told


async def listed(daemon: Daemon, query: str = "", **who: str) -> list[dict[str, Any]]:
    """The sessions that are listed."""
    answer = await call(daemon, "GET", SESSIONS + query, **who)
    assert answer.status == 200, answer
    sessions: list[dict[str, Any]] = json.loads(answer.body)["sessions"]
    return sessions


@contextlib.asynccontextmanager
async def presented(
    daemon: Daemon, path: str, ticket: str, *, browser: bool = True, **headers: str
) -> AsyncIterator[RawWebSocket]:
    """The connection after the answer to an upgrade with a ticket: as a browser sends it, or as a program does."""
    subprotocols = [V5, SUBPROTOCOL_PREFIX + ticket] if browser else [V5]
    sent = headers if browser else {**headers, "Authorization": f"Bearer {ticket}"}
    data = rawws.request(path, sent, subprotocols=subprotocols)
    async with rawws.connected(daemon.port, data) as ws:
        yield ws
