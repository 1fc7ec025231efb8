"""``/keys``: which keys this daemon accepts, since when, and when each was last used; never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from k8s_ws_proxy.keyring import SHORTEST
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.requests.signing import key_fingerprint

if TYPE_CHECKING:
    from k8s_ws_proxy.keyring import Keyring


def keys_answer(keyring: Keyring, *, started: float, now: float) -> web.Response:
    """The answer to a GET; times are Unix seconds. ``now`` lets the reader see how far this clock is from its own.

    A key that is too short to be safe has no fingerprint: guesses could be tried against it.
    """
    keys = []
    for key in keyring.keys:
        use = keyring.use(key)
        keys.append(
            {
                "id": key.id,
                "fingerprint": key_fingerprint(key.secret) if len(key.secret) >= SHORTEST else None,
                "since": rfc3339(use.since),
                "last_used": None if use.last_used is None else rfc3339(use.last_used),
            }
        )
    return web.json_response({"started": rfc3339(started), "now": rfc3339(now), "keys": keys})
