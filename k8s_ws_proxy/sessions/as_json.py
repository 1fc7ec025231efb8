"""A session as callers of the session API are told of it (docs/reference/sessions.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.requests.target import ExecTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Slot, State
    from k8s_ws_proxy.sessions.watching import Watcher


def session_json(
    record: SessionRecord, state: State, watchers: Sequence[Watcher], *, node: str, slot: Slot | None = None
) -> dict[str, Any]:
    """What is known of it; ``slot`` where it has one."""
    principal, target = record.principal, record.target
    bridge = slot.bridge if slot else None
    return {
        "sessionId": record.id,
        "state": state.value,
        "subresource": target.subresource.value,
        "namespace": target.namespace,
        "pod": record.pod,
        "container": record.container,
        "command": [_text(each) for each in target.command] if isinstance(target, ExecTarget) else None,
        "tty": record.tty,
        "node": node,
        "caller": {"mode": principal.mode.value, "name": principal.name},
        "user": principal.user,
        "groups": list(principal.groups),
        "reason": principal.reason,
        "peer": record.peer,
        "started": rfc3339(record.started),
        "bytesIn": bridge.bytes_from_client if bridge else 0,
        "bytesOut": bridge.bytes_to_client if bridge else 0,
        "idleSeconds": round(bridge.idle_seconds, 1) if bridge else None,
        "watchers": [{"user": each.user, "mode": each.mode.value, "since": rfc3339(each.since)} for each in watchers],
        "recordingPath": None,
    }


def _text(argument: str) -> str:
    """It may hold bytes that are no UTF-8, of which JSON would make halves of characters: they are shown escaped."""
    return argument.encode("utf-8", "backslashreplace").decode()
