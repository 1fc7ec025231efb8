"""The few requests that kubectl makes before it opens a session, for callers with a certificate only."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import (
    CredentialRefused,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefused,
)
from k8s_ws_proxy.kube.pods import resolve
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.web.asked import asked
from k8s_ws_proxy.web.caller import peer_of, presented
from k8s_ws_proxy.web.errors import refuse_upstream
from k8s_ws_proxy.web.router import check_method
from k8s_ws_proxy.web.transport import StreamTransport
from k8s_ws_proxy.web.upstream import answered_by
from k8s_ws_proxy.wire.http.handshake import refusal
from k8s_ws_proxy.wire.requests.discovery import JSON, Reading, document, parse_reading
from k8s_ws_proxy.wire.requests.pod_redaction import redacted_pod
from k8s_ws_proxy.wire.requests.target import bad_path

if TYPE_CHECKING:
    from k8s_ws_proxy.auth.authorizer import Authorizer
    from k8s_ws_proxy.auth.impersonator import Impersonator
    from k8s_ws_proxy.auth.policy import Policy
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.sessions.registry import Registry
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.web.router import Handler
    from k8s_ws_proxy.wire.requests.discovery import Wanted


_AT_ONCE: Final = 8  # of the apiserver's turns: those who open a session have the rest


class Reads:
    """Answers what is on the list of ``wire/requests/discovery.py``.

    Nothing of the caller's request reaches the apiserver but the pod's name, and nothing of the apiserver's answer
    reaches the caller but what ``wire/requests/pod_redaction.py`` keeps of the body; a failure's Status is handed on as
    it is.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        authorizer: Authorizer,
        impersonator: Impersonator,
        policy: Policy,
        apiserver: Apiserver,
        registry: Registry,
        otherwise: Handler,
    ) -> None:
        self._settings = settings
        self._authorizer = authorizer
        self._impersonator = impersonator
        self._policy = policy
        self._apiserver = apiserver
        self._registry = registry
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._otherwise = otherwise  # answers where a name in the path is none

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``request``. Raises Refusal.

        Where no certificate can be presented these paths aren't there, as for a caller who signs.
        """
        transport = request.transport
        assert isinstance(transport, StreamTransport)
        if (wanted := parse_reading(request.raw_path)) is None:
            return await self._otherwise(request)
        within = self._settings.handshake_timeout
        until = transport.request_began() + within
        principal = await self._principal(request, wanted, transport, until)
        transport.caller_known()
        apiserver = self._apiserver.acting_for(self._impersonator.identity_of(principal))
        if wanted.namespace:
            self._policy.check_namespace(wanted.namespace)
        check_method(request, "GET", "HEAD", text="Here things are only read, by GET.")
        facts = {
            "mode": principal.mode.value,
            "subject": principal.name,
            **principal.log_fields(),
            "peer": peer_of(request),
            "path": wanted.path,
        }
        if wanted.reading is not Reading.POD:
            accept = ",".join(request.headers.getall("Accept", []))
            content_type, answer = document(wanted, accept, self._policy.subresources)
            logger().debug("discovery read", **facts)
            return _as_json(answer, content_type)
        try:
            answer = await answered_by(
                lambda: self._ask(apiserver, wanted), self._apiserver, self._registry, until=until, within=within
            )
        except UpstreamError as error:
            metrics.REFUSALS.labels(error.reason.value).inc()
            logger().warning("pod read failed", **facts, reason=error.reason.value, detail=f"{error} {error.detail}")
            return refuse_upstream(request, error)
        apiserver.expect()  # kubectl reads the pod that it is about to exec into
        logger().info("pod read", **facts)
        return _as_json(answer, JSON)

    async def _principal(
        self, request: web.BaseRequest, wanted: Wanted, transport: StreamTransport, until: float
    ) -> Principal:
        """Who came in by certificate; to everybody else who may come in the path isn't there."""
        if not self._settings.allowed_subjects or transport.get_extra_info("sslcontext") is None:
            raise bad_path(wanted.path)
        try:
            principal = await self._authorizer.authorize(presented(request, wanted.path, until))
        except CredentialRefused as refused:
            if transport.get_extra_info("peercert"):
                raise
            # Who gets here without a signature is kubectl, and a person who wonders what it lacks.
            raise CredentialRefused(
                refused.reason, "kubectl comes in by client certificate, and there was none."
            ) from refused
        asked(request).principal = principal
        if principal.mode is not Mode.CLIENT_CERT:
            raise bad_path(wanted.path)
        return principal

    async def _ask(self, apiserver: Apiserver, wanted: Wanted) -> dict[str, object]:
        async with self._turns:
            pod = await self._resolved(wanted)
            return await apiserver.read(f"/api/v1/namespaces/{wanted.namespace}/pods/{pod}", _pod)

    async def _resolved(self, wanted: Wanted) -> str:
        """The pod's own name: kubectl goes on with the name in the answer, so an alias works for it, too."""
        label = self._settings.pod_alias_label
        if not label:
            return wanted.pod
        return await resolve(self._apiserver, wanted.namespace, wanted.pod, label=label, node=self._settings.node_name)


def _pod(status: int, content_type: str, body: bytes) -> dict[str, object]:
    """What a caller may see of the apiserver's answer. Raises UpstreamError."""
    if status == 401:
        # kubectl would tell the person to log in, who has nothing to do with this.
        raise UpstreamRefused(
            "The apiserver doesn't accept the proxy's own token: whoever runs the proxy has to look at it.",
            status=502,
        )
    if status != 200:
        raise refusal(status, content_type, body)
    try:
        return redacted_pod(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise UpstreamProtocolError("The apiserver's answer isn't a pod.") from error


def _as_json(answer: object, content_type: str) -> web.Response:
    """200. The connection stays open: kubectl has its next question ready."""
    return web.Response(
        body=json.dumps(answer).encode(), headers={"Content-Type": content_type, "Server": "k8s-ws-proxy"}
    )
