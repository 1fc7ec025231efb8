"""Every metric of the daemon, in one place; the table in docs/metrics.md is held against it by a test.

A session moves a handful of them, when it opens and when it ends; nothing is counted while bytes pass.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.wire.rules.relay import Ending

REGISTRY: Final = CollectorRegistry()
# Else there is a second series for each counter, that no one asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Seconds. A dial takes some milliseconds (docs/observed.md: 9 ms), and WS_HANDSHAKE_TIMEOUT is ten seconds by default.
_OPENING: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LENGTHS: Final = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)

BUILD_INFO: Final = Gauge(
    "k8s_ws_proxy_build_info", "What runs: always 1.", ["version", "python_version"], registry=REGISTRY
)

SESSIONS_OPEN: Final = Gauge("k8s_ws_proxy_sessions_open", "Sessions under way.", registry=REGISTRY)
SESSIONS: Final = Gauge(
    "k8s_ws_proxy_sessions",
    "Sessions by subresource and by how far they are: issued, opening, open, ending.",
    ["subresource", "state"],
    registry=REGISTRY,
)
SESSIONS_OPENED: Final = Counter(
    "k8s_ws_proxy_sessions_opened", "Sessions that got their 101, by subresource.", ["subresource"], registry=REGISTRY
)
SESSIONS_ENDED: Final = Counter(
    "k8s_ws_proxy_sessions_ended", "Sessions that ended, by reason.", ["reason"], registry=REGISTRY
)
REFUSALS: Final = Counter(
    "k8s_ws_proxy_refusals", "Requests and dials that were refused or failed, by reason.", ["reason"], registry=REGISTRY
)
TICKETS: Final = Counter(
    "k8s_ws_proxy_tickets_issued", "Tickets issued, by what they are good for.", ["use"], registry=REGISTRY
)
PAGES: Final = Counter(
    "k8s_ws_proxy_pages", "Pages for a browser that were sent, by which of them.", ["page"], registry=REGISTRY
)
BYTES: Final = Counter(
    "k8s_ws_proxy_bytes",
    "Bytes of ended sessions by direction (in: from the client), WebSocket framing included.",
    ["direction"],
    registry=REGISTRY,
)
HANDSHAKE_SECONDS: Final = Histogram(
    "k8s_ws_proxy_handshake_seconds",
    "From a request's first byte to its 101, the dial included.",
    buckets=_OPENING,
    registry=REGISTRY,
)
DIAL_SECONDS: Final = Histogram(
    "k8s_ws_proxy_dial_seconds",
    "The apiserver's part of a handshake, where it succeeded.",
    buckets=_OPENING,
    registry=REGISTRY,
)
DIALS: Final = Counter(
    "k8s_ws_proxy_dials",
    "Connections to the apiserver that sessions were opened on, by where from: ready, or new.",
    ["connection"],
    registry=REGISTRY,
)
READY: Final = Gauge(
    "k8s_ws_proxy_ready_connections", "Connections to the apiserver that wait to be used.", registry=REGISTRY
)
SESSION_SECONDS: Final = Histogram(
    "k8s_ws_proxy_session_seconds", "How long the sessions that ended were.", buckets=_LENGTHS, registry=REGISTRY
)
ORPHANS: Final = Counter(
    "k8s_ws_proxy_orphans",
    "Processes that a session left in its container, by what became of them: hung_up, gone by themselves, failed; "
    "upstream_claims were hung up after the apiserver had said that they had ended.",
    ["outcome"],
    registry=REGISTRY,
)
RECORDINGS_WAITING: Final = Gauge(
    "k8s_ws_proxy_recordings_waiting", "Recordings on this node that wait for their upload.", registry=REGISTRY
)
RECORDINGS_WAITING_OLDEST: Final = Gauge(
    "k8s_ws_proxy_recordings_waiting_oldest_seconds",
    "For how long the oldest of them has waited.",
    registry=REGISTRY,
)
RECORDING_UPLOADS: Final = Counter(
    "k8s_ws_proxy_recording_uploads",
    "Attempts to store a recording, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)
KEYS_LOADED: Final = Gauge("k8s_ws_proxy_keys_loaded", "Keys that are accepted.", registry=REGISTRY)
KEYS_RELOAD_OK: Final = Gauge(
    "k8s_ws_proxy_keys_reload_ok", "1 if the last reading of the keys succeeded, else 0.", registry=REGISTRY
)
KEYS_RELOAD_TIME: Final = Gauge(
    "k8s_ws_proxy_keys_reload_success_timestamp_seconds",
    "When the keys were last read with success, in Unix seconds.",
    registry=REGISTRY,
)
KEY_REQUESTS: Final = Counter(
    "k8s_ws_proxy_key_requests",
    "Requests let in, by the id of the key that signed and by how: v1, or v2 (RFC 9421).",
    ["key_id", "scheme"],
    registry=REGISTRY,
)
LOOP_LAG: Final = Histogram(
    "k8s_ws_proxy_loop_lag_seconds",
    "How long the event loop took for a turn, asked eight times a second.",
    buckets=_LAGS,
    registry=REGISTRY,
)
LOOP_STALLS: Final = Counter(
    "k8s_ws_proxy_loop_stalls",
    "Times that the event loop took over 250 ms for a turn, by cause: busy, or waiting for a processor or a call.",
    ["cause"],
    registry=REGISTRY,
)
LOG_DROPPED: Final = Counter(
    "k8s_ws_proxy_log_lines_dropped", "Log lines that were dropped, since nobody read them in time.", registry=REGISTRY
)
AUDIT_WRITTEN: Final = Counter(
    "k8s_ws_proxy_audit_lines_written",
    "Audit lines that got out, by where to: stderr, file, or nats, which has acknowledged them.",
    ["sink"],
    registry=REGISTRY,
)
AUDIT_LOST: Final = Counter(
    "k8s_ws_proxy_audit_lines_lost",
    "Audit lines that didn't get out there and won't: there was no room to keep them, or they were refused for good.",
    ["sink"],
    registry=REGISTRY,
)
AUDIT_FAILURES: Final = Counter(
    "k8s_ws_proxy_audit_failures",
    "Attempts to get audit lines out that failed; they are made again.",
    ["sink"],
    registry=REGISTRY,
)
AUDIT_WAITING: Final = Gauge(
    "k8s_ws_proxy_audit_lines_waiting", "Audit lines that wait to get out.", ["sink"], registry=REGISTRY
)
AUDIT_OLDEST: Final = Gauge(
    "k8s_ws_proxy_audit_oldest_waiting_seconds",
    "How long the oldest audit line has been waiting, 0 without one.",
    ["sink"],
    registry=REGISTRY,
)
AUDIT_OK: Final = Gauge(
    "k8s_ws_proxy_audit_ok", "1 if audit lines can be written somewhere, or none are wanted, else 0.", registry=REGISTRY
)
AUDIT_OK.set(1)
TASKS: Final = Gauge("k8s_ws_proxy_tasks", "asyncio tasks that exist.", registry=REGISTRY)
TLS_RELOAD_OK: Final = Gauge(
    "k8s_ws_proxy_tls_reload_ok",
    "0 if the last reading of the TLS listener's files failed, else 1.",
    registry=REGISTRY,
)
TLS_RELOAD_OK.set(1)  # also where there is no such listener: nothing is wrong then
CLUSTER_CONFIG_OK: Final = Gauge(
    "k8s_ws_proxy_cluster_config_ok",
    "1 if the last reading of the apiserver's address, CA and token succeeded, else 0.",
    registry=REGISTRY,
)
APISERVER_REACHABLE: Final = Gauge(
    "k8s_ws_proxy_apiserver_reachable", "1 if the apiserver answered when last asked, else 0.", registry=REGISTRY
)

RECORDINGS_OPEN: Final = Gauge("k8s_ws_proxy_recordings_open", "Sessions that are recorded now.", registry=REGISTRY)
RECORDINGS_FINISHED: Final = Counter(
    "k8s_ws_proxy_recordings_finished",
    "Recordings that have their receipt, by outcome: whole, failed on the way, interrupted with their daemon.",
    ["outcome"],
    registry=REGISTRY,
)
RECORDING_FAILURES: Final = Counter(
    "k8s_ws_proxy_recording_failures",
    "Sessions that were to be recorded and couldn't be, from their begin or any more.",
    registry=REGISTRY,
)
RECORDING_BYTES: Final = Counter(
    "k8s_ws_proxy_recording_bytes", "Bytes that were written to recordings.", registry=REGISTRY
)
RECORDING_AVAILABLE: Final = Gauge(
    "k8s_ws_proxy_recording_available",
    "0 if nothing can be recorded now, else 1; also where nothing is to be.",
    registry=REGISTRY,
)
RECORDING_AVAILABLE.set(1)
RECORDINGS_REMOVED: Final = Counter(
    "k8s_ws_proxy_recordings_removed", "Recordings that were removed for their age or for room.", registry=REGISTRY
)

# An alert on a rate needs the zero before the first one.
for _reason in Reason:
    REFUSALS.labels(_reason.value)
for _ending in Ending:
    SESSIONS_ENDED.labels(_ending.value)
for _cause in ("busy", "waiting"):
    LOOP_STALLS.labels(_cause)
for _outcome in ("hung_up", "gone", "failed", "upstream_claims"):
    ORPHANS.labels(_outcome)
for _outcome in ("whole", "failed", "interrupted"):
    RECORDINGS_FINISHED.labels(_outcome)
for _outcome in ("stored", "store_away", "refused", "different", "unfit", "gone", "lost"):
    RECORDING_UPLOADS.labels(_outcome)
for _sink in ("stderr", "file", "nats"):
    AUDIT_WRITTEN.labels(_sink)
    AUDIT_LOST.labels(_sink)
    AUDIT_FAILURES.labels(_sink)
for _connection in ("ready", "new"):
    DIALS.labels(_connection)
for _direction in ("in", "out"):
    BYTES.labels(_direction)


ProcessCollector(registry=REGISTRY)  # process_resident_memory_bytes, process_open_fds and their like


def exposition() -> bytes:
    """All of it in Prometheus's text format."""
    return generate_latest(REGISTRY)
