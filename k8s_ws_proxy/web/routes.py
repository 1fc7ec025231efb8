"""Every path there is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions.census import count_sessions
from k8s_ws_proxy.web.errors import closing
from k8s_ws_proxy.web.health import Health
from k8s_ws_proxy.web.keys import keys_answer
from k8s_ws_proxy.web.router import Router, check_method
from k8s_ws_proxy.web.transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.web.browser_pages import BrowserPages
    from k8s_ws_proxy.web.parts import Parts
    from k8s_ws_proxy.web.router import Handler


def callers(parts: Parts, pages: BrowserPages | None) -> Router:
    """Those of the callers' listeners, with ``pages`` for a browser where they are on."""
    handler = parts.sessions()
    reads = parts.reads(handler)
    api = parts.session_api()
    return Router(
        [
            *_probes(parts),
            *(pages.rows() if pages else ()),
            ("/api", reads.answer),
            ("/apis", reads.answer),
            ("/api/v1", reads.answer),
            ("/api/v1/namespaces/{}", reads.answer),
            ("/api/v1/namespaces/{}/pods/{}", reads.answer),
            ("/api/v1/namespaces/{}/pods/{}/{}", handler.open),
            *api.rows(),
            ("/proxy/{}/{}/{}", handler.open),
            ("/proxy/{}/{}/{}/{}", handler.open),
        ],
        otherwise=handler.open,
    )


def operators(parts: Parts) -> Router:
    """Those of the operators' listener."""
    started = time.time()
    return Router(
        [
            *_probes(parts),
            ("/metrics", _open_to_all(lambda: _metrics(parts))),
            ("/keys", _open_to_all(lambda: keys_answer(parts.keyring, started=started, now=time.time()))),
        ],
        otherwise=_nothing_else,
    )


def _probes(parts: Parts) -> list[tuple[str, Handler]]:
    health = Health(parts.keyring, parts.access, parts.registry, parts.recorder, parts.audit)
    return [("/healthz", _open_to_all(health.alive)), ("/readyz", _open_to_all(health.ready))]


def _metrics(parts: Parts) -> web.Response:
    count_sessions(parts.registry, parts.tickets)
    parts.audit.measure()
    return web.Response(body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})


def _open_to_all(answer: Callable[[], web.Response]) -> Handler:
    async def read(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.transport, StreamTransport):
            request.transport.request_began()
        check_method(request, "GET", "HEAD", text="This path is read by GET.")
        return closing(answer())

    return read


async def _nothing_else(_request: web.BaseRequest) -> web.StreamResponse:
    raise Refusal(Reason.BAD_PATH, "Here are /metrics, /keys, /healthz and /readyz.")
