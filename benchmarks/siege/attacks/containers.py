"""Attacks of a container: of its `sh`, and of what it writes. Somebody with a key has to enter it."""

from collections.abc import Iterator

from benchmarks import frames
from benchmarks.session import open_lines, open_session
from benchmarks.siege.attacks.base import CONTAINER, Attack, hold
from benchmarks.siege.attacks.callers import plain
from benchmarks.siege.bed import Besieged
from benchmarks.upstream.shell import FLOODS_AT_GREETING, FLOODS_AT_HANG_UP


def flood_at_hang_up(bed: Besieged) -> Iterator[None]:
    """A shell that greets as it must, and when it should hang up writes without a newline and without an end."""
    yield
    session = open_session(plain(bed), FLOODS_AT_HANG_UP)
    session.sock.sendall(frames.client_frame(frames.NORMAL_CLOSURE, frames.CLOSE))
    session.close()
    hold()


def flood_at_greeting(bed: Besieged) -> Iterator[None]:
    """A shell that writes without a newline and without an end where it should greet, read as output."""
    yield
    session = open_session(plain(bed), FLOODS_AT_GREETING)
    while session.sock.recv(1 << 20):
        pass


def tiny_output(bed: Besieged) -> Iterator[None]:
    """Output in messages of one byte without an end, as much as is taken."""
    yield
    session = open_session(plain(bed), "flood", 2, 0)
    while session.sock.recv(1 << 20):
        pass


def empty_lines(bed: Besieged) -> Iterator[None]:
    """A log of empty lines without an end, in chunks of one byte, a message a line to a reader that is slower."""
    yield
    session = open_lines(plain(bed), "lines-1-1")
    while session.sock.recv(1 << 20):
        pass


ATTACKS = (
    Attack(flood_at_hang_up, CONTAINER),
    Attack(flood_at_greeting, CONTAINER),
    Attack(tiny_output, CONTAINER),
    Attack(empty_lines, CONTAINER),
)
