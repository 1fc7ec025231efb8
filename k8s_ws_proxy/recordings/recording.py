"""One session's recording, as the event loop has it: it gathers what passes, and a thread writes it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.recordings.cast_file import CastFile, Data, Resized, told
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.sessions.as_json import watchers_as_json
from k8s_ws_proxy.wire.framing.channels import STDIN
from k8s_ws_proxy.wire.recording.receipt import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.wire.recording.receipt import File
    from k8s_ws_proxy.wire.rules.relay import Relay
    from k8s_ws_proxy.worker import Worker

# Bytes that are handed over without waiting for more. For each portion the thread takes the interpreter from the event
# loop four times: with a portion a read, a flood was slower by a third.
_AT_ONCE: Final = 512 * 1024
_LEAST: Final = 16 * 1024  # bytes that each may have waiting
MOST_WAITING: Final = 2 * 1024 * 1024  # bytes that one may have waiting while there is room for all
_ENTRY: Final = 160  # bytes of memory that an event takes besides its data
STUCK: Final = 30.0  # seconds for the disk to take what it was handed

_Event = Data | Resized


class Host(Protocol):
    """What a recording has in common with all others of its daemon: the ``Recorder``."""

    takes_input: bool
    required: bool
    writer: Worker
    clock: Callable[[], float]

    @property
    def crowded(self) -> bool:
        """So much waits for the disk, of all sessions, that each has to do with little."""

    def hold(self, count: int) -> None:
        """``count`` more bytes wait for the disk, fewer if it is negative."""

    def later(self, recording: Recording) -> None:
        """It has something to hand over, which may wait a moment for more."""

    def started(self, recording: Recording) -> None:
        """Its session has its 101."""

    def written(self, count: int) -> None:
        """``count`` more bytes are in the kernel, and may not be on the disk yet."""

    def finish(self, recording: Recording, work: Callable[[bytes], File]) -> None:
        """It has ended, and is written: have it finished."""

    def discard(self, recording: Recording) -> None:
        """There was no session after all."""


class Recording:
    """Is made before the session is dialled, begins with its 101, and ends after it. It is an ``Observer``."""

    def __init__(self, recorder: Host, slot: Slot, file: CastFile) -> None:
        self.slot = slot
        self.file = file
        self.problem = ""  # why it isn't whole
        self._recorder = recorder
        self._bridge: Bridge | None = None
        self._began = 0.0  # the loop's time
        self._pending: list[_Event] = []
        self._pending_size = 0
        self._writing_size = 0  # of what the thread has
        self._writing_since: float | None = None
        self._was_full = False
        self._watched = False  # by somebody who isn't written down yet
        self._end: tuple[float, End] | None = None
        self._over = False  # its end was handed over, too

    @property
    def held(self) -> int:
        """Bytes of memory that wait for the disk."""
        return self._pending_size + self._writing_size

    @property
    def ending(self) -> str:
        """How its session ended; empty while it hasn't."""
        return "" if self._end is None else self._end[1].ending

    def start(self, bridge: Bridge) -> Recording:
        """The session is about to get its 101."""
        self._bridge = bridge
        self._began = self._recorder.clock()
        self._recorder.started(self)
        record = self.slot.log.record
        self._writing_since = self._began  # nothing is finished while there is something to be written
        entered = partial(self.file.entered, title_of(record), record.pod, record.container)
        self._recorder.writer.do(entered, self.written, self.not_written)
        self.slot.at_watch(self._one_more_watches)
        return self

    @property
    def takes_input(self) -> bool:
        """As an Observer's: what people type holds passwords, and is taken only where the operator wants it."""
        return self._recorder.takes_input

    @property
    def full(self) -> bool:
        """As an Observer's: so much waits for the disk that the session has to. Then all of it is handed over."""
        held = self.held
        self._was_full = held >= _LEAST and (held >= MOST_WAITING or self._recorder.crowded) and not self.problem
        if self._was_full:
            self.hand_over()
        return self._was_full

    def output(self, channel: int, data: bytes) -> None:
        """As an Observer's."""
        self._take(Data(self._recorder.clock() - self._began, channel, data), len(data))

    def input(self, data: bytes) -> None:
        """As an Observer's."""
        self._take(Data(self._recorder.clock() - self._began, STDIN, data), len(data))

    def resized(self, columns: int, rows: int) -> None:
        """As an Observer's."""
        self._take(Resized(self._recorder.clock() - self._began, columns, rows), 0)

    def status(self, payload: bytes) -> None:
        """As an Observer's: the relay knows at the end."""

    def ended(self, relay: Relay) -> None:
        """As an Observer's."""
        assert self._bridge is not None
        assert relay.ending is not None
        at = self._recorder.clock() - self._began
        self._end = (
            at,
            End(
                rfc3339(time.time()),
                relay.ending.value,
                relay.exit_code if self.slot.log.record.runs_command else None,
                self._bridge.bytes_from_client,
                self._bridge.bytes_to_client,
                tuple(watchers_as_json(self.slot.watched_by)),
            ),
        )
        self._bridge = None
        self._watched = False
        self.hand_over()

    def dropped(self, _told: bool) -> None:
        """The slot's session has ended: where it never began there is nothing to keep."""
        if not self._began:
            self._recorder.discard(self)

    def hand_over(self) -> None:
        """Give the thread what there is, if it has nothing of this session yet; after the last of it, the end."""
        if (work := self.take_work()) is not None:
            self._recorder.writer.do(work, self.written, self.not_written)

    def take_work(self) -> Callable[[], int] | None:
        """What the thread is to do next, which is given to it now: ``written`` or ``not_written`` is called after it.

        None where it has something of this session already, or nothing waits.
        """
        if self._writing_since is not None:
            return None
        if self.problem or not (self._pending or self._watched):
            self._finish()
            return None
        events, self._pending = self._pending, []
        self._writing_size, self._pending_size = self._pending_size, 0
        watchers = watchers_as_json(self.slot.watched_by) if self._watched else None
        self._watched = False
        self._writing_since = self._recorder.clock()
        return partial(self.file.write, events, watchers)

    def _finish(self) -> None:
        if self._end is not None and not self._over:
            self._over = True
            at, end = self._end
            self._recorder.finish(self, partial(self.file.finish, at, end, self.problem))

    def _one_more_watches(self) -> None:
        """Written with the rest, for the receipt of a session whose daemon is killed."""
        if self._end is None:  # else the receipt has them
            self._watched = True
            self._recorder.later(self)

    def look(self, now: float) -> None:
        """Give up where the disk has had what it was handed for too long."""
        if self._writing_since is not None and now - self._writing_since > STUCK:
            self.fail(f"the disk took nothing for {STUCK:.0f} s")

    def fail(self, problem: str) -> None:
        """It can't go on."""
        if self.problem:
            return
        self.problem = f"recording failed: {problem}"
        self._hold(-self._pending_size)
        self._pending, self._pending_size = [], 0
        metrics.RECORDING_FAILURES.inc()
        logger().error("recording failed", session=self.slot.id, problem=problem, required=self._recorder.required)
        if self._bridge is not None:
            if self._recorder.required:
                self.slot.give_up("this session can't be recorded any more, and it has to be")
            else:
                self._bridge.go_on()

    def _take(self, event: _Event, size: int) -> None:
        if self.problem:
            return
        self._pending.append(event)
        self._pending_size += size + _ENTRY
        self._hold(size + _ENTRY)
        if self._pending_size >= _AT_ONCE:
            self.hand_over()
        else:
            self._recorder.later(self)

    def written(self, count: int) -> None:
        """The thread is done with what it was given, of which ``count`` bytes are in the file."""
        self._recorder.written(count)
        self._free()
        if self._pending_size >= _AT_ONCE or self._was_full or self._end is not None:
            self.hand_over()
        elif self._pending or self._watched:
            self._recorder.later(self)
        if self._was_full and self._bridge is not None:
            self._bridge.go_on()

    def not_written(self, error: Exception) -> None:
        """The thread couldn't do it."""
        self._free()
        self.fail(told(error))
        self.hand_over()

    def _free(self) -> None:
        self._hold(-self._writing_size)
        self._writing_size, self._writing_since = 0, None

    def _hold(self, count: int) -> None:
        self._recorder.hold(count)

    def finished(self, file: File) -> None:
        """Its receipt is written."""
        logger().info("recording finished", session=self.slot.id, **_fields(file))


def title_of(record: SessionRecord) -> str:
    """What stands in the header: where it went."""
    return "/".join(filter(None, (record.target.namespace, record.pod, record.container)))


def _fields(file: File) -> dict[str, Any]:
    fields: dict[str, Any] = {"recording": file.path, "size": file.size, "sha256": file.sha256}
    return {**fields, "problem": file.problem} if file.problem else fields
