"""The daemon as its chart starts it: a TLS listener, client certificates, a limit on its memory; and its apiserver."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.pki import Pki

from benchmarks import process
from benchmarks.certs import HOST, Certs
from benchmarks.targets.base import SECRET, Bed, Endpoint
from benchmarks.targets.ours import Ours

CALLER = "guacd"
LIMIT_MIB = 256  # the chart's, of the container


@dataclass(frozen=True)
class Besieged:
    """Where the daemon listens, what it trusts, and which process it is; `scale` makes attacks smaller for tests."""

    http: int
    https: int
    pki: Pki
    pid: int
    scale: float = 1.0

    def times(self, count: int) -> int:
        """How often an attack does what it does `count` times in a whole siege."""
        return max(1, round(count * self.scale))

    def caller(self) -> Endpoint:
        """By TLS, with a signature."""
        return Endpoint(self.https, self.pki.servers.client(), Ours().headers, self.pid)

    def stranger(self) -> ssl.SSLContext:
        """Without a certificate."""
        return self.pki.servers.client()

    def operator(self) -> ssl.SSLContext:
        """With one that is let in."""
        return self.pki.servers.client(self.pki.callers.leaf(CALLER))


# As chart/values.yaml has them, with TLS on.
_SETTINGS = {
    "DRAIN_TIMEOUT": "30s",
    "HMAC_SKEW_SECONDS": "300",
    "LOG_LEVEL": "info",
    "MAX_HANDSHAKES": "1000",
    "MAX_SESSIONS": "2000",
    "REAP_ORPHANS": "true",
    "TMUX_CASCADE": "false",
    "WS_HANDSHAKE_TIMEOUT": "10s",
    "WS_PING_PERIOD": "30s",
}


@contextmanager
def laid(certs: Certs, folder: Path, tree: Path, *, log_is_read: bool) -> Iterator[Besieged]:
    """A new source, and the daemon of `tree` before it; its log goes to a file, or to a pipe that nobody reads."""
    source_port, http, https, admin = (process.free_port() for _ in range(4))
    source = [sys.executable, "-m", "benchmarks.upstream", str(source_port), str(certs.cert), str(certs.key)]
    pki = Pki(folder)
    pki.server = pki.servers.leaf("proxy", dns=("proxy", "localhost"))
    bed = Bed(folder, certs, source_port, http, client_tls=True)
    env = os.environ | _SETTINGS | pki.environ(CALLER)
    env |= {
        "KUBECONFIG": str(bed.kubeconfig()),
        "SHARED_SECRET_FILE": str(bed.write("secret", SECRET)),
        "TLS_LISTEN_ADDR": f"{HOST}:{https}",
        "WS_PROXY_ADMIN_ADDR": f"{HOST}:{admin}",
        "WS_PROXY_LISTEN_ADDR": f"{HOST}:{http}",
    }
    env.pop("PYTHONPATH", None)
    with process.running(source, source_port), (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "k8s_ws_proxy", "serve"],
            cwd=tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=log if log_is_read else subprocess.PIPE,
        )
        try:
            for port in (http, https):
                process.await_listening(daemon, port, folder / "log")
            yield Besieged(http, https, pki, daemon.pid)
        finally:
            daemon.kill()
            daemon.wait()
            if daemon.stderr is not None:
                daemon.stderr.close()


class Memory:
    """Of one process, from Linux: what it held at most, in MiB, since the last look (proc(5), `clear_refs`)."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc", str(pid))

    def reset(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def peak(self) -> float:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise ProcessLookupError("the daemon has ended")


def busy() -> None:
    """As much of a processor as an attacker may have, and no harm done with it."""
    os.nice(19)
    while time.monotonic():
        pass
