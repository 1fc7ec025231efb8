"""Who may see, join and end whose sessions (docs/reference/sessions.md, "Who may")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.kube.reviews import Question, Reviews
from k8s_ws_proxy.web.upstream import answered_by, pod_of
from k8s_ws_proxy.wire.requests.target import Subresource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from k8s_ws_proxy.auth.impersonator import Impersonator
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Registry
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.wire.requests.impersonation import Identity
    from k8s_ws_proxy.wire.requests.target import Target

GROUP: Final = "terminal.openova.io"
RESOURCE: Final = "sessions"
RECORDINGS: Final = "recordings"
_AT_ONCE: Final = 16  # reviews
_Found = TypeVar("_Found")


class Rights:
    """By RBAC on ``sessions`` and ``recordings`` of ``terminal.openova.io``, where callers have an identity.

    Where the apiserver sees the proxy only, whoever comes in may. ``until`` is the loop's time by which an answer must
    be there; whoever can't be asked by then, or at all, raises as web/upstream.py's reach() does.
    """

    def __init__(
        self,
        settings: Settings,
        impersonator: Impersonator,
        reviews: Reviews,
        apiserver: Apiserver,
        registry: Registry,
    ) -> None:
        self._settings = settings
        self._impersonator = impersonator
        self._reviews = reviews
        self._apiserver = apiserver
        self._registry = registry

    def owns(self, principal: Principal, record: SessionRecord) -> bool:
        """It is one's own: the apiserver sees the same user behind both."""
        who = self._impersonator.user_of(principal)
        return who is not None and who == self._impersonator.user_of(record.principal)

    async def check(self, principal: Principal, verb: str, record: SessionRecord, until: float) -> None:
        """Raises Refusal(``access_denied``)."""
        who = self._impersonator.identity_of(principal)
        if who is None or self.owns(principal, record):
            return
        namespace = record.target.namespace
        question = Question(who, verb, RESOURCE, namespace, GROUP)
        if not await self._asked(lambda: self._reviews.allows(question), until):
            raise Refusal(
                Reason.ACCESS_DENIED,
                f"{who.user} may not {verb} {RESOURCE}.{GROUP} in the namespace {namespace}: a Role can allow it.",
                detail=who.user,
            )

    async def check_opening(self, principal: Principal, target: Target, until: float) -> None:
        """Whether the apiserver would let a session be opened. Raises as check() does, or Refusal for an alias."""
        if (who := self._impersonator.identity_of(principal)) is not None:
            await self._asked(lambda: self._check_opening(who, target), until)

    async def _check_opening(self, who: Identity, target: Target) -> None:
        verb = "get" if target.subresource is Subresource.LOG else "create"
        subresource = target.subresource.value
        pod = await pod_of(target, self._settings, self._apiserver)  # a Role may name pods, and knows no aliases
        question = Question(who, verb, "pods", target.namespace, subresource=subresource, name=pod)
        if not await self._reviews.allows(question):
            raise Refusal(
                Reason.ACCESS_DENIED,
                f"{who.user} may not {verb} pods/{subresource} in the namespace {target.namespace}: a Role allows it.",
                detail=who.user,
            )

    async def why_not_read(self, principal: Principal, namespace: str, until: float) -> str:
        """Why recordings of that namespace may not be read; empty where they may. One's own are as everybody's."""
        who = self._impersonator.identity_of(principal)
        if who is None:
            return ""
        question = Question(who, "get", RECORDINGS, namespace, GROUP)
        if await self._asked(lambda: self._reviews.allows(question), until):
            return ""
        return f"{who.user} may not get {RECORDINGS}.{GROUP} in the namespace {namespace}"

    async def visible(
        self, principal: Principal, namespaces: Iterable[str], until: float, resource: str = RESOURCE
    ) -> frozenset[str]:
        """Those of ``namespaces`` whose sessions may be listed, or whose recordings."""
        wanted = frozenset(namespaces)
        who = self._impersonator.identity_of(principal)
        if who is None or not wanted:
            return wanted
        return await self._asked(lambda: self._visible(who, wanted, resource), until)

    async def _visible(self, who: Identity, wanted: frozenset[str], resource: str) -> frozenset[str]:
        if await self._reviews.allows(Question(who, "list", resource, "", GROUP)):
            return wanted
        turn = asyncio.Semaphore(_AT_ONCE)

        async def may(namespace: str) -> bool:
            async with turn:
                return await self._reviews.allows(Question(who, "list", resource, namespace, GROUP))

        asked = sorted(wanted)
        answers = await asyncio.gather(*map(may, asked))
        return frozenset(namespace for namespace, allowed in zip(asked, answers, strict=True) if allowed)

    async def _asked(self, ask: Callable[[], Awaitable[_Found]], until: float) -> _Found:
        within = self._settings.handshake_timeout
        return await answered_by(ask, self._apiserver, self._registry, until=until, within=within)
