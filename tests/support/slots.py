"""Sessions as the registry sees them, which do nothing."""

from __future__ import annotations

from types import SimpleNamespace

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.wire.requests.target import ExecTarget, Streams
from k8s_ws_proxy.wire.rules.relay import Ending

TTY = Streams(stdin=True, stdout=True, stderr=False, tty=True)
PIPES = Streams(stdin=True, stdout=True, stderr=True, tty=False)
EXEC = ExecTarget("default", "web", "app", TTY, ("sh", "-l"))
HMAC = Principal(Mode.HMAC, "2025")


class Clock:
    """Monotonic seconds, moved by hand."""

    now = 100.0

    def __call__(self):
        return self.now


class Session:
    """What the registry and the way down see of a session."""

    def __init__(self, slot, *, ends_when_told=True, ending=Ending.COMMAND_ENDED):
        self.slot = slot
        self.told = None
        self.aborted = False
        self._ends_when_told = ends_when_told
        self.relay = SimpleNamespace(ending=ending, exit_code=0, close_code=1000, status_seen=True)
        self.bytes_from_client, self.bytes_to_client = 11, 22

    def drain(self, line, channel, reason):
        self.told = (line, channel, reason)
        if self._ends_when_told:
            self.slot.release(self)

    def abort(self):
        self.aborted = True
        self.slot.release(self)


def open_session(registry, target=EXEC, **options):
    slot = registry.admit(HMAC, target, "10.0.0.1")
    session = Session(slot, **options)
    slot.opened(session)
    return session


def value(gauge):
    return gauge._value.get()
