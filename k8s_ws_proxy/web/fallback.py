"""kubectl's second attempt: after a WebSocket that was refused it asks again with SPDY, and shows only that answer.

(client-go, tools/remotecommand/fallback.go.) SPDY isn't spoken here, but a person who is told only so looks for the
wrong mistake. So the answer to the first attempt is kept for a moment and given again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.web.errors import closing, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.auth.authorizer import Principal

_KEPT: Final = 10.0  # seconds: the second attempt follows at once
_MOST: Final = 128  # answers
_LARGEST: Final = 8 * 1024  # bytes of a body
_HEADERS: Final = ("Content-Type", "Retry-After")


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
    """The answers to callers' first attempts. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[tuple[Principal, str], _Answer] = OrderedDict()

    def keep(self, principal: Principal, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Keep a refusal of ``principal``'s request."""
        now = self._clock()
        while self._answers and (len(self._answers) >= _MOST or now - next(iter(self._answers.values())).at > _KEPT):
            self._answers.popitem(last=False)
        body = response.body if isinstance(response, web.Response) else None
        if response.status >= 400 and isinstance(body, bytes) and len(body) <= _LARGEST:
            headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
            key = (principal, request.raw_path)
            self._answers.pop(key, None)
            self._answers[key] = _Answer(now, response.status, body, headers)

    def answer(self, principal: Principal, request: web.BaseRequest) -> web.Response:
        """The answer to a SPDY attempt: what the same caller was told of the same request just now.

        Raises Refusal(``upgrade_required``) where nothing was.
        """
        kept = self._answers.pop((principal, request.raw_path), None)
        if kept is None or self._clock() - kept.at > _KEPT:
            raise Refusal(
                Reason.UPGRADE_REQUIRED,
                "This proxy speaks WebSocket, not SPDY. kubectl 1.31 and newer speaks it by itself, unless "
                "KUBECTL_REMOTE_COMMAND_WEBSOCKETS or KUBECTL_PORT_FORWARD_WEBSOCKETS is false.",
            )
        logger().info("refusal told again to SPDY", status=kept.status, peer=peer_of(request))
        return closing(web.Response(status=kept.status, body=kept.body, headers=kept.headers))
