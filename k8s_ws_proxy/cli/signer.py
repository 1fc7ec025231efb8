"""The signatures of one request: each time that it is sent it has another, and a refusal may be worth one more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from yarl import URL

from k8s_ws_proxy.cli.answers import CLOCKS_AGREE, V1_ONLY, V2_ONLY, Refused, ahead, refused
from k8s_ws_proxy.cli.no_answer import no_answer
from k8s_ws_proxy.cli.sign import V1, V2
from k8s_ws_proxy.errors import ProxyError, Reason

if TYPE_CHECKING:
    import aiohttp

    from k8s_ws_proxy.cli.connection import Connection

_TIMER: Final = 0.01  # seconds by which a timer may be early, by the clock that signatures are dated by


class Signer:
    """For a request for ``target``. What is signed is what the proxy itself gets to see: a prefix in --url is for
    whoever stands before it.
    """

    def __init__(self, to: Connection, target: str) -> None:
        self.to = to
        self.url = URL(to.url + target, encoded=True)
        self._target = target
        self._version = to.signing.version
        self._versions = {self._version}
        self._waited = False

    async def sign(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """As aiohttp's middleware, which is run for each sending of a request: aiohttp itself sends one again when the
        connection was closed without an answer, and a nonce is good once.
        """
        if self.to.way is not None:
            request.headers.update(self.to.way.headers)
        if self.to.secret is not None:
            signed = self.to.signing.headers(self._version, self.to.secret, request.method, self._target)
            request.headers.update(signed)
        return await handler(request)

    def refused(self, response: aiohttp.ClientResponse, body: bytes) -> ProxyError:
        """What to say of this answer."""
        version = None if self.to.secret is None else self._version
        return refused(response, body, version, self.to.signing.given)

    def unanswered(self, error: TimeoutError | aiohttp.ClientError) -> str:
        """What to say where there was no answer."""
        return no_answer(self.to, error)

    async def another(self, refusal: Refused) -> bool:
        """Whether the request is to be signed and sent again, after ``refusal``. Each cause is one for it once."""
        if self.to.secret is None:
            return False
        if refusal.reason == Reason.EXPIRED.value:
            return await self._next_second(refusal)
        signing = self.to.signing
        other = self._other(refusal.reason)
        if other is None or other in self._versions or signing.given:
            return False
        if other == V1 and signing.version != V1:
            signing.say("this proxy doesn't take RFC 9421 signatures: signed as v1, which covers the path only")
        signing.version = self._version = other
        self._versions.add(other)
        return True

    def _other(self, reason: str) -> str | None:
        """The version that a proxy asks for which refuses this one so. It may be replaced by a newer one meanwhile."""
        if self._version == V2 and reason in V1_ONLY:
            return V1
        if self._version == V1 and reason == V2_ONLY:
            return V2
        return None

    async def _next_second(self, refusal: Refused) -> bool:
        """Whether it was only signed in the very second in which the proxy started; if so, when that is over.

        A signature says only the second that it was made in, and that began before the proxy did: it may have been
        made and used before, for all that the proxy knows. The next second is after it, so this waits for at most one.
        """
        off = ahead(refusal.date)
        if self._version != V2 or self._waited or off is None or abs(off) > CLOCKS_AGREE:
            return False
        self._waited = True
        await asyncio.sleep(1 - time.time() % 1 + _TIMER)
        return True
