"""The one place that decides who may come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.auth.claims import check_node
from k8s_ws_proxy.errors import CredentialRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.auth.authenticator import Authenticator, Presented
    from k8s_ws_proxy.auth.principal import Principal


class Authorizer:
    """Asks ``authenticators`` in their order. The first that knows the request's credential decides alone.

    ``node`` is this daemon's, where that is known.
    """

    def __init__(self, authenticators: Sequence[Authenticator], *, node: str = "") -> None:
        self._authenticators = tuple(authenticators)
        self._node = node

    async def authorize(self, presented: Presented) -> Principal:
        """The principal behind a request. Raises CredentialRefused, or Refusal: ``wrong_node``, or what is wrong with
        the headers that say who is asking.
        """
        for authenticator in self._authenticators:
            if (principal := await authenticator.authenticate(presented)) is not None:
                check_node(presented, self._node)
                return principal
        raise CredentialRefused(Reason.MISSING_HMAC, "The request has no credential that is accepted here.")
