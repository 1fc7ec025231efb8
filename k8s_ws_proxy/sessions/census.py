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
    found = Counter((slot.log.record.target.subresource, slot.state) for slot in registry.open_slots())
    found.update((issued.record.target.subresource, State.ISSUED) for issued in tickets.waiting())
    for subresource in Subresource:
        for state in State:
            metrics.SESSIONS.labels(subresource.value, state.value).set(found[subresource, state])
