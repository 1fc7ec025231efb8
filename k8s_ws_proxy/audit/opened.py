"""A trail from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.audit.file_sink import FileSink
from k8s_ws_proxy.audit.log_sink import LogSink
from k8s_ws_proxy.audit.nats_sink import NatsSink
from k8s_ws_proxy.audit.trail import Trail
from k8s_ws_proxy.wire.audit.line import GENESIS

if TYPE_CHECKING:
    from k8s_ws_proxy.audit.sink import Sink
    from k8s_ws_proxy.observe.writer import LogWriter
    from k8s_ws_proxy.settings import AuditSettings


def opened(settings: AuditSettings, writer: LogWriter, *, node: str, daemon: str) -> Trail:
    """One for this run, whose id is ``daemon``. It looks at files, and starts threads: not for the event loop."""
    sinks: list[Sink] = []
    prev, cut = GENESIS, 0
    if settings.log == "stderr":
        sinks.append(LogSink(writer))
    elif (file := settings.file) is not None:
        sink = FileSink(file, settings.max_size)
        prev, cut = sink.digest, sink.cut
        sinks.append(sink)
    if settings.nats is not None:
        sinks.append(NatsSink(settings.nats, daemon=daemon, node=node))
    return Trail(sinks, node=node, daemon=daemon, prev=prev, cut=cut, required=settings.required)
