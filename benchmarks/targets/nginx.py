"""nginx: two workers, TLS 1.3 to a source whose certificate it verifies, sessions resumed, no buffering.

Its buffer, through which upgraded bytes pass too, is 4 KiB unless told otherwise. The one that stands in the
tables has 16 KiB, a whole TLS record and what HAProxy has by default: it relays about a quarter more.
"""

from dataclasses import dataclass

from benchmarks.certs import HOST
from benchmarks.targets.base import PEER_CONNECTIONS, PEER_THREADS, TOKEN, Bed, Command

_CONFIGURATION = """\
daemon off;
worker_processes {workers};
worker_rlimit_nofile {connections};
pid {folder}/nginx.pid;
error_log stderr error;
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen} backlog=4096;
        {certificate}
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass https://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Authorization "Bearer {token}";
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_session_reuse on;
            proxy_buffering off;
            proxy_buffer_size {buffer};
            proxy_buffers 8 {buffer};
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    name: str = "nginx"
    label: str = "nginx"
    takes_tls: bool = True
    buffer: str = "16k"

    def command(self, bed: Bed) -> Command:
        listen, certificate = f"{HOST}:{bed.port}", ""
        if bed.client_tls:
            listen += " ssl"
            certificate = f"ssl_certificate {bed.certs.cert}; ssl_certificate_key {bed.certs.key};"
        text = _CONFIGURATION.format(
            workers=PEER_THREADS,
            connections=PEER_CONNECTIONS,
            folder=bed.folder,
            listen=listen,
            certificate=certificate,
            upstream=bed.upstream,
            token=TOKEN,
            ca=bed.certs.ca,
            buffer=self.buffer,
        )
        file = bed.write("nginx.conf", text)
        argv = ["nginx", "-p", str(bed.folder), "-e", "stderr", "-c", str(file)]
        return Command(argv, processes=1 + PEER_THREADS)

    def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 -- it checks nobody
        return {}
