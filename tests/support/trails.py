"""Audit trails: made, and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.wire.audit.chain import Chains, Spot
from k8s_ws_proxy.wire.audit.events import DaemonStarted, DaemonStopped, SessionOpened, Subject
from k8s_ws_proxy.wire.audit.line import GENESIS, Place, digest, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable


def run(
    daemon: str = "a0",
    count: int = 10,
    *,
    prev: str = GENESIS,
    node: str = "n1",
    stopped: bool = True,
    at: str = "2025-06-01T12:00",
) -> list[bytes]:
    """The lines of one run, one a second, from the first of the minute ``at`` on."""
    lines = []
    for seq in range(1, count + 1):
        event = SessionOpened(Subject(session=f"s{seq}"))
        if seq == 1:
            event = DaemonStarted()
        elif seq == count and stopped:
            event = DaemonStopped()
        data = line_of(event, Place(f"{at}:{seq:02}.000000Z", seq, node, daemon, prev))
        prev = digest(data)
        lines.append(data)
    return lines


def chains_of(lines: Iterable[bytes | str]) -> Chains:
    """What is found in lines, with or without their ends."""
    chains = Chains()
    for number, line in enumerate(lines, 1):
        data = line.encode() if isinstance(line, str) else line
        chains.feed(data.rstrip(b"\n"), Spot("trail", number))
    return chains
