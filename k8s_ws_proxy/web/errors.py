"""Refusals as answers: ``{"error", "reason"}`` on ``/proxy/...``, a ``metav1.Status`` on ``/api...``."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web

from k8s_ws_proxy.errors import CredentialRefused, Reason, Refusal, UpstreamError, UpstreamRefused
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.observe.log_limit import LogLimit
from k8s_ws_proxy.web.asked import asked
from k8s_ws_proxy.web.caller import peer_of
from k8s_ws_proxy.web.upgrade import SESSION_HEADER
from k8s_ws_proxy.wire.requests.target import of_apiserver

if TYPE_CHECKING:
    from collections.abc import Mapping

_Response = TypeVar("_Response", bound=web.StreamResponse)
REFUSED: Final = LogLimit("more requests refused")
_LONGEST_PATH: Final = 256  # characters in a log line

# What apimachinery calls these statuses (k8s.io/apimachinery/pkg/apis/meta/v1, StatusReason).
_STATUS_REASONS: Final[Mapping[int, str]] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "Timeout",
    426: "UpgradeRequired",
    429: "TooManyRequests",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def status_reason(status: int) -> str:
    """The StatusReason for an HTTP status."""
    return _STATUS_REASONS.get(status, "Unknown")


def refuse(request: web.BaseRequest, refusal: Refusal) -> web.Response:
    """Log, count and answer a refusal. The connection is closed after it: it was an attempt at an upgrade."""
    note_refusal(request, refusal)
    decided = refusal.reason.rule
    headers = {}
    if decided.retry_after is not None:
        headers["Retry-After"] = str(decided.retry_after)
    if refusal.reason is Reason.UPGRADE_REQUIRED:
        headers["Upgrade"] = "websocket"  # RFC 9110 §15.5.22
        headers["Sec-WebSocket-Version"] = "13"  # RFC 6455 §4.4
    if refusal.reason is Reason.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(refusal.allow)
    if refusal.reason is Reason.BAD_RANGE:
        headers["Content-Range"] = f"bytes */{refusal.size}"  # RFC 9110 §15.5.17
    if isinstance(refusal, CredentialRefused):
        headers["WWW-Authenticate"] = "X-Catalyst-HMAC"  # RFC 9110 §11.6.1 wants one
    if refusal.session:
        headers[SESSION_HEADER] = refusal.session
    return _answer(request, decided.status, str(refusal), refusal.reason, headers)


def note_refusal(request: web.BaseRequest, refusal: Refusal) -> None:
    """Log and count a refusal, however it is told."""
    decided = refusal.reason.rule
    metrics.REFUSALS.labels(refusal.reason.value).inc()
    if refusal.reason is not Reason.BAD_PATH:  # which is no session's
        known = asked(request)
        known.session = refusal.session or known.session
        path = printable(request.raw_path.partition("?")[0])
        known.refused(refusal.reason, printable(request.method), path, peer_of(request))
    if not REFUSED.allows(refusal.reason.value):
        return
    say = getattr(logger(), refusal.level or decided.level)
    facts: dict[str, Any] = {"detail": refusal.detail} if refusal.detail else {}
    say(
        "request refused",
        reason=refusal.reason.value,
        status=decided.status,
        method=request.method,
        path=printable(request.raw_path.partition("?")[0]),
        peer=peer_of(request),
        **facts,
    )


def refuse_upstream(request: web.BaseRequest, error: UpstreamError, session: str = "") -> web.Response:
    """A failed dial, told to a caller on ``/api/v1/...``: the apiserver's own answer, or one of ours."""
    headers = {SESSION_HEADER: session} if session else {}
    if isinstance(error, UpstreamRefused):
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        if error.content_type and 400 <= error.status <= 599:
            headers["Content-Type"] = error.content_type
            return closing(web.Response(status=error.status, body=error.body, headers=headers))
    status = error.status if 400 <= error.status <= 599 else 502
    return _answer(request, status, str(error), error.reason, headers)


def status_body(message: str, status: int, reason: Reason) -> dict[str, Any]:
    """A ``metav1.Status`` that says both what Kubernetes calls it and what we do."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": status_reason(status),
        "details": {"causes": [{"reason": reason.value, "message": message}]},
        "code": status,
    }


def closing(response: _Response) -> _Response:
    """``response``, with the connection closed after it, and nothing told of what runs here."""
    response.force_close()
    response.headers["Server"] = "k8s-ws-proxy"
    return response


def printable(text: str) -> str:
    """``text`` for a log line: bounded, nothing in it that a terminal would obey."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_LONGEST_PATH])
    return shown if len(text) <= _LONGEST_PATH else shown + "…"


def _answer(
    request: web.BaseRequest, status: int, message: str, reason: Reason, headers: dict[str, str]
) -> web.Response:
    body: dict[str, Any] = (
        status_body(message, status, reason)
        if of_apiserver(request.raw_path)
        else {"error": message, "reason": reason.value}
    )
    return closing(web.json_response(body, status=status, reason=HTTPStatus(status).phrase, headers=headers))
