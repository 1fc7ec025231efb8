"""Beside the log, on stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.wire.audit.line import LONGEST

if TYPE_CHECKING:
    from k8s_ws_proxy.observe.writer import LogWriter


class LogSink:
    """By the log's writer, whose order the lines keep among those of the log."""

    name: Final = "stderr"

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._broken = False  # the last line could not be written

    def take(self, line: bytes) -> None:
        """As Sink's."""
        if not self._writer.keep(line + b"\n", self._done):
            metrics.AUDIT_LOST.labels(self.name).inc()

    def _done(self, written: bool) -> None:
        self._broken = not written
        (metrics.AUDIT_WRITTEN if written else metrics.AUDIT_LOST).labels(self.name).inc()

    @property
    def trouble(self) -> str:
        """As Sink's."""
        if self._broken:
            return "stderr can't be written"
        _, room, _ = self._writer.keeping
        return "" if room > LONGEST else "nobody reads stderr"

    @property
    def waiting(self) -> int:
        """As Sink's."""
        return self._writer.keeping[0]

    @property
    def oldest(self) -> float:
        """As Sink's."""
        since = self._writer.keeping[2]
        return time.monotonic() - since if since else 0.0

    def reopen(self) -> None:
        """As Sink's: there is nothing to open."""

    def close(self) -> None:
        """As Sink's: the log's writer is closed after it."""
