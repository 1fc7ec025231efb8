"""A target, and the bed it is laid in: a fresh source and a fresh process for every single measurement."""

import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from benchmarks import process, usage
from benchmarks.certs import HOST, Certs

# Of the kind Kubernetes writes: 44 characters of base64.
SECRET = "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtMDE="
TOKEN = "bench"
PEER_THREADS = 2
PEER_CONNECTIONS = 16000


@dataclass(frozen=True)
class Bed:
    """What a target's configuration is made from."""

    folder: Path
    certs: Certs
    upstream_port: int
    port: int
    client_tls: bool

    @property
    def upstream(self) -> str:
        return f"{HOST}:{self.upstream_port}"

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        return file

    def kubeconfig(self) -> Path:
        cluster = {"server": f"https://{self.upstream}", "certificate-authority": str(self.certs.ca)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": TOKEN}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "current-context": "bench",
        }
        return self.write("kubeconfig.yaml", yaml.safe_dump(content))


@dataclass(frozen=True)
class Command:
    """How a target is started, and how many processes it is then."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = process.ROOT
    processes: int = 1  # those that it starts included


class Target(Protocol):
    """Something between the client and the source."""

    @property
    def name(self) -> str:
        """What `--targets` and the results call it."""

    @property
    def label(self) -> str:
        """What people read."""

    @property
    def takes_tls(self) -> bool:
        """Whether its clients may come by TLS."""

    def command(self, bed: Bed) -> Command | None:
        """None when nothing stands in between."""

    def headers(self, path: str) -> dict[str, str]:
        """What a request for `path` carries besides the upgrade."""


@dataclass(frozen=True)
class Endpoint:
    """Where a client goes, how, and the target's process if there is one."""

    port: int
    tls: ssl.SSLContext | None
    headers: Callable[[str], dict[str, str]]
    pid: int | None


@contextmanager
def laid(target: Target, certs: Certs, folder: Path, *, client_tls: bool = False) -> Iterator[Endpoint]:
    """A source and the target before it, both new and both listening; ended when the block is left."""
    upstream_port = process.free_port()
    source = [sys.executable, "-m", "benchmarks.upstream"]
    source += [str(upstream_port), str(certs.cert), str(certs.key)]
    with process.running(source, upstream_port):
        bed = Bed(folder, certs, upstream_port, process.free_port(), client_tls)
        command = target.command(bed)
        if command is None:
            yield Endpoint(upstream_port, certs.client_context(), target.headers, None)
            return
        with process.running(command.argv, bed.port, command.env, command.folder) as pid:
            _await_processes(pid, command.processes)
            tls = certs.client_context() if client_tls else None
            yield Endpoint(bed.port, tls, target.headers, pid)


def _await_processes(pid: int, number: int) -> None:
    """Whoever listens may not have started those yet that are to work: their CPU and memory would be nobody's."""
    deadline = time.monotonic() + process.START_SECONDS
    while len(usage.tree(pid)) < number:
        if time.monotonic() > deadline:
            raise process.EndedError(f"process {pid} has not started its {number - 1} others")
        time.sleep(0.01)
