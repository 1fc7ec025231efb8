"""How many sessions of which kind there are, counted when somebody asks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.sessions.registry import State
from k8s_ws_proxy.wire.requests.target import Subresource

if TYPE_CHECKING:
    from k8s_ws_proxy.sessions.registry import Registry
    from k8s_ws_proxy.sessions.tickets import Tickets


def count_sessions(registry: Registry, tickets: Tickets) -> None:
    """Set the gauge, each pair of labels: one that is no longer there is 0."""
    found = Counter((slot.log.record.kind, slot.state) for slot in registry.open_slots())
    found.update((issued.record.kind, State.ISSUED) for issued in tickets.waiting())
    for kind in (*(subresource.value for subresource in Subresource), "watch"):
        for state in State:
            metrics.SESSIONS.labels(kind, state.value).set(found[kind, state])
