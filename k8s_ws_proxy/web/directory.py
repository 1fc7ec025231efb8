"""The sessions of this node: listed, shown, ended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.sessions.as_json import session_json
from k8s_ws_proxy.sessions.registry import State, Termination
from k8s_ws_proxy.web.api_callers import parameters, session_in
from k8s_ws_proxy.web.caller import peer_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Registry, Slot
    from k8s_ws_proxy.sessions.tickets import Tickets
    from k8s_ws_proxy.sessions.watching import Watching
    from k8s_ws_proxy.web.api_callers import ApiCallers
    from k8s_ws_proxy.web.rights import Rights

    Known = tuple[SessionRecord, State, Slot | None]

_FILTERS = ("namespace", "user", "state")
_LONGEST_REASON = 256  # characters
_PART = 72 * 1024  # characters that are told at once; aiohttp waits for the reader after 64 KiB
_HEADERS = {"Cache-Control": "no-store", "Server": "k8s-ws-proxy"}


class Directory:
    """Tells of them. ``node`` is this one's name."""

    def __init__(
        self,
        callers: ApiCallers,
        registry: Registry,
        tickets: Tickets,
        *,
        rights: Rights,
        watching: Watching,
        node: str,
    ) -> None:
        self._callers = callers
        self._registry = registry
        self._tickets = tickets
        self._rights = rights
        self._watching = watching
        self._node = node

    async def list(self, request: web.BaseRequest, principal: Principal, until: float) -> web.StreamResponse:
        """The answer to ``GET /proxy/sessions``: what may be seen. Raises Refusal or UpstreamError."""
        wanted = parameters(request, _FILTERS)
        if (state := wanted.get("state")) is not None and state not in {each.value for each in State}:
            raise Refusal(Reason.BAD_QUERY, f"state must be one of {', '.join(each.value for each in State)}.")
        found = [known for known in self._all() if _fits(known, wanted)]
        others = {record.target.namespace for record, _, _ in found if not self._rights.owns(principal, record)}
        visible = await self._rights.visible(principal, others, until)
        seen = [
            known for known in found if known[0].target.namespace in visible or self._rights.owns(principal, known[0])
        ]
        return await self._tell(request, seen)

    async def _tell(self, request: web.BaseRequest, found: Sequence[Known]) -> web.StreamResponse:
        """All of them, a part at a time.

        They may be too many to put them into words in one turn of the loop, and too long to be kept for readers who
        are slow.
        """
        answer = web.StreamResponse(headers={**_HEADERS, "Content-Type": "application/json; charset=utf-8"})
        await answer.prepare(request)
        part = f'{{"node": {json.dumps(self._node)}, "sessions": ['
        for number, known in enumerate(found):
            # As UTF-8, which is a third of what escapes would be: who asks every node reads only so much of each.
            part += f"{', ' if number else ''}{json.dumps(self._told(known), ensure_ascii=False)}"
            if len(part) >= _PART:
                await answer.write(part.encode("utf-8", "backslashreplace"))
                part = ""
                await asyncio.sleep(0)
        await answer.write(f"{part}]}}".encode("utf-8", "backslashreplace"))
        await answer.write_eof()
        return answer

    async def one(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request for ``/proxy/sessions/{id}``. Raises Refusal or UpstreamError."""
        session = session_in(request)
        principal, until = await self._callers.signed(request, "GET", "DELETE")
        known = self._known(session)
        if request.method == "GET":
            parameters(request, ())
            await self._rights.check(principal, "get", known[0], until)
            return _as_json(self._told(known))
        reason = parameters(request, ("reason",)).get("reason", "")
        if len(reason) > _LONGEST_REASON or not reason.isprintable():
            raise Refusal(Reason.BAD_QUERY, f"reason may have {_LONGEST_REASON} printable characters.")
        await self._rights.check(principal, "delete", known[0], until)
        self._end(session, Termination(principal, reason, peer_of(request)))
        return _as_json(self._told(known), status=202)

    def terminal(self, session: str) -> Slot:
        """The open terminal of that id. Raises Refusal: ``no_such_session`` or ``not_a_terminal``."""
        slot = self._registry.find(session)
        if slot is None or slot.state is State.OPENING:
            raise _no_such(session)
        if not slot.log.record.tty or slot.log.record.watches:
            raise Refusal(Reason.NOT_A_TERMINAL, "Only a session with a terminal can be watched or joined.")
        return slot

    def _end(self, session: str, termination: Termination) -> None:
        if (issued := self._tickets.revoke(session)) is not None:
            logger().info("session terminated", **issued.record.log_fields(), **termination.log_fields())
            self._registry.audit.emit(termination.event(issued.record))
        if (slot := self._registry.find(session)) is not None:
            slot.terminate(termination)

    def _known(self, session: str) -> Known:
        if (slot := self._registry.find(session)) is not None and not slot.log.record.watches:
            return slot.log.record, slot.state, slot
        for issued in self._tickets.waiting():
            if issued.record.id == session:
                return issued.record, State.ISSUED, None
        raise _no_such(session)

    def _all(self) -> Iterator[Known]:
        for slot in self._registry.open_slots():
            if not slot.log.record.watches:  # who watches is told with the session that is watched
                yield slot.log.record, slot.state, slot
        for issued in list(self._tickets.waiting()):
            yield issued.record, State.ISSUED, None

    def _told(self, known: Known) -> dict[str, Any]:
        record, state, slot = known
        return session_json(record, state, self._watching.watchers(record.id), node=self._node, slot=slot)


def _fits(known: Known, wanted: dict[str, str]) -> bool:
    record, state, _ = known
    is_ = {"namespace": record.target.namespace, "user": record.principal.user, "state": state.value}
    return all(is_[name] == value for name, value in wanted.items())


def _no_such(session: str) -> Refusal:
    return Refusal(Reason.NO_SUCH_SESSION, f"There is no session {session} on this node, or not any more.")


def _as_json(body: object, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers=_HEADERS)
