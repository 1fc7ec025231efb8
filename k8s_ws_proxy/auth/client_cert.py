"""A client certificate whose chain was verified in the handshake, and whose subject is listed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.auth.claims import check_unclaimed
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.errors import CredentialRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from k8s_ws_proxy.auth.authenticator import Presented


class ClientCertificates:
    """Takes every request with a certificate, if ``subjects`` are listed. ``clock`` gives Unix seconds."""

    def __init__(
        self, subjects: frozenset[str], *, guacd: frozenset[str] = frozenset(), clock: Callable[[], float]
    ) -> None:
        self._subjects = subjects
        self._guacd = guacd
        self._clock = clock

    async def authenticate(self, presented: Presented) -> Principal | None:
        """As Authenticator's.

        Raises CredentialRefused: ``subject_denied`` or ``certificate_expired``; then Refusal(``identity_unsigned``).
        """
        certificate = presented.certificate
        if not certificate or not self._subjects:
            return None
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
            if name in self._subjects:
                check_unclaimed(presented, "The client certificate says who is asking.")
                user, groups = identity_of(certificate)
                return Principal(
                    Mode.CLIENT_CERT, name, user=user, groups=groups, guacd=not self._guacd.isdisjoint(names)
                )
        raise CredentialRefused(
            Reason.SUBJECT_DENIED,
            "The client certificate's subject is not on the list of those let in.",
            detail=f"CN and DNS names: {names}",
        )


def identity_of(certificate: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """Whom the certificate names, as an apiserver reads it: the last CN is the user, each O a group.

    (Kubernetes, "Authenticating", X509 client certificates; of several CNs Go keeps the last.)
    """
    parts = [(kind, value) for part in certificate.get("subject", ()) for kind, value in part]
    users = [value for kind, value in parts if kind == "commonName"]
    return (users[-1] if users else None), tuple(value for kind, value in parts if kind == "organizationName")


def subject_names(certificate: Mapping[str, Any]) -> list[str]:
    """The certificate's CNs and DNS SANs, in its order."""
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return common + [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
