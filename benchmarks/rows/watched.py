"""A terminal that others watch: what they cost its own client, and what each of them holds."""

import socket
from dataclasses import dataclass

from benchmarks import bulk, usage
from benchmarks.idle import Idle
from benchmarks.rows.base import Lay, Measured, Plan
from benchmarks.rows.throughput import measured
from benchmarks.session import KEYSTROKE, open_session, open_watch
from benchmarks.targets.base import Target
from benchmarks.targets.ours import is_ours
from benchmarks.usage import Clock
from benchmarks.watchers import Watchers

WATCHERS = (0, 1, 10)
_CLIENT_BUFFER = 128 * 1024  # bytes: what the kernel takes for the client is ahead of the watchers, too


@dataclass(frozen=True)
class Watched:
    """The client's bulk, in frames of 32 KiB, while so many watch; CPU is for each GB of the client's."""

    watchers: int

    @property
    def name(self) -> str:
        return f"watched-{self.watchers}"

    def applies(self, target: Target) -> bool:
        return is_ours(target)

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint:
            session = open_session(endpoint, "flood-when-told", 32768)
            session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CLIENT_BUFFER)
            with session.sock, Watchers(endpoint, session, self.watchers) as watchers:
                session.sock.sendall(KEYSTROKE)
                return measured(
                    bulk.read(session, plan.warm_up, plan.seconds, Clock(endpoint.pid).now, watchers.are_behind)
                )


@dataclass(frozen=True)
class WatchersHeld:
    """Idle watchers of one terminal that has said a word."""

    name: str = "held-watchers"

    def applies(self, target: Target) -> bool:
        return is_ours(target)

    def measure(self, lay: Lay, plan: Plan) -> Measured:
        with lay() as endpoint, Idle(endpoint) as idle:
            assert endpoint.pid is not None, "no proxy has no memory"
            session = open_session(endpoint, "echo")
            session.keystroke()
            idle.add(session)
            pids = usage.tree(endpoint.pid)
            rest = usage.memory(pids)
            clock = Clock(endpoint.pid)
            begun = clock.now()
            for _ in range(plan.idle):
                idle.add(open_watch(endpoint, session.id))
            spent = clock.now() - begun
            held = usage.memory(pids)
            idle.answer()
        return {
            "kib_per_watcher": (held.pss - rest.pss) / plan.idle,
            **spent.per("cpu_ms_per_opening", plan.idle),
        }
