"""Whose request it is, and what it may: as whom it came, whom it acts as, and each decision, told to the audit log."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import impersonation, rbac
from k8s_ws_proxy.devcluster.rbac import Decision

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.audit import Entry
    from k8s_ws_proxy.devcluster.authorizer import Authorizer
    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.rbac import Attributes, UserInfo


class Access:
    """One request's. `user` is whom it acts as, once `assume` has been called."""

    def __init__(self, user: UserInfo, authorizer: Authorizer, entry: Entry) -> None:
        self.user = user
        self._authorizer = authorizer
        self._entry = entry

    def assume(self, request: Request, asked: Attributes) -> Attributes:
        """What is asked for by whom the headers name, or as it was.

        Raises Failed: 400 for headers that name nobody, 403 if this user may not act as that one.
        """
        meant = impersonation.wanted(request)
        if meant is None:
            return asked
        found = impersonation.impersonate(meant, asked, self._authorizer.decide)
        self._entry.impersonated(found.user, found.constraint)
        self.user = found.user
        return dataclasses.replace(asked, user=found.user)

    def note(self, asked: Attributes) -> None:
        """What may be read by everybody here: only told to the audit log."""
        self._entry.decided(Decision(True, self.decide(asked).reason))

    def require(self, asked: Attributes) -> None:
        """The request's own check.

        Raises Failed, 403.
        """
        decision = self.decide(asked)
        self._entry.decided(decision)
        if not decision.allowed:
            raise rbac.refused(asked, decision.reason)

    def decide(self, asked: Attributes) -> Decision:
        """Whether anybody may, without a trace."""
        return self._authorizer.decide(asked)
