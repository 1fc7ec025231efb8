"""What a signature costs an opening: v1 beside v2, CPU of this process, medians of rounds taken in turn.

``python -m benchmarks.signatures``: no sockets, only what the authenticators do.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from multidict import CIMultiDict, CIMultiDictProxy

from k8s_ws_proxy.auth.authenticator import Presented
from k8s_ws_proxy.auth.authorizer import Authorizer
from k8s_ws_proxy.auth.hmac_v1 import HmacV1
from k8s_ws_proxy.auth.nonces import Nonces
from k8s_ws_proxy.auth.rfc9421 import MessageSignatures
from k8s_ws_proxy.keyring import Keyring, KeySource
from k8s_ws_proxy.wire.requests.signing import Key, signed_headers
from k8s_ws_proxy.wire.requests.signing_v2 import signed_headers_v2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOW: Final = 1_790_000_000
ROUNDS: Final = 9
OPENINGS: Final = 1000  # in a round
KEYS: Final = (Key("secret", b"k" * 44), Key("next", b"n" * 44))
PATH: Final = "/proxy/exec/default/web/web"
TARGET: Final = f"{PATH}?command=sh&command=-c&command=echo%20hello&tty=true"
UPGRADE: Final = {"Host": "node-1", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
WHO: Final = {
    "X-Catalyst-User": "alice@example.com",
    "X-Catalyst-Groups": '"oidc:ops", "CN=dev,OU=eng"',
    "X-Catalyst-Reason": "INC%2042",
}


def _ring() -> Keyring:
    """One with these keys, read from files as the daemon's is."""
    with tempfile.TemporaryDirectory() as directory:
        for key in KEYS:
            (Path(directory) / key.id).write_bytes(key.secret)
        source = KeySource(None, Path(directory))
        return Keyring(source, source.read())


def _v1(_number: int) -> Mapping[str, str]:
    return signed_headers(KEYS[0].secret, PATH, NOW)


def _v2(number: int) -> Mapping[str, str]:
    return signed_headers_v2(KEYS[0].secret, "GET", TARGET, created=NOW, nonce=f"{number:024}")


def _v2_who(number: int) -> Mapping[str, str]:
    return signed_headers_v2(KEYS[0].secret, "GET", TARGET, created=NOW, nonce=f"{number:024}", more=WHO)


async def _round(ring: Keyring, sign: Callable[[int], Mapping[str, str]]) -> float:
    """Microseconds of CPU for one."""

    def clock() -> int:
        return NOW

    authorizer = Authorizer(
        [
            MessageSignatures(ring, Nonces(60), accepted=True, max_age=60, clock=clock, uptime=lambda: 3600),
            HmacV1(ring, skew=300, clock=clock),
        ]
    )
    requests = [
        Presented("GET", TARGET, PATH, CIMultiDictProxy(CIMultiDict({**UPGRADE, **sign(number)})))
        for number in range(OPENINGS)
    ]
    began = time.process_time()
    for request in requests:
        await authorizer.authorize(request)
    return (time.process_time() - began) / OPENINGS * 1e6


async def _main() -> None:
    ways = {"v1": _v1, "v2": _v2, "v2, with a user, groups and a reason": _v2_who}
    ring = _ring()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, sign in ways.items():
            taken[name].append(await _round(ring, sign))
    for name, times in taken.items():
        print(f"{statistics.median(times):8.1f} us  {name}")


if __name__ == "__main__":
    asyncio.run(_main())
