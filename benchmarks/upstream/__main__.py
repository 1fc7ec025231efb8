"""`python -m benchmarks.upstream PORT CERT KEY`: accept, and hand each socket's events to its connection."""

import selectors
import socket
import ssl
import sys

from benchmarks.certs import HOST
from benchmarks.limits import raise_open_files
from benchmarks.upstream.connection import Connection


def serve(port: int, context: ssl.SSLContext) -> None:
    selector = selectors.DefaultSelector()
    listener = socket.create_server((HOST, port), backlog=4096)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            connection = key.data
            if connection is not None:
                connection.on_ready()
                continue
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            Connection(sock, context, selector)


def main() -> None:
    port, cert, key = sys.argv[1:]
    raise_open_files()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(cert, key)
    serve(int(port), context)


if __name__ == "__main__":
    main()
