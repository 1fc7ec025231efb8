"""The two headers that sign a path: ``X-Catalyst-Timestamp`` and ``X-Catalyst-HMAC``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.auth.authenticator import Presented
    from k8s_ws_proxy.keyring import Keyring
    from k8s_ws_proxy.wire.requests.signing import Key


class HmacV1:
    """Takes every request: one without the headers is refused for that. So it is asked last.

    ``clock`` gives Unix seconds; ``skew`` is in seconds.
    """

    def __init__(self, keyring: Keyring, *, skew: int, clock: Callable[[], float]) -> None:
        self._keyring = keyring
        self._skew = skew
        self._clock = clock

    async def authenticate(self, presented: Presented) -> Principal:
        """As Authenticator's. Raises CredentialRefused, for the reasons of ``wire.requests.signing.verify``."""
        try:
            key = self._verify(presented)
        except CredentialRefused as refused:
            if refused.reason is not Reason.BAD_SIGNATURE:
                raise
            # The caller may have read the new secret a moment before this daemon looks again.
            before = self._keyring.keys
            await self._keyring.look()
            if self._keyring.keys == before:
                raise
            key = self._verify(presented)
        self._keyring.used(key)
        return Principal(Mode.HMAC, key.id)

    def _verify(self, presented: Presented) -> Key:
        return verify(
            presented.headers.getall(TIMESTAMP_HEADER, []),
            presented.headers.getall(HMAC_HEADER, []),
            path=presented.path,
            keys=self._keyring.keys,
            now=self._clock(),
            skew=self._skew,
        )
