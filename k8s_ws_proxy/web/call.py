"""A request whose caller was let in: who, for what, since when, until when, by what way to the apiserver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k8s_ws_proxy.web.caller import peer_of
from k8s_ws_proxy.web.upgrade import hijack

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.wire.requests.target import Route


@dataclass(frozen=True, slots=True)
class Call:
    """``began`` is the loop's time at the request's first byte; ``within`` seconds from there it must be answered.

    ``session`` is the id of one that was issued before, ``record`` whether it is to be recorded whatever is usual,
    ``length`` bytes of the target that it was issued for, ``aside`` whether its client takes messages aside from
    Kubernetes's.
    """

    request: web.BaseRequest
    route: Route
    principal: Principal
    apiserver: Apiserver
    began: float
    within: float
    session: str = ""
    record: bool = False
    length: int = 0
    aside: bool = False

    @property
    def until(self) -> float:
        """The loop's time when it must be answered."""
        return self.began + self.within

    @property
    def peer(self) -> str:
        """The caller's address, without the port."""
        return peer_of(self.request)

    @property
    def size(self) -> int:
        """Bytes of the target: of the request's, or of what was issued."""
        return self.length or len(self.request.raw_path)

    def hijack(self) -> tuple[Stream, bytes] | None:
        """The connection, for good, and the bytes that came after the request's head; None if the client has left."""
        return hijack(self.request)
