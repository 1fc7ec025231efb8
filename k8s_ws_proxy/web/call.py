"""A request whose caller was let in: who, for what, since when, until when, by what way to the apiserver."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.sessions.quotas import HELD_BY_DIALS, held_by, opening
from k8s_ws_proxy.web.caller import peer_of
from k8s_ws_proxy.web.upgrade import hijack

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.wire.requests.target import Route

_LONG: Final = 8 * 1024  # bytes of a request's target


@dataclass(frozen=True, slots=True)
class Call:
    """``began`` is the loop's time at the request's first byte; ``within`` seconds from there it must be answered."""

    request: web.BaseRequest
    route: Route
    principal: Principal
    apiserver: Apiserver
    began: float
    within: float

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
        """Bytes of the request's target."""
        return len(self.request.raw_path)

    def hijack(self) -> tuple[Stream, bytes] | None:
        """The connection, for good, and the bytes that came after the request's head; None if the client has left."""
        return hijack(self.request)


class Turns:
    """When a request may cost its time.

    A command of 128 KiB takes twenty milliseconds to be taken apart, and as many to be written: of such ones the event
    loop gets one in a turn. Of dials one begins in a turn: a TLS handshake is two milliseconds, and of hundreds that
    come together many are given up by then.
    """

    def __init__(self) -> None:
        self._long_ones = asyncio.Lock()
        self._held = 0  # bytes of memory, by those that wait to be taken apart
        self._dials = asyncio.Lock()

    async def dial(self, call: Call) -> None:
        """Wait until the request's dial may begin."""
        await self._long_one(call)
        async with self._dials:
            await asyncio.sleep(0)

    async def take_apart(self, call: Call) -> None:
        """Wait until the request may be taken apart. It has no slot yet, so those that wait have a bound of their own.

        Raises Refusal(``too_many_handshakes``).
        """
        if call.size <= _LONG:
            return
        held = held_by(call.size)
        if self._held and self._held + held > HELD_BY_DIALS:
            raise Refusal(Reason.TOO_MANY_HANDSHAKES, opening())
        self._held += held
        try:
            await self._long_one(call)
        finally:
            self._held -= held

    async def _long_one(self, call: Call) -> None:
        if call.size > _LONG:
            async with self._long_ones:
                await asyncio.sleep(0)
