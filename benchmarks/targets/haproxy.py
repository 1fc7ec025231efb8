"""HAProxy: http mode, two threads, TLS 1.3 to a source whose certificate it verifies, sessions resumed."""

from dataclasses import dataclass

from benchmarks.certs import HOST
from benchmarks.targets.base import PEER_CONNECTIONS, PEER_THREADS, TOKEN, Bed, Command

# maxconn counts clients, each of which takes two descriptors.
_CONFIGURATION = """\
global
    nbthread {threads}
    maxconn {sessions}
defaults
    mode http
    maxconn {sessions}
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend clients
    bind {bind} backlog 4096
    default_backend apiserver
backend apiserver
    http-request set-header Authorization "Bearer {token}"
    server source {upstream} ssl verify required ca-file {ca} sni str(localhost) ssl-min-ver TLSv1.3
"""


@dataclass(frozen=True)
class HAProxy:
    name: str = "haproxy"
    label: str = "HAProxy"
    takes_tls: bool = True

    def command(self, bed: Bed) -> Command:
        bind = f"{HOST}:{bed.port}"
        if bed.client_tls:
            bind += f" ssl crt {bed.certs.pem} ssl-min-ver TLSv1.3"
        text = _CONFIGURATION.format(
            threads=PEER_THREADS,
            sessions=PEER_CONNECTIONS // 2,
            bind=bind,
            token=TOKEN,
            upstream=bed.upstream,
            ca=bed.certs.ca,
        )
        return Command(["haproxy", "-db", "-q", "-f", str(bed.write("haproxy.cfg", text))])

    def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 -- it checks nobody
        return {}
