"""k8s-ws-proxy, as an operator starts it; only the limits are out of the way."""

import hashlib
import hmac
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process
from benchmarks.certs import HOST
from benchmarks.targets.base import SECRET, Bed, Command, Target

RECORDED = {"real-out", "echo-hi", "stdout-64", "stdout-32768", "stdin-32768", "growth", "keystroke", "typing"}


@dataclass(frozen=True)
class Ours:
    """Where sessions are ``recorded``, only the rows are measured that this changes. It runs in `folder`."""

    name: str = "ours"
    label: str = "k8s-ws-proxy"
    takes_tls: bool = True
    recorded: bool = False
    folder: Path = process.ROOT
    python: Path = Path(sys.executable)

    def shows(self, row: str) -> bool:
        return not self.recorded or row in RECORDED

    def command(self, bed: Bed) -> Command:
        plain_port = process.free_port() if bed.client_tls else bed.port
        env = os.environ | {
            "KUBECONFIG": str(bed.kubeconfig()),
            "MAX_SESSIONS": "20000",
            "REAP_ORPHANS": "false",  # the source takes the command for its own instructions
            "SHARED_SECRET_FILE": str(bed.write("secret", SECRET)),
            "WS_PROXY_LISTEN_ADDR": f"{HOST}:{plain_port}",
            "WS_PROXY_ADMIN_ADDR": "off",
        }
        if self.recorded:
            env |= {"RECORD": "all", "RECORDING_DIR": str(bed.folder / "recordings")}
        if bed.client_tls:
            env |= {
                "TLS_LISTEN_ADDR": f"{HOST}:{bed.port}",
                "TLS_CERT_FILE": str(bed.certs.cert),
                "TLS_KEY_FILE": str(bed.certs.key),
            }
        # Which package is meant, the folder says.
        env.pop("PYTHONPATH", None)
        return Command([str(self.python), "-m", "k8s_ws_proxy", "serve"], env, self.folder)

    def headers(self, path: str) -> dict[str, str]:
        timestamp = str(int(time.time()))
        signature = hmac.new(SECRET.encode(), f"{timestamp}:{path}".encode(), hashlib.sha256).hexdigest()
        return {"X-Catalyst-Timestamp": timestamp, "X-Catalyst-HMAC": signature}


def is_ours(target: Target) -> bool:
    """Whether it is k8s-ws-proxy as it is, now or before."""
    return isinstance(target, Ours) and not target.recorded
