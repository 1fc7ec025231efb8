"""Attacks of somebody who has a key, and signs."""

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

from support.tls13 import RawTls13

from benchmarks import frames
from benchmarks.session import PATH, open_session, upgrade
from benchmarks.siege.attacks.base import KEY, Attack, connected, crowd, hold
from benchmarks.siege.attacks.strangers import raw, without_end
from benchmarks.siege.bed import Besieged
from benchmarks.targets.base import Endpoint

_HANGS = "/api/v1/namespaces/bench/pods/hangs-0/exec"
_LONG = ["ab"] * 11_800


def plain(bed: Besieged) -> Endpoint:
    """Signed, without TLS: the attacker's own work is less."""
    return replace(bed.caller(), port=bed.http, tls=None)


def _request(bed: Besieged, path: str, *command: str) -> bytes:
    streams = [(name, "true") for name in ("stdin", "stdout", "tty")]
    query = urlencode([*(("command", word) for word in command), ("container", "shell"), *streams])
    lines = [f"GET {path}?{query} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in upgrade(plain(bed), path).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _fragments(count: int) -> bytes:
    """A message of `count` fragments of one byte."""
    first = bytes([frames.BINARY, 0x82]) + frames.MASK + bytes([frames.MASK[0], ord("x") ^ frames.MASK[1]])
    return first + (b"\x00\x81" + frames.MASK + bytes([ord("x") ^ frames.MASK[0]])) * count


def _session(bed: Besieged, *command: str) -> RawTls13:
    """One whose records the attacker makes; its 101 can't be read by who makes records only, so it gets a second."""
    tls = raw(bed)
    tls.socket.sendall(tls.record(_request(bed, PATH, *command)))
    time.sleep(1)
    return tls


def session_key_updates(bed: Besieged) -> Iterator[None]:
    """KeyUpdate records on an open session's own connection, 50,000 at once and then more."""
    tls = _session(bed, "echo")
    yield from without_end(tls.socket, bed.times(50_000), tls.key_update)


def session_single_bytes(bed: Besieged) -> Iterator[None]:
    """Input on an open session, each byte a TLS record of its own, 50,000 at once and then more."""
    tls = _session(bed, "sink", "1000000")
    message = itertools.cycle(frames.stdin_frame(1000))
    yield from without_end(tls.socket, bed.times(50_000), lambda: tls.record(bytes([next(message)])))


def unread_fragments(bed: Besieged) -> Iterator[None]:
    """Input in fragments of one byte to programs that read nothing, 24 sessions."""
    wire = _fragments(bed.times(500_000))
    sessions = [open_session(plain(bed), "deaf") for _ in range(bed.times(24))]
    yield
    for session in sessions:
        session.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            session.sock.sendall(wire)
    hold()


def _tiny(bed: Besieged, wire: bytes) -> Iterator[None]:
    session = open_session(plain(bed), "sink", 1_000_000_000)
    session.sock.settimeout(None)
    yield
    while True:
        session.sock.sendall(wire)


def tiny_fragments(bed: Besieged) -> Iterator[None]:
    """Input in fragments of one byte to a program that reads, without an end."""
    last = b"\x80\x81" + frames.MASK + b"x"
    yield from _tiny(bed, _fragments(100_000) + last)


def tiny_pings(bed: Besieged) -> Iterator[None]:
    """Empty pings without an end, whose pongs nobody reads."""
    yield from _tiny(bed, (b"\x89\x80" + frames.MASK) * 100_000)


def empty_messages(bed: Besieged) -> Iterator[None]:
    """Empty messages without an end."""
    yield from _tiny(bed, (b"\x82\x80" + frames.MASK) * 100_000)


def mixed_frames(bed: Besieged) -> Iterator[None]:
    """Pings, resizes, empty messages and single letters, in turn, without an end."""
    resize = frames.client_frame(b'\x04{"Width":80,"Height":24}')
    letter, ping = frames.client_frame(frames.STDIN + b"x"), b"\x89\x80" + frames.MASK
    yield from _tiny(bed, (ping + resize + b"\x82\x80" + frames.MASK + letter) * 20_000)


def long_commands(bed: Besieged) -> Iterator[None]:
    """200 idle sessions with a command of 11,800 arguments of two letters each, and ever one more."""
    held = [open_session(plain(bed), "idle", *_LONG) for _ in range(bed.times(200))]
    yield
    while held:
        held.append(open_session(plain(bed), "idle", *_LONG))


def long_commands_dialled(bed: Besieged) -> Iterator[None]:
    """1,000 sessions with such a command at once, while the apiserver hangs."""
    wire = _request(bed, _HANGS, *_LONG)
    yield
    held = crowd(bed.http, bed.times(1000), wire)
    hold()
    del held


def stopped_readers(bed: Besieged) -> Iterator[None]:
    """300 floods whose reader stops, and ever one more."""
    held = [open_session(plain(bed), "flood", 32768, 0) for _ in range(bed.times(300))]
    yield
    while held:
        held.append(open_session(plain(bed), "flood", 32768, 0))


def comers_and_goers(bed: Besieged) -> Iterator[None]:
    """Terminals that are opened and left at once, without an end; each is then hung up."""
    wire = _request(bed, PATH, "echo")
    yield
    while True:
        with contextlib.suppress(OSError), connected(bed.http, reset=True) as sock:
            sock.sendall(wire)
            sock.recv(4096)


def left_in_the_dial(bed: Besieged) -> Iterator[None]:
    """Requests that are left while they are dialled, 200 at a time, without an end."""
    wire = _request(bed, PATH, "echo")
    yield
    while True:
        for sock in crowd(bed.http, bed.times(200), wire):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            sock.close()
        time.sleep(0.1)


ATTACKS = (
    Attack(session_key_updates, KEY),
    Attack(session_single_bytes, KEY),
    Attack(unread_fragments, KEY),
    Attack(tiny_fragments, KEY),
    Attack(tiny_pings, KEY),
    Attack(empty_messages, KEY),
    Attack(mixed_frames, KEY),
    Attack(long_commands, KEY),
    Attack(long_commands_dialled, KEY),
    Attack(stopped_readers, KEY),
    Attack(comers_and_goers, KEY),
    Attack(left_in_the_dial, KEY),
)
