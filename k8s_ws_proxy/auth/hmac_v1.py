"""The two headers that sign a path: ``X-Catalyst-Timestamp`` and ``X-Catalyst-HMAC``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.auth.claims import check_unclaimed
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.keyring import V1
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.auth.authenticator import Presented
    from k8s_ws_proxy.keyring import Keyring
    from k8s_ws_proxy.wire.requests.signing import Key


class HmacV1:
    """Takes every request: one without the headers is refused for that. So it is asked last.

    ``clock`` gives Unix seconds; ``skew`` is in seconds. Where it isn't ``accepted``, nobody comes in by it.
    """

    def __init__(self, keyring: Keyring, *, skew: int, clock: Callable[[], float], accepted: bool = True) -> None:
        self._keyring = keyring
        self._skew = skew
        self._accepted = accepted
        self._clock = clock

    async def authenticate(self, presented: Presented) -> Principal:
        """As Authenticator's.

        Raises CredentialRefused: ``signature_v2_required``, or for the reasons of ``wire.requests.signing.verify``;
        then Refusal(``identity_unsigned``).
        """
        if not self._accepted:
            raise CredentialRefused(
                Reason.SIGNATURE_V2_REQUIRED,
                "Only RFC 9421 signatures are accepted here (ACCEPTED_SIGNATURES), and this request has none.",
            )
        key = await self._keyring.tried(lambda: self._verify(presented))
        check_unclaimed(presented, "This signature doesn't cover it: sign with RFC 9421.")
        self._keyring.used(key, V1)
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
