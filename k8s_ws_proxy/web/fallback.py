"""kubectl's second attempt: after a WebSocket that was refused it asks again with SPDY, and shows only that answer.

(client-go, tools/remotecommand/fallback.go.) SPDY isn't spoken here, but a person who is told only so looks for the
wrong mistake. So the answer to the first attempt is kept for a moment and given again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.web.caller import peer_of
from k8s_ws_proxy.web.errors import closing, refuse
from k8s_ws_proxy.web.upgrade import SESSION_HEADER
from k8s_ws_proxy.wire.requests.target import Dialect, Subresource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.web.call import Call

_KEPT: Final = 10.0  # seconds: the second attempt follows at once
_SPARE: Final = 0.1
_MOST: Final = 128  # answers: 1 MiB at the most
_LARGEST: Final = 8 * 1024  # bytes of a body
_HEADERS: Final = ("Content-Type", "Retry-After", SESSION_HEADER)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was said, and when."""

    at: float
    status: int
    body: bytes
    headers: dict[str, str]


def asks_for_spdy(request: web.BaseRequest) -> bool:
    """Whether it wants to become a SPDY/3.1 connection, as kubectl before 1.31 does at first."""
    return any(value.strip().upper() == "SPDY/3.1" for value in request.headers.getall("Upgrade", []))


class Fallback:
    """The answers to callers' first attempts. ``clock`` is monotonic, in seconds, as ``later`` is an event loop's."""

    def __init__(self, clock: Callable[[], float], later: Callable[[float, Callable[[], None]], object]) -> None:
        self._clock = clock
        self._later = later
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._due = False  # it is going to look again

    def keep(self, principal: Principal, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Keep a refusal of ``principal``'s request."""
        body = response.body if isinstance(response, web.Response) else None
        if response.status >= 400 and isinstance(body, bytes) and len(body) <= _LARGEST:
            headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
            key = _key(principal, request)
            self._answers.pop(key, None)
            self._answers[key] = _Answer(self._clock(), response.status, body, headers)
            if len(self._answers) > _MOST:
                self._answers.popitem(last=False)
            self._forget()

    def concerns(self, call: Call) -> bool:
        """Whether kubectl would make a second attempt of it, or this is one."""
        route, principal = call.route, call.principal
        terminal = route.subresource in (Subresource.EXEC, Subresource.ATTACH)
        if principal.guacd and terminal:
            return False
        return route.dialect is Dialect.APISERVER and (terminal or route.subresource is Subresource.PORTFORWARD)

    async def around(self, call: Call, answer: Callable[[Call], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """What ``answer`` says; but a SPDY attempt is answered as the first one was. Raises Refusal."""
        if asks_for_spdy(call.request):
            return self.answer(call.principal, call.request)
        try:
            response = await answer(call)
        except Refusal as refusal:
            response = refuse(call.request, refusal)
        self.keep(call.principal, call.request, response)
        return response

    def _forget(self) -> None:
        """Let go of what is too old, and look again when the next one will be."""
        now = self._clock()
        while self._answers and now - next(iter(self._answers.values())).at > _KEPT:
            self._answers.popitem(last=False)
        if self._answers and not self._due:
            self._due = True
            self._later(next(iter(self._answers.values())).at + _KEPT + _SPARE - now, self._look_again)

    def _look_again(self) -> None:
        self._due = False
        self._forget()

    def answer(self, principal: Principal, request: web.BaseRequest) -> web.Response:
        """The answer to a SPDY attempt: what the same caller was told of the same request just now.

        Raises Refusal(``upgrade_required``) where nothing was.
        """
        kept = self._answers.pop(_key(principal, request), None)
        if kept is None or self._clock() - kept.at > _KEPT:
            raise Refusal(
                Reason.UPGRADE_REQUIRED,
                "This proxy speaks WebSocket, not SPDY. kubectl 1.31 and newer speaks it by itself, unless "
                "KUBECTL_REMOTE_COMMAND_WEBSOCKETS or KUBECTL_PORT_FORWARD_WEBSOCKETS is false.",
            )
        logger().info("refusal told again to SPDY", status=kept.status, peer=peer_of(request))
        return closing(web.Response(status=kept.status, body=kept.body, headers=kept.headers))


def _key(principal: Principal, request: web.BaseRequest) -> bytes:
    """Whose request for what: a digest, since a request line has up to 128 KiB."""
    who = (principal.mode, principal.name, principal.user, principal.groups, principal.guacd)
    said = (repr(who), request.raw_path)
    return hashlib.sha256("\0".join(said).encode("utf-8", "surrogateescape")).digest()
