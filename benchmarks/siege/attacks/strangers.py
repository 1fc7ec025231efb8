"""Attacks of somebody who can connect, and has no credential."""

import contextlib
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator

from support.tls13 import RawTls13

from benchmarks.certs import HOST
from benchmarks.siege.attacks.base import NOBODY, Attack, connected, crowd, hold
from benchmarks.siege.bed import Besieged
from benchmarks.siege.tls12 import HANDSHAKE, RawTls12

_LINE = b"GET /proxy/exec/bench/bench-0/shell?command=true HTTP/1.1\r\nHost: proxy\r\n"


def raw(bed: Besieged) -> RawTls13:
    """A TLS connection whose records the attacker makes."""
    made = RawTls13((HOST, bed.https), bed.stranger())
    made.socket.settimeout(None)
    return made


def _hello() -> bytes:
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="proxy")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def without_end(sock: socket.socket, count: int, make: Callable[[], bytes]) -> Iterator[None]:
    """So many pieces made before, sent at once; and then ever more of them, as fast as they can be made."""
    wire = b"".join(make() for _ in range(count))
    yield
    sock.sendall(wire)
    while True:
        sock.sendall(b"".join(make() for _ in range(100)))


def key_updates(bed: Besieged) -> Iterator[None]:
    """TLS 1.3 KeyUpdate records of 27 bytes in the request's place, 50,000 at once and then more."""
    tls = raw(bed)
    yield from without_end(tls.socket, bed.times(50_000), tls.key_update)


def key_updates_wanted(bed: Besieged) -> Iterator[None]:
    """The same, each of which wants one in answer, and nobody reads those."""
    tls = raw(bed)
    yield from without_end(tls.socket, bed.times(50_000), lambda: tls.key_update(requested=True))


def renegotiations(bed: Besieged) -> Iterator[None]:
    """TLS 1.2, and then a new handshake asked for 50,000 times and more, none of them waited for."""
    tls = RawTls12(connected(bed.https), bed.stranger())
    tls.socket.settimeout(None)
    hello = _hello()[5:]
    yield from without_end(tls.socket, bed.times(50_000), lambda: tls.record(hello, HANDSHAKE))


def _single_bytes(bed: Besieged, connections: int, count: int) -> Iterator[None]:
    head = _LINE + b"".join(b"X-%d: %b\r\n" % (at, b"x" * 15_000) for at in range(9))
    prepared = []
    for _ in range(connections):
        tls = raw(bed)
        tls.socket.setblocking(False)
        prepared.append((tls.socket, b"".join(tls.record(head[at : at + 1]) for at in range(count))))
    yield
    while prepared:
        _, ready, _ = select.select([], [sock for sock, _ in prepared], [])
        prepared = [(sock, wire[sock.send(wire) :] if sock in ready else wire) for sock, wire in prepared]
        prepared = [(sock, wire) for sock, wire in prepared if wire] or hold()


def single_byte_records(bed: Besieged) -> Iterator[None]:
    """A request of 120,000 bytes, each byte a TLS record of its own."""
    yield from _single_bytes(bed, 1, bed.times(120_000))


def single_byte_records_by_eight(bed: Besieged) -> Iterator[None]:
    """The same on 8 connections at once, 40,000 bytes each."""
    yield from _single_bytes(bed, 8, bed.times(40_000))


def long_hellos(bed: Besieged) -> Iterator[None]:
    """A ClientHello of 131,000 bytes, announced, sent, but for its last ones, and then silence, 1,000 times."""
    message = b"\x01" + (131_000).to_bytes(3, "big") + b"\x03\x03" + os.urandom(32) + b"\0" * 130_900
    pieces = (message[at : at + 16_000] for at in range(0, len(message), 16_000))
    wire = b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)
    yield
    held = crowd(bed.https, bed.times(1000), wire)
    hold()
    del held


def slow_heads(bed: Besieged) -> Iterator[None]:
    """1,000 requests that come a byte at a time, ten bytes a second each."""
    yield
    held = crowd(bed.http, bed.times(1000), b"GET /")
    while True:
        for at, sock in enumerate(held):
            try:
                sock.send(b"a")
            except OSError:
                with contextlib.suppress(OSError):
                    held[at] = connected(bed.http)
        time.sleep(0.1)


def many_headers(bed: Besieged) -> Iterator[None]:
    """Heads of 125 headers of four bytes that have no end, by TLS, 1,000 times."""
    context = bed.stranger()
    head = _LINE + b"".join(b"%c%c:\r\n" % (65 + at // 26, 65 + at % 26) for at in range(123))
    yield
    held = []
    for _ in range(bed.times(1000)):
        with contextlib.suppress(OSError):
            held.append(context.wrap_socket(connected(bed.https), server_hostname="proxy"))
            held[-1].sendall(head)
    hold()


def endless_heads(bed: Besieged) -> Iterator[None]:
    """Heads of 150 KB that have no end, 1,000 times."""
    head = _LINE + b"".join(b"X-%d: %b\r\n" % (at, b"x" * 15_000) for at in range(10))
    yield
    held = crowd(bed.http, bed.times(1000), head)
    hold()
    del held


def connects(bed: Besieged) -> Iterator[None]:
    """Connections, one after the other as fast as they come, each reset at once."""
    yield
    while True:
        connected(bed.http, reset=True).close()
        connected(bed.https, reset=True).close()


def silent_crowd(bed: Besieged) -> Iterator[None]:
    """4,000 connections that say nothing, whoever is turned out comes again."""
    yield
    while True:
        held = crowd(bed.http, bed.times(2000), b"") + crowd(bed.https, bed.times(2000), b"")
        time.sleep(1)
        for sock in held:
            sock.close()


def junk(bed: Besieged) -> Iterator[None]:
    """Random bytes to both listeners, on a new connection each time."""
    data = os.urandom(64 * 1024)
    yield
    while True:
        for port in (bed.http, bed.https):
            with contextlib.suppress(OSError), connected(port) as sock:
                sock.settimeout(1)
                sock.sendall(data)
                sock.recv(1000)


def half_handshakes(bed: Besieged) -> Iterator[None]:
    """TLS handshakes that stop after the ClientHello, 500 at a time, and again."""
    hello = _hello()
    yield
    while True:
        held = crowd(bed.https, bed.times(500), hello)
        time.sleep(0.5)
        for sock in held:
            sock.close()


def handshakes(bed: Besieged) -> Iterator[None]:
    """TLS handshakes as fast as they come: the ClientHello, then the server's answer is read, and that is all."""
    hello = _hello()
    yield
    while True:
        with contextlib.suppress(OSError), connected(bed.https, reset=True) as sock:
            sock.sendall(hello)
            sock.recv(16384)


def change_cipher_specs(bed: Besieged) -> Iterator[None]:
    """ChangeCipherSpec records of 6 bytes in the middle of a TLS handshake, 500,000 a connection."""
    wire = _hello() + b"\x14\x03\x03\x00\x01\x01" * bed.times(500_000)
    yield
    while True:
        with contextlib.suppress(OSError), connected(bed.https) as sock:
            sock.sendall(wire)


def pipelined(bed: Besieged) -> Iterator[None]:
    """`GET /healthz` 20,000 times on one connection, no answer awaited."""
    wire = b"GET /healthz HTTP/1.1\r\nHost: proxy\r\n\r\n" * bed.times(20_000)
    yield
    with connected(bed.http) as sock:
        sock.sendall(wire)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def wrong_signatures(bed: Besieged) -> Iterator[None]:
    """Upgrades with a wrong signature, one after the other as fast as they come."""
    wire = _LINE + b"X-Catalyst-Timestamp: %d\r\nX-Catalyst-HMAC: %b\r\n\r\n" % (time.time(), b"0" * 64)
    yield
    while True:
        with contextlib.suppress(OSError), connected(bed.http, reset=True) as sock:
            sock.sendall(wire)
            sock.recv(4096)


ATTACKS = (
    Attack(key_updates, NOBODY),
    Attack(key_updates_wanted, NOBODY),
    Attack(renegotiations, NOBODY),
    Attack(single_byte_records, NOBODY),
    Attack(single_byte_records_by_eight, NOBODY),
    Attack(change_cipher_specs, NOBODY),
    Attack(long_hellos, NOBODY),
    Attack(half_handshakes, NOBODY),
    Attack(handshakes, NOBODY),
    Attack(slow_heads, NOBODY),
    Attack(many_headers, NOBODY),
    Attack(endless_heads, NOBODY),
    Attack(connects, NOBODY),
    Attack(silent_crowd, NOBODY),
    Attack(junk, NOBODY),
    Attack(pipelined, NOBODY),
    Attack(wrong_signatures, NOBODY),
    Attack(wrong_signatures, NOBODY, log_is_read=False, name="wrong-signatures-unread-log"),
)
