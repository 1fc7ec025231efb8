"""The apiserver, for whoever asks it: tokens, headers and second attempts are in here, and nowhere else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.kube import dial
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.dial import Upstream
    from k8s_ws_proxy.kube.ready import Ready
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.wire.http.body import Download
    from k8s_ws_proxy.wire.requests.impersonation import Identity

_T = TypeVar("_T")

_AT_ONCE: Final = 16  # objects that are read, of which the largest an apiserver keeps has 1.5 MB
_LARGE: Final = 64 * 1024  # bytes of one


@dataclass(frozen=True, slots=True)
class Apiserver:
    """Asks as the proxy itself, or, where it acts for ``identity``, as that. Two that ask as the same are equal."""

    _access: Access
    identity: Identity | None = None
    _ready: Ready | None = field(default=None, compare=False)
    """Connections that are open already; they are nobody's."""
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE), compare=False)
    """Of those who read, whoever it is for."""

    def acting_for(self, identity: Identity | None) -> Apiserver:
        """The same apiserver, asked as ``identity``, or as the proxy itself."""
        return Apiserver(self._access, identity, self._ready, self._turns)

    def expect(self) -> None:
        """Somebody who was let in is about to open a session."""
        if self._ready is not None:
            self._ready.expect()

    async def dial(self, path: str, subprotocols: Sequence[str] = SUBPROTOCOLS, *, audit_id: str = "") -> Upstream:
        """Open a WebSocket to ``path``; one of ``subprotocols`` is taken (or, by saying none, v4).

        ``audit_id`` is the request's in the apiserver's audit log. Raises UpstreamError; the caller bounds the time.
        """
        return await dial.dial(self._access, path, subprotocols, self._headers(audit_id), ready=self._ready)

    async def download(self, path: str, *, audit_id: str = "") -> tuple[Stream, Download]:
        """GET ``path`` up to where the answer's body begins; ``audit_id`` as above.

        Raises UpstreamError; the caller bounds the time.
        """
        return await dial.download(self._access, path, self._headers(audit_id), ready=self._ready)

    async def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body (its first 2 MiB) of a GET.

        Raises UpstreamError; the caller bounds the time.
        """
        return await dial.get(self._access, path, self._headers())

    async def read(self, path: str, made_out: Callable[[int, str, bytes], _T]) -> _T:
        """What ``made_out`` makes of a get(), which may be large: waits for its turn, so that few are held at once.

        A large one is made out in a thread: the loop then turns at least every few milliseconds. Raises UpstreamError,
        and what ``made_out`` does; the caller bounds the time, its turn included.
        """
        async with self._turns:
            answer = await self.get(path)
            return await asyncio.to_thread(made_out, *answer) if len(answer[2]) > _LARGE else made_out(*answer)

    async def post(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        """The same of a POST of ``body``, which is JSON. It may be sent twice: only for what changes nothing."""
        return await dial.get(self._access, path, self._headers(), posted=body)

    def _headers(self, audit_id: str = "") -> list[tuple[str, str]]:
        """Of every request; an apiserver takes an Audit-ID as it is sent (docs/observed.md)."""
        audit = [("Audit-ID", audit_id)] if audit_id else []
        return [*audit, *(self.identity.headers() if self.identity else [])]

    def timed_out(self) -> None:
        """It had its time and didn't answer: say so in ``/readyz``, and read again where it should be."""
        self._access.failed("timed out")
        self._access.suspect()
