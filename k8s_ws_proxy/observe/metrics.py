"""Every metric of the daemon, in one place; README's table is held against it by a test."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

REGISTRY: Final = CollectorRegistry()

SESSIONS_OPEN: Final = Gauge("k8s_ws_proxy_sessions_open", "Sessions under way.", registry=REGISTRY)
SESSIONS_ENDED: Final = Counter(
    "k8s_ws_proxy_sessions_ended", "Sessions that ended, by reason.", ["reason"], registry=REGISTRY
)
REFUSALS: Final = Counter(
    "k8s_ws_proxy_refusals", "Requests and dials that were refused or failed, by reason.", ["reason"], registry=REGISTRY
)
BYTES: Final = Counter(
    "k8s_ws_proxy_bytes",
    "Bytes of ended sessions by direction (in: from the client), WebSocket framing included.",
    ["direction"],
    registry=REGISTRY,
)
KEYS_LOADED: Final = Gauge("k8s_ws_proxy_keys_loaded", "Keys that are accepted.", registry=REGISTRY)
KEYS_RELOAD_OK: Final = Gauge(
    "k8s_ws_proxy_keys_reload_ok", "1 if the last reading of the keys succeeded, else 0.", registry=REGISTRY
)
KEY_REQUESTS: Final = Counter(
    "k8s_ws_proxy_key_requests", "Requests let in, by the id of the key that signed.", ["key_id"], registry=REGISTRY
)
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


def exposition() -> bytes:
    """All of it in Prometheus's text format."""
    return generate_latest(REGISTRY)
