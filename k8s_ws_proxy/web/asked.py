"""What is known of a request so far: for the audit trail, where it is refused.

Whoever finds something out writes it down here. Only what a credential has proved is a principal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from k8s_ws_proxy.sessions.audited import subject_of_request
from k8s_ws_proxy.sessions.record import kept
from k8s_ws_proxy.wire.audit.events import SessionRefused
from k8s_ws_proxy.wire.requests.target import Route

if TYPE_CHECKING:
    from k8s_ws_proxy.audit.refusals import Refusals
    from k8s_ws_proxy.auth.principal import Principal
    from k8s_ws_proxy.reasons import Reason
    from k8s_ws_proxy.wire.requests.target import Target


@dataclass(slots=True)
class Asked:
    """Of one request. Without ``refusals`` nobody is told, as on the operators' listener."""

    refusals: Refusals | None = None
    principal: Principal | None = None
    target: Target | Route | None = None
    session: str = ""
    admitted: bool = False
    """It had its slot, so that its command may have begun."""

    def refused(self, reason: Reason, method: str, path: str, peer: str) -> None:
        """It was, for this. ``path`` is what may be shown of it."""
        if self.refusals is not None:
            self.refusals.note(
                reason, known=self.principal is not None, event=lambda: self._event(reason, method, path, peer)
            )

    def _event(self, reason: Reason, method: str, path: str, peer: str) -> SessionRefused:
        target, sha256 = self.target, ""
        if target is not None and not isinstance(target, Route):
            short, sha256 = kept(target)
            target = target if self.admitted else short
        return SessionRefused(
            subject_of_request(self.principal, target, peer, self.session, sha256),
            refusal=reason.value,
            status=reason.rule.status,
            method=method,
            path=path,
        )


_KEY: Final = web.RequestKey("asked", Asked)


def asked(request: web.BaseRequest) -> Asked:
    """What is known of ``request``."""
    known = request.get(_KEY)
    if known is None:
        request[_KEY] = known = Asked()
    return known


def begin(request: web.BaseRequest, refusals: Refusals | None) -> None:
    """It has come in, on a listener where ``refusals`` are told."""
    request[_KEY] = Asked(refusals)
