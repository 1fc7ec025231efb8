"""`kubectl proxy`: what one has at hand. Its filter refuses exec unless it is told not to."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certs import HOST
from benchmarks.targets.base import Bed, Command

KUBECTL = Path(sys.executable).parent / "kubectl"


@dataclass(frozen=True)
class KubectlProxy:
    name: str = "kubectl"
    label: str = "kubectl proxy"
    takes_tls: bool = False

    def command(self, bed: Bed) -> Command:
        argv = [
            str(KUBECTL),
            "proxy",
            f"--kubeconfig={bed.kubeconfig()}",
            f"--address={HOST}",
            f"--port={bed.port}",
            "--disable-filter=true",
        ]
        return Command(argv, os.environ | {"HOME": str(bed.folder)})

    def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 -- it checks nobody
        return {}
