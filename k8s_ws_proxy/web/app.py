"""The composition root, second half: everything is started and stopped here, in pairs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import platform
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from k8s_ws_proxy import __version__
from k8s_ws_proxy.audit.trail import NO_TRAIL
from k8s_ws_proxy.certificates import ServerTls
from k8s_ws_proxy.errors import Reason, Refusal, UpstreamError
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import announce, logger
from k8s_ws_proxy.observe.watchdog import Watchdog
from k8s_ws_proxy.sessions.drain import DrainDeadline, drain
from k8s_ws_proxy.web import routes
from k8s_ws_proxy.web.asked import begin
from k8s_ws_proxy.web.browser_pages import BrowserPages
from k8s_ws_proxy.web.caller import MAX_BODY
from k8s_ws_proxy.web.errors import refuse
from k8s_ws_proxy.web.handshakes import Handshakes
from k8s_ws_proxy.web.listener import Listener, bind
from k8s_ws_proxy.web.parts import Parts
from k8s_ws_proxy.web.pending import IDLE_PLACES, MAX_HEAD_BYTES, PendingConnections, places
from k8s_ws_proxy.web.transport import MAX_HEADER, MAX_LINE, StreamTransport
from k8s_ws_proxy.wire.audit.events import DaemonStarted, DaemonStopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from k8s_ws_proxy.audit.refusals import Refusals
    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.keyring import KeySource, Reading
    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.settings import Address, Settings
    from k8s_ws_proxy.web.router import Handler, Router

_KEEPALIVE: Final = 75.0  # seconds for a connection without a request
_PROBE: Final = 10.0  # seconds between questions to the apiserver; each failed dial counts, too
_PROBE_FIRST: Final = 1.0  # seconds, until it has answered once


class _Protocol(web.RequestHandler):
    """aiohttp's protocol, with its own errors told as ours are."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp couldn't parse, or what went wrong in our code."""
        if isinstance(request.transport, StreamTransport):
            request.transport.request_began()
        if status < 500:
            return refuse(
                request,
                Refusal(
                    Reason.MALFORMED_REQUEST,
                    "The request isn't valid HTTP/1.1, or its line or a header is too long.",
                    # The kind of mistake only: after the colon aiohttp quotes the header, and who knows what is in it.
                    detail=repr((message or str(exc)).partition(":")[0])[:200],
                ),
            )
        logger().error("a request failed in the proxy itself", exc_info=exc)
        return refuse(request, Refusal(Reason.INTERNAL_ERROR, "Something went wrong in the proxy: see its log."))


class _Server(web.Server):
    """Makes our protocol. ``refusals`` are told of its requests'."""

    def __init__(self, handler: Handler, *, refusals: Refusals | None, **kwargs: Any) -> None:
        super().__init__(handler, **kwargs)
        self._refusals = refusals

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)

    def _make_request(
        self, message: Any, payload: Any, protocol: web.RequestHandler, writer: Any, task: asyncio.Task[None]
    ) -> web.BaseRequest:
        request = web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=MAX_BODY)
        begin(request, self._refusals)
        return request


class Daemon:
    """The running daemon. ``ports`` are those listened on: ``http``, and ``https`` and ``admin`` where they are on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.ports: dict[str, int] = {}
        self.files: list[Callable[[], Awaitable[None]]] = []  # looks at those that are read again when they change

    async def shut_down(self, deadline: DrainDeadline | None = None) -> None:
        """Drain: unready and refusing at once, then wait for sessions, then end them; ``deadline`` shortens that."""
        settings, registry, orphans = self._parts.settings, self._parts.registry, self._parts.orphans
        self._parts.ready.close()
        await drain(registry, settings.drain_timeout, deadline or DrainDeadline(), orphans)

    def look_again(self) -> None:
        """Look at all files now, whatever the time: somebody has changed them and doesn't want to wait."""
        logger().info("looking at the files again")
        self._parts.audit.reopen()
        for look in self.files:
            tasks.start(_looked(look), name="look at files on SIGHUP")


@contextlib.asynccontextmanager
async def running(
    settings: Settings, source: KeySource, first: Reading, environ: Mapping[str, str], audit: Trail = NO_TRAIL
) -> AsyncIterator[Daemon]:
    """A daemon that listens, until the block is left. Raises OSError if it can't listen."""
    loop = asyncio.get_running_loop()
    made = Parts.made(settings, source, first, environ, audit)
    keyring, access, registry = made.keyring, made.access, made.registry
    _measure(loop)
    daemon = Daemon(made)
    pending = PendingConnections(loop, lambda: places(settings.max_sessions - registry.open))
    idle = PendingConnections(loop, lambda: IDLE_PLACES, heads=MAX_HEAD_BYTES // 4)
    handshakes = Handshakes(loop)
    async with contextlib.AsyncExitStack() as stack:
        _begin_audit(made, stack)
        for stop in (Watchdog(loop).stop, pending.close, idle.close, made.ready.close):
            stack.callback(stop)

        def listen(name: str, variable: str, address: Address, router: Router, tls: ServerTls | None = None) -> None:
            server = _Server(
                _answering(router),
                refusals=None if name == "admin" else made.refusals,
                handler_cancellation=True,  # a client that leaves takes its dial with it
                max_line_size=MAX_LINE,
                max_field_size=MAX_HEADER,
                keepalive_timeout=_KEEPALIVE,
                access_log=None,
                auto_decompress=False,  # a digest is of what was sent (RFC 9530 §2)
            )
            try:
                sock = bind(address)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror} ({variable})", str(address)) from error
            listener = Listener(
                sock,
                server,
                loop=loop,
                block=made.budget.block,
                head_timeout=settings.handshake_timeout,
                pending=pending,
                idle=idle,
                handshakes=handshakes,
                tls=(lambda: tls.context) if tls else None,
            )
            stack.push_async_callback(server.shutdown, 0.1)
            stack.callback(listener.close)
            daemon.ports[name] = listener.port
            announce("listening", listener=name, address=str(address), port=listener.port)

        await access.reread()
        if made.uploads is not None:
            stack.push_async_callback(made.uploads.close)  # after the recorder's: there is a last one to store
        if made.recorder is not None:
            stack.push_async_callback(made.recorder.close)
            await made.recorder.open()
        if made.uploads is not None:
            made.uploads.start()
        if made.orphans is not None:
            stack.push_async_callback(made.orphans.close)
            await made.orphans.recover()
        for coro, name in (
            (keyring.keep_fresh(), "keep keys fresh"),
            (access.keep_fresh(), "keep cluster configuration fresh"),
            (_probe_apiserver(access, made.apiserver), "probe apiserver"),
        ):
            stack.callback(tasks.start(coro, name=name).cancel)
        daemon.files = [keyring.look, access.reread]
        callers = routes.callers(made, await BrowserPages.made(settings.web_terminal))
        listen("http", "WS_PROXY_LISTEN_ADDR", settings.listen, callers)
        if settings.tls is not None:
            server_tls = ServerTls(settings.tls, ask_for_certificate=bool(settings.allowed_subjects), audit=audit)
            stack.callback(tasks.start(server_tls.keep_fresh(), name="keep TLS certificate fresh").cancel)
            daemon.files.append(server_tls.look)
            listen("https", "TLS_LISTEN_ADDR", settings.tls.listen, callers, server_tls)
        if settings.admin is not None:
            listen("admin", "WS_PROXY_ADMIN_ADDR", settings.admin, routes.operators(made))
        # What exists by now lives as long as the process: the collector needn't walk it during somebody's keystroke.
        gc.collect()
        gc.freeze()
        yield daemon


def _measure(loop: asyncio.AbstractEventLoop) -> None:
    metrics.TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))
    metrics.BUILD_INFO.labels(__version__, platform.python_version()).set(1)


def _begin_audit(parts: Parts, stack: contextlib.AsyncExitStack) -> None:
    """The run's first line in the audit trail; its last one when ``stack`` is left."""
    audit, settings, began = parts.audit, parts.settings, time.monotonic()
    audit.emit(
        DaemonStarted(
            version=__version__,
            keys=tuple(key.id for key in parts.keyring.keys),
            identity=settings.identity,
            required=settings.audit.required,
            cut=audit.cut,
        )
    )
    stack.callback(lambda: audit.emit(DaemonStopped(seconds=round(time.monotonic() - began, 3))))
    stack.callback(parts.refusals.settle)


def _answering(router: Router) -> Handler:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await router.handler(request.raw_path)(request)
        except Refusal as refusal:
            return refuse(request, refusal)

    return answer


async def _looked(look: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(Exception):  # logged by the task that looks, which others may be waiting for, too
        await look()


async def _probe_apiserver(access: Access, apiserver: Apiserver) -> None:
    while True:
        try:
            async with asyncio.timeout(_PROBE):
                await apiserver.get("/version")
        except UpstreamError:
            pass  # access knows
        except TimeoutError:
            access.failed("it didn't answer in time")
        await asyncio.sleep(_PROBE if access.answered else _PROBE_FIRST)
