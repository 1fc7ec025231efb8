"""The message-by-message relay of `benchmarks/message_relay.py`."""

import sys
from dataclasses import dataclass

from benchmarks.targets.base import Bed, Command


@dataclass(frozen=True)
class MessageRelay:
    name: str = "messages"
    label: str = "message by message"
    takes_tls: bool = False

    def command(self, bed: Bed) -> Command:
        argv = [sys.executable, "-m", "benchmarks.message_relay", "--port", str(bed.port)]
        argv += ["--upstream", f"https://{bed.upstream}", "--ca", str(bed.certs.ca)]
        return Command(argv)

    def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 -- it checks nobody
        return {}
