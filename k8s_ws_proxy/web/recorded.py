"""Which sessions are recorded: the way from an opening to the recorder."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.recordings.recorder import unavailable
from k8s_ws_proxy.wire.requests.target import ExecTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.recordings.recorder import Recorder
    from k8s_ws_proxy.recordings.recording import Recording
    from k8s_ws_proxy.relay.bridge import Bridge
    from k8s_ws_proxy.sessions.record import SessionRecord
    from k8s_ws_proxy.sessions.registry import Slot
    from k8s_ws_proxy.web.plan import Plan


class Recorded:
    """Has those recorded that are to be. Without a ``recorder`` none can be."""

    def __init__(self, recorder: Recorder | None, *, notice: str = "") -> None:
        self._recorder = recorder
        self._notice = notice

    def path(self, record: SessionRecord, *, asked: bool) -> str:
        """Where the recording of such a session will be; empty where there will be none.

        Raises Refusal(``recording_unavailable``).
        """
        if self._recorder is None:
            if asked:
                raise unavailable("there is no RECORDING_DIR")
            return ""
        return path_of(record.id) if self._recorder.wants(record, asked=asked) else ""

    async def observe(self, slot: Slot, plan: Plan) -> Callable[[Bridge], Recording] | None:
        """As ``Opening`` asks: what makes the recording, where there is to be one.

        Raises Refusal(``recording_unavailable``), also where the disk doesn't answer in time.
        """
        call = plan.call
        if not self.path(slot.log.record, asked=call.record) or self._recorder is None:
            return None
        command = plan.target.command if isinstance(plan.target, ExecTarget) else None
        try:
            async with asyncio.timeout_at(call.until):
                recording = await self._recorder.begin(slot, command, call.apiserver.identity)
        except TimeoutError:
            raise unavailable("the disk doesn't answer") from None
        if recording is None:
            return None

        def start(bridge: Bridge) -> Recording:
            if self._notice and slot.log.record.tty:
                asyncio.get_running_loop().call_soon(bridge.say, self._notice)  # after the 101
            return recording.start(bridge)

        return start
