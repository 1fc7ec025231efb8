"""Attacks of somebody who has a client certificate that is let in, and asks the proxy itself."""

import contextlib
import socket
from collections.abc import Iterator

from benchmarks.certs import HOST
from benchmarks.siege.attacks.base import CERTIFICATE, Attack, connected, hold
from benchmarks.siege.bed import Besieged

_ASK = b"GET /api/v1 HTTP/1.1\r\nHost: proxy\r\n\r\n"


def second_heads(bed: Besieged) -> Iterator[None]:
    """1,000 connections that were answered once, and hold 150 KB of a second head that has no end."""
    context = bed.operator()
    head = b"GET /api HTTP/1.1\r\nHost: proxy\r\n" + b"".join(b"X-%d: %b\r\n" % (at, b"x" * 15_000) for at in range(10))
    yield
    held = []
    for _ in range(bed.times(1000)):
        with contextlib.suppress(OSError):
            sock = context.wrap_socket(connected(bed.https), server_hostname="proxy")
            sock.settimeout(1)
            sock.sendall(_ASK)
            sock.recv(65536)
            held.append(sock)
            sock.sendall(head)
    hold()


def unread_answers(bed: Besieged) -> Iterator[None]:
    """100 connections that ask and never read an answer."""
    context = bed.operator()
    yield
    held = []
    for _ in range(bed.times(100)):
        with contextlib.suppress(OSError):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect((HOST, bed.https))
            held.append(context.wrap_socket(sock, server_hostname="proxy"))
            held[-1].settimeout(0.02)
    while True:
        for tls in held:
            with contextlib.suppress(OSError):
                tls.sendall(_ASK * 100)


ATTACKS = (Attack(second_heads, CERTIFICATE), Attack(unread_answers, CERTIFICATE))
