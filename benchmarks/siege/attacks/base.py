"""What an attack is, and how it is carried out: in a process of its own that minds what others want to run."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NoReturn

from benchmarks import limits
from benchmarks.certs import HOST
from benchmarks.siege.bed import Besieged
from benchmarks.siege.watch import FORK, GIVE_UP

# Another address than everybody else's, so that the attackers' ports aren't missing where others connect.
_FROM = ("127.0.0.2", 0)
# An act makes its bytes, yields when it could begin, and then harms. It ends when it is done, and is begun anew when
# its connection is lost.
Act = Callable[[Besieged], Iterator[None]]
NOBODY, KEY, CERTIFICATE, CONTAINER = "nothing", "a key", "a certificate", "a container"


@dataclass(frozen=True)
class Attack:
    """`access` is what the attacker has to have."""

    act: Act
    access: str
    processes: int = 1
    log_is_read: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.act.__name__.replace("_", "-"))

    @property
    def text(self) -> str:
        text = (self.act.__doc__ or "").partition("\n")[0].rstrip(".")
        return text + ("" if self.log_is_read else "; nobody reads the log")


class Attackers:
    """The processes of an attack: ready when this is made, and let loose by `begin`."""

    def __init__(self, attack: Attack, bed: Besieged) -> None:
        self._processes = []
        self._pipes = []
        for _ in range(attack.processes):
            ours, theirs = FORK.Pipe()
            process = FORK.Process(target=_attack, args=(attack.act, bed, theirs), name=attack.name, daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        for pipe in self._pipes:
            if not pipe.poll(8 * GIVE_UP):
                raise TimeoutError(f"{attack.name} isn't ready")
            pipe.recv()

    def begin(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)

    def stop(self) -> int:
        """How often an act was begun: those that lose their connection begin anew."""
        begun = 0
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.kill()
            process.join()
            with contextlib.suppress(EOFError, OSError):
                while pipe.poll():
                    pipe.recv()
                    begun += 1
        return begun


def _attack(act: Act, bed: Besieged, pipe: Connection) -> None:
    limits.raise_open_files()
    acting = act(bed)
    next(acting)
    os.nice(19)
    pipe.send(None)
    pipe.recv()
    while True:
        pipe.send(None)
        with contextlib.suppress(OSError):
            for _ in acting:
                pass
        acting = _ready_again(act, bed)


def _ready_again(act: Act, bed: Besieged) -> Iterator[None]:
    """As soon as the daemon lets it."""
    while True:
        with contextlib.suppress(OSError):
            acting = act(bed)
            next(acting)
            return acting


def connected(port: int, *, reset: bool = False) -> socket.socket:
    """A connection; `reset` has it end without a FIN, and leave no port behind."""
    sock = socket.create_connection((HOST, port), GIVE_UP, source_address=_FROM)
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    return sock


def crowd(port: int, count: int, data: bytes) -> list[socket.socket]:
    """So many connections that have said `data` and say no more; who is refused is left out."""
    made = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sock = connected(port)
            sock.settimeout(1)
            made.append(sock)
            sock.sendall(data)
    return made


def hold() -> NoReturn:
    """Do nothing, and keep what is open open."""
    while True:
        signal.pause()
