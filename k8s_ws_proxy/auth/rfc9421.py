"""A signature of the whole request: ``Signature-Input`` and ``Signature`` (RFC 9421)."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.keyring import V2
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.wire.requests.claims import parse_claims
from k8s_ws_proxy.wire.requests.message_signature import INPUT_HEADER, SIGNATURE_HEADER, Message
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER
from k8s_ws_proxy.wire.requests.signing_v2 import DIGEST_HEADER, Terms, check_digest, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.auth.authenticator import Presented
    from k8s_ws_proxy.auth.nonces import Nonces
    from k8s_ws_proxy.keyring import Keyring
    from k8s_ws_proxy.wire.requests.signing_v2 import Verified

_LONG: Final = 8 * 1024  # bytes of a request's target
_STEP: Final = 1.0  # seconds: by less a clock is set without anybody's being kept out by it


class MessageSignatures:
    """Takes every request with one of the two headers. ``accepted``: this kind of signature is taken here.

    ``clock`` gives Unix seconds, ``uptime`` the seconds since the daemon started, whatever the clock does; ``max_age``
    is in seconds.
    """

    def __init__(
        self,
        keyring: Keyring,
        nonces: Nonces,
        *,
        accepted: bool,
        max_age: float,
        clock: Callable[[], float],
        uptime: Callable[[], float],
    ) -> None:
        self._keyring = keyring
        self._nonces = nonces
        self._accepted = accepted
        self._max_age = max_age
        self._clock = clock
        self._uptime = uptime
        self._started = clock() - uptime()
        self._closed = False  # nothing that is signed now is taken: the clock is before that time
        self._long_ones = asyncio.Lock()

    async def authenticate(self, presented: Presented) -> Principal | None:
        """As Authenticator's.

        Raises CredentialRefused, for the reasons of ``wire.requests.signing_v2.verify``, ``two_credentials``,
        ``signature_not_accepted``, ``digest_mismatch`` or ``replayed``; Refusal: ``malformed_identity`` or
        ``too_many_requests``.
        """
        headers = presented.headers
        if INPUT_HEADER not in headers and SIGNATURE_HEADER not in headers:
            return None
        if beside := [name for name in (TIMESTAMP_HEADER, HMAC_HEADER) if name in headers]:
            raise CredentialRefused(
                Reason.TWO_CREDENTIALS, f"{beside[0]} beside an RFC 9421 signature: send one credential only."
            )
        if not self._accepted:
            raise CredentialRefused(
                Reason.SIGNATURE_NOT_ACCEPTED, "RFC 9421 signatures are not accepted here (ACCEPTED_SIGNATURES)."
            )
        if len(presented.target) > _LONG:
            # It is hashed with every key: of such ones there is at most one in a turn of the loop.
            async with self._long_ones:
                await asyncio.sleep(0)
        verified = await self._keyring.tried(lambda: self._verify(presented))
        if verified.digest:
            # Who sends again what was good already isn't waited for. What was good before the wait must be after it:
            # the key may be gone by then, and the signature's time over.
            self._nonces.check(verified.key.secret, verified.nonce)
            check_digest(headers.getall(DIGEST_HEADER), await presented.body())
            verified = self._verify(presented)
        claims = parse_claims(lambda name: headers.getall(name, []))
        # The last thing, and with nothing to wait for between looking and writing down: of two that are the same one
        # comes in.
        self._nonces.use(verified.key.secret, verified.nonce, verified.created, self._clock())
        self._keyring.used(verified.key, V2)
        return Principal(Mode.RFC9421, verified.key.id, user=claims.user, groups=claims.groups, reason=claims.reason)

    def _verify(self, presented: Presented) -> Verified:
        headers, now = presented.headers, self._clock()
        return verify(
            Message(presented.method, presented.target, lambda name: headers.getall(name, []), presented.scheme),
            headers.keys(),
            has_body=presented.has_body,
            keys=self._keyring.keys,
            now=now,
            terms=self._terms(now),
        )

    def _terms(self, now: float) -> Terms:
        # By this clock, wherever it stands by now; not sooner than it said then, if it has gone back since.
        started = now - self._uptime()
        gone_back = self._started - started
        closed = gone_back > _STEP and self._started > now
        if closed and not self._closed:
            logger().warning(
                "the clock has gone back to before this daemon's start: RFC 9421 signatures are refused until then",
                seconds=round(gone_back),
                over_in_seconds=math.ceil(self._started - now),
            )
        self._closed = closed
        return Terms(self._max_age, max(self._started, started), gone_back if closed else 0.0)
