"""Who may see, join and end whose sessions (docs/reference/sessions.md, "Who may")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.kube.reviews import Question, Reviews
from k8s_ws_proxy.wire.requests.target import Subresource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k8s_ws_proxy.auth.impersonator import Impersonator
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.wire.requests.target import Target

GROUP: Final = "terminal.openova.io"
RESOURCE: Final = "sessions"
_AT_ONCE: Final = 16  # reviews


class Rights:
    """By RBAC on the resource ``sessions`` of ``terminal.openova.io``, where callers have an identity of their own.

    Where the apiserver sees the proxy only, whoever comes in may.
    """

    def __init__(self, impersonator: Impersonator, reviews: Reviews) -> None:
        self._impersonator = impersonator
        self._reviews = reviews

    def owns(self, principal: Principal, record: SessionRecord) -> bool:
        """It is one's own: the apiserver sees the same user behind both."""
        who = self._impersonator.user_of(principal)
        return who is not None and who == self._impersonator.user_of(record.principal)

    async def check(self, principal: Principal, verb: str, record: SessionRecord) -> None:
        """Raises Refusal(``access_denied``), or UpstreamError where nobody can be asked."""
        who = self._impersonator.identity_of(principal)
        if who is None or self.owns(principal, record):
            return
        namespace = record.target.namespace
        if not await self._reviews.allows(Question(who, verb, RESOURCE, namespace, GROUP)):
            raise Refusal(
                Reason.ACCESS_DENIED,
                f"{who.user} may not {verb} {RESOURCE}.{GROUP} in the namespace {namespace}: a Role can allow it.",
                detail=who.user,
            )

    async def check_opening(self, principal: Principal, target: Target) -> None:
        """Whether the apiserver would let a session be opened. Raises as check() does."""
        if (who := self._impersonator.identity_of(principal)) is None:
            return
        verb = "get" if target.subresource is Subresource.LOG else "create"
        subresource = target.subresource.value
        question = Question(who, verb, "pods", target.namespace, subresource=subresource, name=target.pod)
        if not await self._reviews.allows(question):
            raise Refusal(
                Reason.ACCESS_DENIED,
                f"{who.user} may not {verb} pods/{subresource} in the namespace {target.namespace}: a Role allows it.",
                detail=who.user,
            )

    async def visible(self, principal: Principal, namespaces: Iterable[str]) -> frozenset[str]:
        """Those of ``namespaces`` whose sessions may be listed. Raises UpstreamError where nobody can be asked."""
        wanted = frozenset(namespaces)
        who = self._impersonator.identity_of(principal)
        if who is None or not wanted:
            return wanted
        if await self._reviews.allows(Question(who, "list", RESOURCE, "", GROUP)):
            return wanted
        turn = asyncio.Semaphore(_AT_ONCE)

        async def may(namespace: str) -> bool:
            async with turn:
                return await self._reviews.allows(Question(who, "list", RESOURCE, namespace, GROUP))

        asked = sorted(wanted)
        answers = await asyncio.gather(*map(may, asked))
        return frozenset(namespace for namespace, allowed in zip(asked, answers, strict=True) if allowed)
