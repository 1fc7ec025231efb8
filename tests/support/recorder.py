"""A recorder on a real directory, and sessions that it records, which tests move by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.recordings.recorder import Recorder
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.settings import RecordingSettings
from k8s_ws_proxy.wire.framing.channels import STDOUT
from k8s_ws_proxy.wire.rules.relay import Ending, Phase
from support.slots import EXEC, HMAC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from k8s_ws_proxy.recordings.recording import Recording
    from k8s_ws_proxy.sessions.registry import Slot

SECRET = b"recorder-test-secret-of-32-bytes"


class Bridge:
    """What a recording and its slot see of a relayed session."""

    def __init__(self, ending: Ending = Ending.COMMAND_ENDED) -> None:
        self.relay = SimpleNamespace(
            ending=ending, exit_code=0, close_code=1000, status_seen=True, phase=Phase.RELAYING
        )
        self.bytes_from_client, self.bytes_to_client = 11, 22
        self.went_on = 0
        self.given_up: bytes | None = None

    def go_on(self) -> None:
        self.went_on += 1

    def give_up(self, line: bytes, _channel: int, _reason: str) -> None:
        self.given_up = line


class Session:
    """One that is recorded."""

    def __init__(self, slot: Slot, recording: Recording, bridge: Bridge) -> None:
        self.slot = slot
        self.recording = recording
        self.bridge = bridge

    @property
    def id(self) -> str:
        return self.slot.id

    def says(self, data: bytes) -> None:
        """A command's output."""
        self.recording.output(STDOUT, data)

    def ends(self) -> None:
        """As a bridge tells it: the slot first."""
        self.slot.ended(self.bridge)
        self.recording.ended(self.bridge.relay)
        self.slot.release()


class Recorders:
    """Recorders of one daemon each, on ``root``; ``finished`` has the session's id and the event of each that is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.budget = ReadBudget(asyncio.get_running_loop().time)
        self.registry = Registry([], asyncio.get_running_loop().time)
        self.finished: list[tuple[str, Any]] = []

    async def start(self, **settings: Any) -> Recorder:
        """One that has taken over what is there."""
        recorder = Recorder(
            RecordingSettings(self.root, "all", **{"min_free": 0, **settings}),
            node="node-1",
            budget=self.budget,
            secret=lambda: SECRET,
            finished=lambda event: self.finished.append((event.subject.session, event)),
        )
        await recorder.open()
        return recorder

    async def prepare(self, recorder: Recorder) -> tuple[Slot, Recording]:
        """A session that isn't dialled yet."""
        slot = self.registry.admit(HMAC, EXEC, "10.0.0.1")
        found = await recorder.begin(slot, None, None)
        assert found is not None
        return slot, found

    def opened(self, slot: Slot, found: Recording) -> Session:
        """It has its 101."""
        bridge = Bridge()
        found.start(bridge)  # type: ignore[arg-type] - as much of one as it wants
        slot.opened(bridge)  # type: ignore[arg-type]
        return Session(slot, found, bridge)

    async def begin(self, recorder: Recorder) -> Session:
        """A session of its own that has its 101."""
        return self.opened(*await self.prepare(recorder))

    async def unrecorded(self, recorder: Recorder) -> Slot:
        """A session that goes on without a recording."""
        slot = self.registry.admit(HMAC, EXEC, "10.0.0.1")
        assert await recorder.begin(slot, None, None) is None
        return slot

    def closing(self, recorder: Recorder) -> asyncio.Task[None]:
        """It ends in its own time."""
        return asyncio.get_running_loop().create_task(recorder.close())

    def starting(self, recorder: Recorder) -> asyncio.Task[Session]:
        """A session that begins in its own time."""
        return asyncio.get_running_loop().create_task(self.begin(recorder))


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until threads have done something of which nobody is told."""
    while not condition():  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.005)


class Held:
    """A module's ``os``, whose ``name`` waits until it is let go; ``entered`` says that somebody waits."""

    def __init__(self, monkeypatch: Any, module: Any, name: str) -> None:
        self.entered = threading.Event()
        self._let_go = threading.Event()
        real = getattr(os, name)

        def held(*arguments: Any) -> Any:
            self.entered.set()
            assert self._let_go.wait(60), "nobody has let it go"
            return real(*arguments)

        monkeypatch.setattr(module, "os", SimpleNamespace(**{**vars(os), name: held}))

    def let_go(self) -> None:
        """Now and from here on."""
        self._let_go.set()


@contextlib.asynccontextmanager
async def recording(root: Path, **settings: Any) -> AsyncIterator[tuple[Recorders, Recorder]]:
    """A recorder that is closed at the end."""
    recorders = Recorders(root)
    recorder = await recorders.start(**settings)
    try:
        yield recorders, recorder
    finally:
        await recorder.close()
