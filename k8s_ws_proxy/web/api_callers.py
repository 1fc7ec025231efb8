"""Who may come in at the session API: by RFC 9421, by certificate, or with a ticket."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import CredentialRefused, Reason, Refusal
from k8s_ws_proxy.web.asked import asked
from k8s_ws_proxy.web.caller import presented
from k8s_ws_proxy.web.router import check_method
from k8s_ws_proxy.web.transport import StreamTransport
from k8s_ws_proxy.web.upgrade import offered_subprotocols
from k8s_ws_proxy.wire.requests.bearer import same_origin, ticket_in, ticket_meant
from k8s_ws_proxy.wire.requests.claims import WHO
from k8s_ws_proxy.wire.requests.message_signature import INPUT_HEADER, SIGNATURE_HEADER
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER
from k8s_ws_proxy.wire.requests.target import bad_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from k8s_ws_proxy.auth.authorizer import Authorizer
    from k8s_ws_proxy.auth.impersonator import Impersonator
    from k8s_ws_proxy.sessions.tickets import Grant, Tickets, Use

_SESSION_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_SIGNED: Final = (INPUT_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, HMAC_HEADER)


def session_in(request: web.BaseRequest) -> str:
    """The id in ``/proxy/sessions/{id}...``, or of a recording. Raises Refusal(``bad_path``) where it is none."""
    session = request.raw_path.partition("?")[0].split("/")[3]
    if not _SESSION_ID.fullmatch(session):
        raise bad_path(request.raw_path)
    return session


def parameters(request: web.BaseRequest, names: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters, each once at most. Raises Refusal(``bad_query``)."""
    pairs = parse_qsl(request.raw_path.partition("?")[2], keep_blank_values=True, errors="surrogateescape")
    found = dict(pairs)
    if len(found) != len(pairs) or (unknown := sorted(found.keys() - set(names))):
        told_ = f"{unknown[0][:40]!a} is unknown" if len(found) == len(pairs) else "one comes twice"
        raise Refusal(Reason.BAD_QUERY, f"Parameters here are {', '.join(names) or 'none'}; {told_}.")
    return found


def transport_of(request: web.BaseRequest) -> StreamTransport:
    """The request's."""
    transport = request.transport
    assert isinstance(transport, StreamTransport)
    return transport


class ApiCallers:
    """Lets them in. ``within`` is the seconds that a request may take; ``origins`` are pages' that may send tickets."""

    def __init__(
        self,
        authorizer: Authorizer,
        impersonator: Impersonator,
        tickets: Tickets,
        *,
        origins: frozenset[str],
        within: float,
    ) -> None:
        self._authorizer = authorizer
        self._impersonator = impersonator
        self._tickets = tickets
        self._origins = origins
        self.within = within

    async def signed(self, request: web.BaseRequest, *methods: str) -> tuple[Principal, float]:
        """Who makes the request, and the loop's time by which it must be answered.

        Raises Refusal, in web/handler.py's order: for the credential, for the identity that it gives
        (``user_required``, ``identity_denied``), then for its method.
        """
        transport = transport_of(request)
        until = transport.request_began() + self.within
        principal = await self._authorizer.authorize(presented(request, request.raw_path.partition("?")[0], until))
        if principal.mode is Mode.HMAC:
            raise CredentialRefused(
                Reason.SIGNATURE_V2_REQUIRED,
                "A v1 signature doesn't cover the method and the body: sign with RFC 9421 here.",
            )
        transport.caller_known()
        asked(request).principal = principal
        self._impersonator.identity_of(principal)
        check_method(request, *methods, text=f"Here there is {', '.join(methods)}.")
        return principal, until

    def ticket(self, request: web.BaseRequest, session: str, *uses: Use) -> str:
        """The request's ticket, which is good for one of ``uses`` of ``session``, and isn't used yet.

        Raises Refusal: ``two_credentials``, ``identity_unsigned``, ``bad_ticket`` or ``origin_denied``.
        """
        headers = request.headers
        if not self.has_ticket(request):
            raise CredentialRefused(
                Reason.BAD_TICKET,
                "The stream takes a ticket and nothing else, and there is none: send the one that was issued with it.",
            )
        if beside := [name for name in _SIGNED if name in headers]:
            raise CredentialRefused(Reason.TWO_CREDENTIALS, f"{beside[0]} beside a ticket: send one credential only.")
        if claimed := [name for name in WHO if name in headers]:
            raise Refusal(Reason.IDENTITY_UNSIGNED, f"{claimed[0]} can't be believed here: the ticket says who asks.")
        ticket = ticket_in(headers.getall("Authorization", []), offered_subprotocols(headers)) or ""
        grant = self._tickets.look(ticket, session, *uses)
        known = asked(request)
        known.principal, known.session = grant.principal, session
        if grant.issued is not None:
            known.target = grant.issued.target
        if (origin := self._strange_origin(request)) is not None:
            raise Refusal(
                Reason.ORIGIN_DENIED,
                "A page of this origin may not use tickets here (ALLOWED_ORIGINS).",
                detail=origin[:200],
            )
        transport_of(request).caller_known()
        return ticket

    def preflight(self, request: web.BaseRequest) -> Mapping[str, str] | None:
        """What a browser is told that asks whether a page of another origin may send a ticket by GET (Fetch, "CORS").

        None where that isn't asked, or it may not.
        """
        headers = request.headers
        asked = request.method == "OPTIONS" and headers.get("Access-Control-Request-Method") == "GET"
        if not asked or "Origin" not in headers or self._strange_origin(request) is not None:
            return None
        transport_of(request).request_began()
        return {
            **self.to_its_page(request),
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": "Authorization, Range",
        }

    @staticmethod
    def to_its_page(request: web.BaseRequest) -> Mapping[str, str]:
        """What lets a page of another origin read the answer to a request whose origin was looked at."""
        if (origin := request.headers.get("Origin")) is None:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Accept-Ranges, Content-Range, ETag, X-Session-Id",
            "Vary": "Origin",
        }

    def _strange_origin(self, request: web.BaseRequest) -> str | None:
        """The origin of a page that may not use tickets."""
        host = request.headers.get("Host", "")
        for origin in request.headers.getall("Origin", []):
            if origin not in self._origins and not same_origin(origin, host):
                return origin
        return None

    def redeem(self, ticket: str, session: str, *uses: Use) -> Grant:
        """Use it up."""
        return self._tickets.redeem(ticket, session, *uses)

    @staticmethod
    def has_ticket(request: web.BaseRequest) -> bool:
        """It has one, or means to."""
        headers = request.headers
        return ticket_meant(headers.getall("Authorization", []), offered_subprotocols(headers))
