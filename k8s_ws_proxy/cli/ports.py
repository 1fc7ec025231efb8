"""What ``port-forward`` is told: ports and addresses."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from k8s_ws_proxy.errors import ProxyError

_PORT: Final = re.compile(r"(?:(?P<local>[0-9]{0,5}):)?(?P<remote>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Forward:
    """One port: ``local`` is 0 for any that is free."""

    local: int
    remote: int


def parse_forward(text: str) -> Forward:
    """``8080``, ``9000:8080``, ``:8080`` or ``0:8080``. Raises ProxyError."""
    found = _PORT.fullmatch(text)
    if found is not None:
        remote = int(found["remote"])
        local = remote if found["local"] is None else int(found["local"] or 0)
        if 1 <= remote <= 65535 and local <= 65535:
            return Forward(local, remote)
    raise ProxyError(f"{text!r} can't be: write PORT, LOCAL:PORT or :PORT, with numbers from 1 to 65535")


def parse_addresses(texts: list[str]) -> list[tuple[str, bool]]:
    """Where to listen, each with whether that is a must. Raises ProxyError."""
    found: dict[str, bool] = {}
    for text in texts:
        if text == "localhost":
            found.setdefault("127.0.0.1", True)
            found.setdefault("::1", False)  # a machine without IPv6 is none to complain about
            continue
        try:
            found[str(ipaddress.ip_address(text))] = True
        except ValueError:
            raise ProxyError(f"--address must be an IP address of this machine or localhost; it is {text!r}") from None
    return list(found.items())
