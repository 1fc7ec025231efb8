"""What ran, and on what."""

import os
import platform
import ssl
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.checkout import build_of
from benchmarks.process import ROOT
from benchmarks.targets.envoy import ENVOY
from benchmarks.targets.kubectl_proxy import KUBECTL


def _first_line(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
    except OSError as exc:
        return f"not here ({exc.strerror})"
    return ((done.stdout or done.stderr).strip().splitlines() or ["?"])[0].strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _envoy() -> str:
    """It says `PATH  version: COMMIT/VERSION/Clean/RELEASE/BoringSSL`, after an empty line."""
    said = _first_line(str(ENVOY), "--version")
    _, found, version = said.partition("version: ")
    return version.split("/")[1] if found else said


def found() -> dict[str, str]:
    """By name, in the order in which the page shows them."""
    return {
        "k8s-ws-proxy": f"{_first_line('git', 'describe', '--always', '--dirty')}, {build_of(ROOT / 'k8s_ws_proxy')}",
        "Python": platform.python_version(),
        "aiohttp": metadata.version("aiohttp"),
        "OpenSSL (Python's)": ssl.OPENSSL_VERSION,
        "HAProxy": _first_line("haproxy", "-v").partition(" - ")[0].removeprefix("HAProxy version "),
        "nginx": _first_line("nginx", "-v").removeprefix("nginx version: nginx/"),
        "Envoy": _envoy(),
        "kubectl": _first_line(str(KUBECTL), "version", "--client").removeprefix("Client Version: "),
        "kernel": platform.release(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }
