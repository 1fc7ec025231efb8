"""The one place that decides who may come in (wire-contract, "Credentials")."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.wire.signing import HMAC_HEADER, TIMESTAMP_HEADER, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from multidict import CIMultiDictProxy

    from k8s_ws_proxy.keyring import Keyring
    from k8s_ws_proxy.wire.signing import Key


@dataclass(frozen=True, slots=True)
class Principal:
    """Who was let in: by ``hmac`` with a key's id, or by ``client_cert`` with the subject that is listed.

    ``guacd``: the certificate's subject says that this is guacd, which needs its own profile (``wire.guacd``).
    """

    mode: str
    name: str
    guacd: bool = False

    @property
    def by_certificate(self) -> bool:
        """Whether it was a client certificate: kubectl's discovery is for nobody else."""
        return self.mode == "client_cert"


class Authorizer:
    """A client certificate that was presented decides alone; otherwise the headers do.

    ``clock`` gives Unix seconds; ``skew`` is in seconds.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        skew: int,
        allowed_subjects: frozenset[str],
        guacd_subjects: frozenset[str] = frozenset(),
        clock: Callable[[], float],
    ) -> None:
        self._keyring = keyring
        self._skew = skew
        self._allowed_subjects = allowed_subjects
        self._guacd_subjects = guacd_subjects
        self._clock = clock

    async def authorize(
        self, path: str, headers: CIMultiDictProxy[str], certificate: Mapping[str, Any] | None
    ) -> Principal:
        """The principal behind a request for ``path``. Raises CredentialRefused.

        ``certificate`` is what ``ssl.SSLSocket.getpeercert()`` says of a chain that was verified, perhaps long ago; if
        it can't be read, anything else that isn't empty.
        """
        if certificate and self._allowed_subjects:
            return self._by_certificate(certificate)
        timestamps = headers.getall(TIMESTAMP_HEADER, [])
        hmacs = headers.getall(HMAC_HEADER, [])
        try:
            key = self._by_headers(path, timestamps, hmacs)
        except CredentialRefused as refused:
            if refused.reason is not Reason.BAD_SIGNATURE:
                raise
            # The caller may have read the new secret a moment before this daemon looks again.
            before = self._keyring.keys
            await self._keyring.look()
            if self._keyring.keys == before:
                raise
            key = self._by_headers(path, timestamps, hmacs)
        self._keyring.used(key)
        return Principal("hmac", key.id)

    def _by_headers(self, path: str, timestamps: list[str], hmacs: list[str]) -> Key:
        return verify(timestamps, hmacs, path=path, keys=self._keyring.keys, now=self._clock(), skew=self._skew)

    def _by_certificate(self, certificate: Mapping[str, Any]) -> Principal:
        names = subject_names(certificate)
        if "notAfter" not in certificate:
            raise CredentialRefused(
                Reason.SUBJECT_DENIED,
                "The client certificate can't be read: the names in it must be UTF-8.",
                detail=str(certificate.get("unreadable", "")),
            )
        # The chain was verified in the first handshake. It isn't again where a later connection resumes that session,
        # as often as it may be resumed (RFC 8446 §4.6.1, which wants this looked at), nor on one that stays open.
        if ssl.cert_time_to_seconds(certificate["notAfter"]) < self._clock():
            raise CredentialRefused(
                Reason.CERTIFICATE_EXPIRED,
                f"The client certificate has expired: it was good until {certificate['notAfter']}.",
                detail=f"CN and DNS names: {names}",
            )
        for name in names:
            if name in self._allowed_subjects:
                return Principal("client_cert", name, guacd=not self._guacd_subjects.isdisjoint(names))
        raise CredentialRefused(
            Reason.SUBJECT_DENIED,
            "The client certificate's subject is not on the list of those let in.",
            detail=f"CN and DNS names: {names}",
        )


def subject_names(certificate: Mapping[str, Any]) -> list[str]:
    """The certificate's CNs and DNS SANs, in its order."""
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return common + [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
