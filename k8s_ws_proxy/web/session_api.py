"""The session API's routes: who comes in by what, and what follows when nobody can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Refusal, UpstreamError

if TYPE_CHECKING:
    from aiohttp import web

    from k8s_ws_proxy.web.api_callers import ApiCallers
    from k8s_ws_proxy.web.directory import Directory
    from k8s_ws_proxy.web.issuing import Issuing
    from k8s_ws_proxy.web.joining import Joining
    from k8s_ws_proxy.web.recordings import Recordings
    from k8s_ws_proxy.web.router import Handler
    from k8s_ws_proxy.web.streaming import Streaming


class SessionApi:
    """Answers requests for ``/proxy/sessions...`` and ``/proxy/recordings...``."""

    def __init__(
        self,
        callers: ApiCallers,
        issuing: Issuing,
        directory: Directory,
        streaming: Streaming,
        joining: Joining,
        recordings: Recordings,
    ) -> None:
        self._callers = callers
        self._issuing = issuing
        self._directory = directory
        self._streaming = streaming
        self._joining = joining
        self._recordings = recordings

    def rows(self) -> list[tuple[str, Handler]]:
        """Its routes. They stand before ``/proxy/{}/{}/{}``, which would take them for a session's path."""
        return [
            ("/proxy/sessions", as_proxy(self._collection)),
            ("/proxy/sessions/{}", as_proxy(self._directory.one)),
            ("/proxy/sessions/{}/ticket", as_proxy(self._issuing.ticket)),
            ("/proxy/sessions/{}/stream", self._streaming.open),
            ("/proxy/sessions/{}/watch", as_proxy(self._joining.open)),
            ("/proxy/sessions/{}/join", as_proxy(self._joining.open)),
            ("/proxy/recordings", as_proxy(self._recordings.list)),
            ("/proxy/recordings/{}", as_proxy(self._recordings.one)),
            ("/proxy/recordings/{}/receipt", as_proxy(self._recordings.receipt)),
            ("/proxy/recordings/{}/ticket", as_proxy(self._recordings.ticket)),
        ]

    async def _collection(self, request: web.BaseRequest) -> web.StreamResponse:
        principal, until = await self._callers.signed(request, "GET", "POST")
        if request.method == "POST":
            return await self._issuing.issue(request, principal, until)
        return await self._directory.list(request, principal, until)


def as_proxy(handler: Handler) -> Handler:
    """``handler``, whose questions to the apiserver are the proxy's own: what it says of them isn't the caller's."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except UpstreamError as error:
            raise Refusal(
                error.reason,
                "The apiserver can't be asked who may do this, so nobody may now: try again in a moment.",
                detail=f"{error} {error.detail}".strip(),
            ) from error

    return answer
