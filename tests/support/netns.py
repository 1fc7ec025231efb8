"""Network namespaces with cables between them, that can be pulled, or lose what goes one way."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace of its own, as long as the ``with`` lasts. A process that does nothing holds it."""

    def __init__(self) -> None:
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # If we are killed the holder goes with us, and the namespace with it.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"\n":
            _, error = self._holder.communicate()
            raise OSError(error.decode().strip())
        self.run("ip", "link", "set", "dev", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder is not None
        with self._holder:
            self._holder.kill()

    @property
    def pid(self) -> int:
        """Of a process in it: what ``ip`` takes for its name."""
        assert self._holder is not None
        return self._holder.pid

    def run(self, *argv: str, text: str = "") -> None:
        """Run a command in it. Raises OSError with what it says, if it fails."""
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(argv)}: {done.stderr.decode().strip()}")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes, and processes that it starts, are in the namespace."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, Path(f"/proc/{self.pid}/ns/net").open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())


@dataclass(frozen=True)
class End:
    """One end of a cable."""

    namespace: Namespace
    device: str
    address: str


class Cable:
    """Two devices that are joined. ``lose`` and ``pull`` hold until ``mend``."""

    def __init__(self, one: End, other: End) -> None:
        self.ends = (one, other)
        ours = f"name {one.device} netns {one.namespace.pid}"
        theirs = f"name {other.device} netns {other.namespace.pid}"
        subprocess.run(
            f"ip link add {ours} type veth peer {theirs}".split(),
            check=True,
            capture_output=True,
        )
        for end in self.ends:
            end.namespace.run("ip", "address", "add", f"{end.address}/24", "dev", end.device)
            end.namespace.run("ip", "link", "set", "dev", end.device, "up")

    def pull(self, end: End) -> None:
        """Take the device down; the other one has no carrier then, and routes as if it had."""
        end.namespace.run("ip", "link", "set", "dev", end.device, "down")

    def lose(self, *toward: End, percent: int = 100) -> None:
        """Lose packets on their way to these ends, as a wire does: nobody is told."""
        for end in toward:
            chance = "" if percent == 100 else f"numgen random mod 100 < {percent} "
            hook = f'type filter hook ingress device "{end.device}" priority 0'
            rules = f"table netdev wire {{\n chain {end.device} {{\n {hook}\n meta protocol ip {chance}drop\n }}\n}}\n"
            end.namespace.run("nft", "-f", "-", text=rules)

    def mend(self) -> None:
        """Lose nothing any more, and let neither end remember that the other wasn't there."""
        for end in self.ends:
            end.namespace.run("nft", "flush", "ruleset")
            end.namespace.run("ip", "link", "set", "dev", end.device, "up")
        for end in self.ends:
            end.namespace.run("ip", "neighbour", "flush", "dev", end.device)


@functools.cache
def why_not() -> str:
    """Why this machine can't do any of this; empty if it can."""
    for program, package in {
        "ip": "iproute2",
        "nft": "nftables",
        "unshare": "util-linux",
        "nsenter": "util-linux",
        "setpriv": "util-linux",
    }.items():
        if shutil.which(program) is None:
            return f"{program} is not there: install {package}"
    try:
        with Namespace() as one, Namespace() as other, other.inside():
            cable = Cable(End(one, "a", "10.77.0.1"), End(other, "b", "10.77.0.2"))
            cable.lose(*cable.ends, percent=50)
            cable.mend()
    except subprocess.CalledProcessError as error:
        return f"network namespaces can't be joined here: {error.stderr.decode().strip()}"
    except OSError as error:
        return f"network namespaces can't be made here: {error}"
    return ""


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
