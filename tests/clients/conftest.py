"""What the official clients are made to carry. They run in threads or processes of their own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Bulk:
    """50 MB in which no two lines are equal: whatever is lost, doubled or swapped changes its hash."""

    script: str
    data: bytes
    sha256: str


@pytest.fixture(scope="session")
def bulk():
    script = "seq 1 7000000 | head -c 50000000"
    data = subprocess.run(["sh", "-c", script], check=True, stdout=subprocess.PIPE).stdout
    assert len(data) == 50_000_000
    return Bulk(script, data, hashlib.sha256(data).hexdigest())


@pytest.fixture(scope="session")
def wait_for_size():
    """A command that says ``ready``, and ends once its terminal is 120 columns wide and 50 rows high.

    It holds SIGWINCH back except while it waits for it, so it can't miss one.
    """
    program = (
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})\n"
        "print('ready', flush=True)\n"
        "while os.get_terminal_size(0) != (120, 50):\n"
        "    signal.sigwait({signal.SIGWINCH})\n"
        "print('resized')\n"
    )
    return [sys.executable, "-c", program]
