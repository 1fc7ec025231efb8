"""Sessions that are somebody's, and what the apiserver's audit log says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.wire.framing.channels import V4, V5
from support import rawws
from support.caller import HANG_UP, PIPES, TTY, proxy_exec, with_query

if TYPE_CHECKING:
    import contextlib
    import ssl
    from collections.abc import Mapping

    from k8s_ws_proxy.devcluster import DevCluster
    from support.daemon import Daemon
    from support.rawws import Answer, RawWebSocket

    Event = dict[str, Any]

TARGET = proxy_exec("true", **PIPES)
API = "/api/v1/namespaces/default/pods/shell"
ROUTES = {
    "exec": TARGET,
    "exec on the apiserver's path": f"{API}/exec?container=shell&command=true&stdout=true",
    "a terminal": proxy_exec("true", **TTY),
    "attach": with_query("/proxy/attach/default/web/web", **PIPES),
    "log": "/proxy/logs/default/shell/shell?tailLines=1&follow=false",
    "port-forward": "/proxy/portforward/default/web?ports=8080",
}


async def come(
    daemon: Daemon,
    target: str,
    who: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[Answer, Any]:
    """The head of the answer, and the status in channel 3 where the session says one."""
    signed = daemon.headers_v2(target, **(who or {})) if headers is None else headers
    spoken = (V4,) if "portforward" in target else (V5,)
    data = rawws.request(target, signed, subprotocols=spoken)
    async with rawws.connected(port or daemon.port, data, tls=tls) as ws:
        if ws.answer.status != 101:
            return ws.answer, None
        if "portforward" in target or "attach" in target:
            return ws.answer, None
        ended = await ws.finish()
        return ws.answer, ended.status if "/logs/" not in target else None


async def read(daemon: Daemon, path: str, tls: ssl.SSLContext) -> int:
    """The status of a plain GET with a certificate, as kubectl reads."""
    plain = f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode()
    async with rawws.connected(daemon.ports["https"], plain, tls=tls) as connection:
        return connection.answer.status


async def on_terminal(
    stack: contextlib.AsyncExitStack, daemon: Daemon, number: int = 1016, who: Mapping[str, str] | None = None
) -> RawWebSocket:
    """A terminal in which ``sleep`` runs for ``number`` seconds, until it is hung up."""
    target = proxy_exec("sleep", str(number), **TTY)
    data = rawws.request(target, daemon.headers_v2(target, **(who or {})), subprotocols=(V5,))
    ws = await stack.enter_async_context(rawws.connected(daemon.port, data))
    assert ws.answer.status == 101
    return ws


def sessions_of(cluster: DevCluster, answer: Answer) -> list[Event]:
    """The events in the apiserver's audit log that have the session's name."""
    return cluster.audit.of(answer.headers["x-session-id"])


def hang_ups(cluster: DevCluster) -> list[Event]:
    """The events of hang-ups."""
    return [event for event in cluster.audit.events if HANG_UP in event["requestURI"]]
