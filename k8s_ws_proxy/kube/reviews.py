"""What somebody may do, as the apiserver's RBAC has it: SubjectAccessReviews, asked as the proxy."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import UpstreamProtocolError
from k8s_ws_proxy.wire.http.handshake import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.wire.requests.impersonation import Identity

_PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_GOOD_FOR: Final = 10.0  # seconds
_REMEMBERED: Final = 10_000  # answers
_AT_ONCE: Final = 64  # questions: each is a connection of its own
_EVERYBODY: Final = "system:authenticated"  # a review adds no group of its own (docs/observed.md, "Reviews")


@dataclass(frozen=True, slots=True)
class Question:
    """May ``who`` do ``verb`` on this resource? An empty namespace means in all of them, an empty name any."""

    who: Identity
    verb: str
    resource: str
    namespace: str = ""
    group: str = ""
    subresource: str = ""
    name: str = ""

    def body(self) -> bytes:
        """As a SubjectAccessReview (authorization.k8s.io/v1)."""
        attributes = {
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "subresource": self.subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        spec = {
            "user": self.who.user,
            "groups": [*self.who.groups, _EVERYBODY],
            "resourceAttributes": {name: value for name, value in attributes.items() if value},
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return json.dumps(review).encode()


class Reviews:
    """Asks, and remembers answers for ten seconds. ``clock`` is monotonic, in seconds."""

    def __init__(self, apiserver: Apiserver, clock: Callable[[], float]) -> None:
        self._apiserver = apiserver
        self._clock = clock
        self._known: dict[bytes, tuple[float, bool]] = {}  # by a hash: a question has up to 64 groups in it
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def allows(self, question: Question) -> bool:
        """The answer. Raises UpstreamError where it can't be asked: nobody may then; the caller bounds the time."""
        asked = question.body()
        digest = hashlib.sha256(asked).digest()
        if (allowed := self._remembered(digest)) is not None:
            return allowed
        async with self._turn:
            allowed = self._remembered(digest)  # others may have asked the same meanwhile
            return await self._ask(asked, digest) if allowed is None else allowed

    def _remembered(self, digest: bytes) -> bool | None:
        known = self._known.get(digest)
        return None if known is None or self._clock() - known[0] >= _GOOD_FOR else known[1]

    async def _ask(self, asked: bytes, digest: bytes) -> bool:
        status, content_type, body = await self._apiserver.post(_PATH, asked)
        if status not in (200, 201):
            raise refusal(status, content_type, body)
        try:
            allowed = json.loads(body)["status"]["allowed"] is True
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UpstreamProtocolError("The apiserver's answer isn't a SubjectAccessReview.") from error
        self._known.pop(digest, None)
        if len(self._known) >= _REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[digest] = self._clock(), allowed
        return allowed
