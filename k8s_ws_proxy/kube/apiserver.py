"""The apiserver, for whoever asks it: tokens, headers and second attempts are in here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.kube import dial
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.dial import Upstream
    from k8s_ws_proxy.relay.stream import Stream
    from k8s_ws_proxy.wire.http.body import Download
    from k8s_ws_proxy.wire.requests.impersonation import Identity


class Apiserver:
    """Asks as the proxy itself, or, where it acts for ``identity``, as that."""

    def __init__(self, access: Access, identity: Identity | None = None) -> None:
        self._access = access
        self._headers = identity.headers() if identity else []

    def acting_for(self, identity: Identity) -> Apiserver:
        """The same apiserver, asked as ``identity``."""
        return Apiserver(self._access, identity)

    async def dial(self, path: str, subprotocols: Sequence[str] = SUBPROTOCOLS) -> Upstream:
        """Open a WebSocket to ``path``; one of ``subprotocols`` is taken (or, by saying none, v4).

        Raises UpstreamError; the caller bounds the time.
        """
        return await dial.dial(self._access, path, subprotocols, self._headers)

    async def download(self, path: str) -> tuple[Stream, Download]:
        """GET ``path`` up to where the answer's body begins. Raises UpstreamError; the caller bounds the time."""
        return await dial.download(self._access, path, self._headers)

    async def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body (its first 2 MiB) of a GET.

        Raises UpstreamError; the caller bounds the time.
        """
        return await dial.get(self._access, path, self._headers)

    def timed_out(self) -> None:
        """It had its time and didn't answer: say so in ``/readyz``, and read again where it should be."""
        self._access.failed("timed out")
        self._access.suspect()
