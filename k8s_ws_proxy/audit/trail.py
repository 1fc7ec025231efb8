"""The audit trail: what happens is told by emit(), and goes out as lines that are chained."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.audit.line import GENESIS, Place, digest, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k8s_ws_proxy.audit.sink import Sink
    from k8s_ws_proxy.wire.audit.events import Event


class Trail:
    """One run's lines, to all of ``sinks``; without any, nothing is told and nothing is missed.

    ``daemon`` is the run's id, ``prev`` the hash of the line that its first one follows. With ``required`` no
    session is to begin while ``available`` is false. ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        node: str = "",
        daemon: str = "",
        prev: str = GENESIS,
        cut: int = 0,
        required: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sinks = tuple(sinks)
        self._node = node
        self._daemon = daemon
        self._prev = prev
        self._seq = 0
        self._clock = clock
        self._lock = threading.Lock()
        self.required = required
        self.cut = cut

    @property
    def on(self) -> bool:
        """Somebody is told."""
        return bool(self._sinks)

    def emit(self, event: Event) -> None:
        """Tell of ``event``. Never waits, in whatever thread."""
        if not self._sinks:
            return
        with self._lock:
            seq = self._seq + 1
            line = line_of(
                event, Place(rfc3339(self._clock(), "microseconds"), seq, self._node, self._daemon, self._prev)
            )
            # Only what has become a line takes a number: one that is missing looks like a line that was removed.
            self._seq, self._prev = seq, digest(line)
            for sink in self._sinks:
                sink.take(line)

    @property
    def available(self) -> bool:
        """A line can be written somewhere, or is wanted nowhere."""
        return not self._sinks or any(not sink.trouble for sink in self._sinks)

    @property
    def refuses(self) -> bool:
        """No session is to begin now."""
        return self.required and not self.available

    @property
    def state(self) -> str:
        """For whoever asks how it is: ``ok``, ``off``, or what is wrong with each way out."""
        if not self._sinks:
            return "off"
        troubles = [f"{sink.name}: {trouble}" for sink in self._sinks if (trouble := sink.trouble)]
        return "; ".join(troubles) or "ok"

    def measure(self) -> None:
        """Move the gauges."""
        metrics.AUDIT_OK.set(self.available)
        for sink in self._sinks:
            metrics.AUDIT_WAITING.labels(sink.name).set(sink.waiting)
            metrics.AUDIT_OLDEST.labels(sink.name).set(sink.oldest)

    def reopen(self) -> None:
        """Somebody has moved the file. Never waits."""
        for sink in self._sinks:
            sink.reopen()

    def close(self) -> None:
        """Bring out what waits, all ways out at the same time, for two seconds at most. It blocks."""
        closing = [threading.Thread(target=sink.close, daemon=True) for sink in self._sinks]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


NO_TRAIL: Final = Trail()
"""Nobody is told."""
