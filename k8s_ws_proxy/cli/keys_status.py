"""``k8s-ws-proxy keys status``, for a person or a machine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.rotation.record import Phase
from k8s_ws_proxy.rotation.status import Status, look
from k8s_ws_proxy.rotation.wording import count, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from k8s_ws_proxy.rotation.api import Api
    from k8s_ws_proxy.rotation.fleet import Pod
    from k8s_ws_proxy.rotation.record import Record
    from k8s_ws_proxy.rotation.run import What

_SHOWN: Final = 20  # nodes on one line


async def show(api: Api, what: What, *, machine: bool) -> None:
    """Look and print. Raises ClusterApiError, RotationError."""
    live = sys.stderr.isatty()

    def told_of(asked: int, pods: int) -> None:
        if live:
            print(f"\rasked {asked} of {count(pods, 'pod')}", end="\r\x1b[K" if asked == pods else "", file=sys.stderr)

    status = await look(api, what, told_of)
    print(json.dumps(_object(status)) if machine else "\n".join(_lines(status)))


def _object(status: Status) -> dict[str, Any]:
    record, fleet = status.state.record, status.fleet
    return {
        "secret": status.secret,
        "phase": "none" if record is None else record.phase.value,
        "staged": None if record is None else rfc3339(record.staged),
        "promoted": None if record is None or record.promoted is None else rfc3339(record.promoted),
        "other_rotations": [
            {
                "key": other.key,
                "phase": other.phase.value,
                "staged": rfc3339(other.staged),
                "promoted": None if other.promoted is None else rfc3339(other.promoted),
            }
            for other in status.state.others
        ],
        "keys": [
            {
                "id": entry.name,
                "fingerprint": entry.fingerprint,
                "role": status.state.role(entry),
                "last_used": None if (use := fleet.last_used(entry.fingerprint)) is None else rfc3339(use),
                "lacking": [pod.node for pod in status.lacking(entry)],
            }
            for entry in status.state.entries
        ],
        "pods": len(fleet.pods),
        "starting": fleet.starting,
        "silent": {pod.node: fleet.silent[pod.uid] for pod in fleet.pods if pod.uid in fleet.silent},
        "not_in_secret": {fp: [pod.node for pod in pods] for fp, pods in status.strangers().items()},
    }


def _lines(status: Status) -> Iterable[str]:
    fleet, state = status.fleet, status.state
    starting = f", {fleet.starting} more starting" if fleet.starting else ""
    yield f"Secret {status.secret}; {status.what}: {count(len(fleet.pods), 'pod')} running{starting}"
    yield ""
    rows = [("ENTRY", "FINGERPRINT", "ROLE", "ON", "LAST USED")]
    for entry in state.entries:
        use = fleet.last_used(entry.fingerprint)
        there = len(fleet.reports) - len(status.lacking(entry))
        rows.append(
            (
                entry.name,
                entry.fingerprint,
                state.role(entry),
                f"{there} of {len(fleet.pods)}",
                "not seen" if use is None else f"{duration(status.now - use)} ago",
            )
        )
    yield from _table(rows)
    yield ""
    yield _phase(state.record, state.current.name, status.now)
    for other in state.others:
        yield _phase(other, other.key, status.now)
    for entry in state.entries:
        if lacking := status.lacking(entry):
            yield f"{entry.name} ({entry.fingerprint}) isn't on: {_nodes(lacking)}"
    for fingerprint, pods in status.strangers().items():
        yield f"{fingerprint} isn't in the Secret, and still accepted on: {_nodes(pods)}"
    for pod in [pod for pod in fleet.pods if pod.uid in fleet.silent][:_SHOWN]:
        yield f"no answer from {pod.node} (pod {pod.name}): {fleet.silent[pod.uid]}"
    if len(fleet.silent) > _SHOWN:
        yield f"no answer from {len(fleet.silent) - _SHOWN} more nodes"


def _phase(record: Record | None, key: str, now: float) -> str:
    if record is None:
        return f"No rotation of {key!r} has been made here."
    rotation = f"A rotation of {key!r}"
    match record.phase:
        case Phase.STAGED:
            since, on = duration(now - record.staged), record.command("rotate")
            return f"{rotation} is under way since {since}: the new key waits for every pod. {on} goes on."
        case Phase.OVERLAP:
            since, end = duration(now - (record.promoted or record.staged)), record.command("retire")
            return f"{rotation} is in its overlap: the new key is the current one since {since}. {end} ends it."
        case Phase.RETIRING:
            on = record.command("retire")
            return f"{rotation} is at its end: the old key waits for every pod to drop it. {on} goes on."
        case Phase.DONE:
            since = duration(now - (record.finished or 0.0))
            return f"No rotation of {key!r} is under way; the last one was {since} ago."


def _nodes(pods: Sequence[Pod]) -> str:
    more = f" and {len(pods) - _SHOWN} more" if len(pods) > _SHOWN else ""
    return ", ".join(pod.node for pod in pods[:_SHOWN]) + more


def _table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
