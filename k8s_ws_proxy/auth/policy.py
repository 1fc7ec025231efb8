"""What a caller who was let in may reach: namespaces, subresources and ports, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.target import PortForwardTarget

if TYPE_CHECKING:
    from k8s_ws_proxy.wire.requests.target import Route, Target


@dataclass(frozen=True, slots=True)
class Policy:
    """``namespaces`` and ``ports``: those that may be reached, all if there are none. ``subresources``: those that are
    on.
    """

    namespaces: frozenset[str]
    subresources: frozenset[str]
    ports: tuple[range, ...] = ()

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
        if not self.allows_namespace(namespace):
            raise Refusal(
                Reason.NAMESPACE_DENIED,
                f"Namespace {namespace} is not among those this proxy may reach (ALLOWED_NAMESPACES).",
            )

    def allows_namespace(self, namespace: str) -> bool:
        """It may be reached."""
        return not self.namespaces or namespace in self.namespaces

    def check_ports(self, target: Target) -> None:
        """Raises Refusal(``port_denied``) for a port-forward to a port that isn't allowed, or to nobody knows which."""
        if not self.ports or not isinstance(target, PortForwardTarget):
            return
        if not target.ports:
            raise Refusal(
                Reason.PORT_DENIED,
                "This proxy allows some ports only (ALLOWED_PORTS), and kubectl's tunnel doesn't show which it is for: "
                "use v4.channel.k8s.io, as k8s-ws-proxy port-forward does.",
                detail="tunnel",
            )
        denied = [port for port in target.ports if not any(port in allowed for allowed in self.ports)]
        if denied:
            named = ", ".join(map(str, denied))
            raise Refusal(
                Reason.PORT_DENIED,
                f"Not among the ports that this proxy may forward (ALLOWED_PORTS): {named}.",
            )
