"""A session as callers of the session API are told of it (docs/reference/sessions.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.requests.target import ExecTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.sessions.record import SessionRecord, Watcher
    from k8s_ws_proxy.sessions.registry import Slot, State


def session_json(
    record: SessionRecord, state: State, watchers: Sequence[Watcher], *, node: str, slot: Slot | None = None
) -> dict[str, Any]:
    """What is known of it; ``slot`` where it has one."""
    bridge = slot.bridge if slot else None
    return {
        "sessionId": record.id,
        "state": state.value,
        **known(record, node),
        "started": rfc3339(record.started),
        "bytesIn": bridge.bytes_from_client if bridge else 0,
        "bytesOut": bridge.bytes_to_client if bridge else 0,
        "idleSeconds": round(bridge.idle_seconds, 1) if bridge else None,
        "watchers": watchers_as_json(watchers),
        "recordingPath": record.recording or None,
    }


def known(record: SessionRecord, node: str, command: Sequence[str] | None = None) -> dict[str, Any]:
    """Who and what it is, which doesn't change; ``command`` is the whole one where the record has it shortened."""
    principal, target = record.principal, record.target
    if command is None and isinstance(target, ExecTarget):
        command = target.command
    return {
        "sessionId": record.id,
        "subresource": target.subresource.value,
        "namespace": target.namespace,
        "pod": record.pod,
        "container": record.container,
        "command": None if command is None else [_text(each) for each in command],
        "tty": record.tty,
        "node": node,
        "caller": {"mode": principal.mode.value, "name": principal.name},
        "user": principal.user,
        "groups": list(principal.groups),
        "reason": principal.reason,
        "peer": record.peer,
    }


def watchers_as_json(watchers: Sequence[Watcher]) -> list[dict[str, str]]:
    """Who watches, how, and since when."""
    return [{"user": each.user, "mode": each.mode.value, "since": rfc3339(each.since)} for each in watchers]


def _text(argument: str) -> str:
    """It may hold bytes that are no UTF-8, of which JSON would make halves of characters: they are shown escaped."""
    return argument.encode("utf-8", "backslashreplace").decode()
