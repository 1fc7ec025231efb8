"""What a caller who was let in may reach: namespaces and subresources, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal

if TYPE_CHECKING:
    from k8s_ws_proxy.wire.target import Route


@dataclass(frozen=True, slots=True)
class Policy:
    """``namespaces``: those that may be reached, all if there are none. ``subresources``: those that are on."""

    namespaces: frozenset[str]
    subresources: frozenset[str]

    def check(self, route: Route) -> None:
        """Raises Refusal: ``namespace_denied``, then ``subresource_denied``."""
        self.check_namespace(route.namespace)
        subresource = route.subresource.value
        if subresource not in self.subresources:
            raise Refusal(
                Reason.SUBRESOURCE_DENIED,
                f"{subresource} is switched off at this proxy (ALLOWED_SUBRESOURCES).",
            )

    def check_namespace(self, namespace: str) -> None:
        """Raises Refusal(``namespace_denied``)."""
        if self.namespaces and namespace not in self.namespaces:
            raise Refusal(
                Reason.NAMESPACE_DENIED,
                f"Namespace {namespace} is not among those this proxy may reach (ALLOWED_NAMESPACES).",
            )
