"""The nonces of good signatures, until the signatures are too old to be sent again."""

from __future__ import annotations

import hashlib
from typing import Final

from k8s_ws_proxy.errors import CredentialRefused, Reason, Refusal

CAPACITY: Final = 20_000
"""Signatures: 2 MiB. They are kept for two ``SIGNATURE_MAX_AGE`` at the most."""


class Nonces:
    """Remembers at most ``most``, each until its signature's created is more than ``max_age`` seconds ago."""

    def __init__(self, max_age: float, *, capacity: int = CAPACITY) -> None:
        self._max_age = max_age
        self._capacity = capacity
        self._used: set[bytes] = set()
        self._by_age: dict[int, list[bytes]] = {}
        self._forgotten = -1  # the youngest created that anything was forgotten of

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._used)

    def use(self, secret: bytes, nonce: str, created: int, now: float) -> None:
        """Remember a good signature: by which key, its nonce, when it was made, in Unix seconds.

        Raises CredentialRefused: ``replayed``; ``expired`` where it is older than what was forgotten already, as after
        a clock that went ahead and came back; Refusal(``too_many_requests``) where there is no room.
        """
        self._forget(now)
        if created <= self._forgotten:
            raise CredentialRefused(
                Reason.EXPIRED,
                "The signature is from a time that this proxy's clock has left behind already, and it may have been "
                "used then: sign anew, and look at the clocks.",
                detail="the clock has gone back",
            )
        used = self.check(secret, nonce)
        if len(self._used) >= self._capacity:
            raise Refusal(
                Reason.TOO_MANY_REQUESTS, "This proxy can remember no more signatures: try again in a moment."
            )
        self._used.add(used)
        self._by_age.setdefault(created, []).append(used)

    def check(self, secret: bytes, nonce: str) -> bytes:
        """What is remembered of a nonce. Raises CredentialRefused(``replayed``) where that is so already."""
        used = _digest(secret, nonce)
        if used in self._used:
            raise CredentialRefused(
                Reason.REPLAYED, "The signature's nonce was used already: every request needs a signature of its own."
            )
        return used

    def _forget(self, now: float) -> None:
        for created in [created for created in self._by_age if int(now) - created > self._max_age]:
            self._used.difference_update(self._by_age.pop(created))
            self._forgotten = max(self._forgotten, created)


def _digest(secret: bytes, nonce: str) -> bytes:
    """Of a key and a nonce: 16 bytes, whatever they are."""
    return hashlib.blake2b(nonce.encode(), key=hashlib.sha256(secret).digest(), digest_size=16).digest()
