"""``/proxy/recordings...``: the recordings of this node, for who may read them (docs/reference/recordings.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.recordings.cursor import Cursors
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.sessions.audited import subject_of_request, target_of_known
from k8s_ws_proxy.sessions.tickets import Use
from k8s_ws_proxy.web.api_callers import ApiCallers, parameters, session_in, transport_of
from k8s_ws_proxy.web.caller import body_of, peer_of
from k8s_ws_proxy.web.recording_file import FileAnswer
from k8s_ws_proxy.web.recording_list import PARAMETERS, Page, page_of, parse_listing
from k8s_ws_proxy.web.rights import RECORDINGS
from k8s_ws_proxy.web.router import check_method
from k8s_ws_proxy.web.upgrade import SESSION_HEADER
from k8s_ws_proxy.wire.audit.events import RecordingRead, SessionIssued
from k8s_ws_proxy.wire.requests.issue import parse_replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.auth.policy import Policy
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.recordings.catalogue import Catalogue, Known
    from k8s_ws_proxy.recordings.readers import Readers, Reading
    from k8s_ws_proxy.sessions.tickets import Tickets
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.web.rights import Rights
    from k8s_ws_proxy.wire.audit.events import Subject

_HEADERS: Final = {"Cache-Control": "no-store", "Server": "k8s-ws-proxy"}
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}  # what is in it was written by whoever had the session
_PART: Final = 64 * 1024  # bytes of a list that are sent at once


class Recordings:
    """Answers for them. Without a ``catalogue`` there are none."""

    def __init__(
        self,
        callers: ApiCallers,
        tickets: Tickets,
        *,
        catalogue: Catalogue | None,
        readers: Readers,
        rights: Rights,
        policy: Policy,
        settings: Settings,
        audit: Trail,
    ) -> None:
        self._callers = callers
        self._tickets = tickets
        self._catalogue = catalogue
        self._readers = readers
        self._rights = rights
        self._policy = policy
        self._settings = settings
        self._audit = audit
        self._cursors = Cursors()
        self._lists = asyncio.Lock()

    async def list(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``GET /proxy/recordings``. Raises Refusal or UpstreamError."""
        principal, until = await self._callers.signed(request, "GET")
        catalogue = self._kept()
        wanted, limit = parse_listing(parameters(request, PARAMETERS), self._cursors)

        async def visible(namespaces: set[str]) -> frozenset[str]:
            allowed = filter(self._policy.allows_namespace, namespaces)
            return await self._rights.visible(principal, allowed, until, RECORDINGS)

        page = Page([])
        if wanted.namespace is None or await visible({wanted.namespace}):
            with self._reading(principal) as reading:
                async with self._turn(until):
                    page = await page_of(catalogue, reading, wanted, limit, visible, until)
        return await self._tell(request, page)

    async def one(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request for ``/proxy/recordings/{id}``. Raises Refusal or UpstreamError."""
        session = session_in(request)
        if (allowed := self._callers.preflight(request)) is not None:
            return web.Response(status=204, headers={**_HEADERS, **allowed})
        principal, until, headers = await self._let_in(request, session, Use.REPLAY, "GET", "HEAD")
        query = parameters(request, ("follow",))
        if (follow := query.get("follow", "false")) not in ("true", "false"):
            raise Refusal(Reason.BAD_QUERY, "follow must be true or false.")
        catalogue = self._kept()
        with self._reading(principal) as reading:
            known = await self._known(catalogue, reading, principal, session, until)
            if not await reading.open(partial(catalogue.open, session)):
                raise self._no_such(session, "its file isn't there")
            found = await reading.stat()
            lines = await reading.whole_lines() if known.daemon is not None else None
            answer = FileAnswer(
                request,
                reading,
                session=session,
                headers={**_HEADERS, **_NOSNIFF, **headers, SESSION_HEADER: session},
                keepalive=self._settings.ping_period,
            )
            answer.of(found, lines)
            follows = follow == "true" and known.daemon is not None and request.method == "GET"
            self._redeem(request, session, Use.REPLAY)
            self._log(request, "recording read", known, principal, follow=follows)
            self._audit.emit(self._read(request, known, principal, span=answer.part, follow=follows))
            if follows:
                return await answer.follow(partial(catalogue.goes_on, known))
            return await answer.send()

    async def receipt(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``GET /proxy/recordings/{id}/receipt``. Raises Refusal or UpstreamError."""
        session = session_in(request)
        if (allowed := self._callers.preflight(request)) is not None:
            return web.Response(status=204, headers={**_HEADERS, **allowed})
        principal, until, headers = await self._let_in(request, session, Use.RECEIPT, "GET")
        parameters(request, ())
        catalogue = self._kept()
        with self._reading(principal) as reading:
            known = await self._known(catalogue, reading, principal, session, until)
            found = await reading.ask(partial(catalogue.receipt, session))
        if found is None:
            raise Refusal(
                Reason.NO_SUCH_RECORDING, f"There is no receipt of {session} yet: it is written when the session ends."
            )
        self._redeem(request, session, Use.RECEIPT)
        self._log(request, "receipt read", known, principal)
        self._audit.emit(self._read(request, known, principal, part="receipt"))
        own = {"Content-Type": "application/json", SESSION_HEADER: session}
        return web.Response(body=found, headers={**_HEADERS, **_NOSNIFF, **headers, **own})

    async def ticket(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to ``POST /proxy/recordings/{id}/ticket``. Raises Refusal or UpstreamError."""
        session = session_in(request)
        principal, until = await self._callers.signed(request, "POST")
        parameters(request, ())
        within = parse_replay(await body_of(request, until))
        catalogue = self._kept()
        with self._reading(principal) as reading:
            known = await self._known(catalogue, reading, principal, session, until)
        ticket, expires = self._tickets.issue(session, Use.REPLAY, principal, within, also=(Use.RECEIPT,))
        self._log(request, "ticket issued", known, principal, use=Use.REPLAY.value)
        subject = self._subject(request, known, principal)
        self._audit.emit(SessionIssued(subject, use=Use.REPLAY.value, expires=rfc3339(expires)))
        path = f"/proxy/recordings/{session}"
        url = re.sub("^ws", "http", self._settings.public_url)  # it is no WebSocket that opens it
        told = {
            "sessionId": session,
            "ticket": ticket,
            "path": path,
            **({"url": url + path} if url else {}),
            "expires": rfc3339(expires),
        }
        return web.json_response(told, status=201, headers={**_HEADERS, SESSION_HEADER: session})

    async def _let_in(
        self, request: web.BaseRequest, session: str, use: Use, *methods: str
    ) -> tuple[Principal, float, Mapping[str, str]]:
        """Who asks, until when it must be answered, and what the answer says to a page of another origin."""
        if not self._callers.has_ticket(request):
            return *await self._callers.signed(request, *methods), {}
        until = transport_of(request).request_began() + self._callers.within
        ticket = self._callers.ticket(request, session, use)
        check_method(request, "GET", text="A ticket is for a GET.")
        return self._tickets.look(ticket, session, use).principal, until, self._callers.to_its_page(request)

    def _redeem(self, request: web.BaseRequest, session: str, use: Use) -> None:
        """Use the ticket up, where it came with one: after this the file is sent."""
        if self._callers.has_ticket(request):
            self._tickets.redeem(self._callers.ticket(request, session, use), session, use)

    async def _known(
        self, catalogue: Catalogue, reading: Reading, principal: Principal, session: str, until: float
    ) -> Known:
        """The recording, which ``principal`` may read. What may not be read is answered as what isn't there."""
        known = await reading.ask(partial(catalogue.find, session))
        if known is None:
            raise self._no_such(session, "it isn't there")
        if not self._policy.allows_namespace(known.namespace):
            raise self._no_such(session, f"the namespace {known.namespace} isn't in ALLOWED_NAMESPACES")
        if why := await self._rights.why_not_read(principal, known.namespace, until):
            raise self._no_such(session, why)
        return known

    def _kept(self) -> Catalogue:
        if self._catalogue is None:
            raise Refusal(Reason.NO_SUCH_RECORDING, "This proxy keeps no recordings: it has no RECORDING_DIR.")
        return self._catalogue

    def _no_such(self, session: str, why: str) -> Refusal:
        recording = self._settings.recording
        more = " It may be in the store: finished ones don't stay here." if recording and recording.store else ""
        return Refusal(
            Reason.NO_SUCH_RECORDING,
            f"There is no recording {session} on this node that you may read.{more}",
            detail=why,
        )

    @contextlib.asynccontextmanager
    async def _turn(self, until: float) -> AsyncIterator[None]:
        """One list after the other: each takes a thread's time, which is the loop's, too. Raises Refusal."""
        try:
            async with asyncio.timeout_at((asyncio.get_running_loop().time() + until) / 2):
                await self._lists.acquire()
        except TimeoutError:
            raise Refusal(
                Reason.TOO_MANY_READERS, "As many list recordings as this proxy has time for: try again in a while."
            ) from None
        try:
            yield
        finally:
            self._lists.release()

    @contextlib.contextmanager
    def _reading(self, principal: Principal) -> Iterator[Reading]:
        """A place among those who read. Raises Refusal, also for what the disk makes of it."""
        reading = self._readers.enter((principal.mode, principal.name, principal.user))
        try:
            yield reading
        except ConnectionError:
            raise  # the client has left
        except OSError as error:
            raise Refusal(
                Reason.RECORDINGS_UNREADABLE,
                "The recordings can't be read now: whoever runs the proxy has to look at it.",
                detail=str(error) or "the disk doesn't answer",
            ) from error
        finally:
            reading.leave()

    def _read(
        self,
        request: web.BaseRequest,
        known: Known,
        principal: Principal,
        *,
        part: str = "recording",
        span: str | None = None,
        follow: bool = False,
    ) -> RecordingRead:
        subject = self._subject(request, known, principal)
        return RecordingRead(subject, path=path_of(known.id), part=part, range=span, follow=follow)

    def _subject(self, request: web.BaseRequest, known: Known, principal: Principal) -> Subject:
        """Who reads, and what the session was that is read."""
        target = target_of_known(orjson.loads(known.told))
        return replace(subject_of_request(principal, None, peer_of(request), known.id), target=target)

    def _log(self, request: web.BaseRequest, event: str, known: Known, principal: Principal, **facts: object) -> None:
        logger().info(
            event,
            session=known.id,
            namespace=known.namespace,
            mode=principal.mode.value,
            name=principal.name,
            **principal.log_fields(),
            peer=peer_of(request),
            **facts,
        )

    async def _tell(self, request: web.BaseRequest, page: Page) -> web.StreamResponse:
        """It may be long, and its reader slow: a part at a time."""
        node = json.dumps(self._settings.node_name).encode()
        after = json.dumps(None if page.below is None else self._cursors.seal(page.below)).encode()
        body = b'{"node": %b, "recordings": [%b], "skipped": %d, "continue": %b}' % (
            node,
            b", ".join(page.told),
            page.skipped,
            after,
        )
        page.told.clear()
        answer = web.StreamResponse(headers={**_HEADERS, "Content-Type": "application/json; charset=utf-8"})
        await answer.prepare(request)
        for offset in range(0, len(body), _PART):
            await answer.write(body[offset : offset + _PART])
        await answer.write_eof()
        return answer
