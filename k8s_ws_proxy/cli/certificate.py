"""A client certificate's files: whether they can be used, and what stands in them."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8s_ws_proxy.errors import CertificateError

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: whether it is good now is said in words of our own
_ENCRYPTED: Final = (
    "has a pass phrase: neither kubectl nor this program can ask for one. Write it without: openssl pkey"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """``names`` are its CN and DNS names, by which a proxy knows it; the times are Unix seconds."""

    names: list[str]
    not_before: float
    not_after: float


def client_context(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """For connections to a proxy: trusts the file ``ca`` (else what the system trusts), shows ``cert``.

    Raises CertificateError.
    """
    check_readable(ca, cert, key)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"the CA file {ca} can't be used: {_why(error)}") from error
    if cert is not None:
        load_pair(context, cert, key)
    return context


def load_pair(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Let ``context`` show ``cert``. Raises CertificateError where the two files don't make a pair."""

    def no_pass_phrase() -> str:
        raise CertificateError(f"the key file {key} {_ENCRYPTED}")

    try:
        context.load_cert_chain(cert, key, no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"the key in {key} isn't that of the certificate in {cert}") from error
        raise CertificateError(
            f"the certificate {cert} and the key {key} can't be used: both must be PEM files ({_why(error)})"
        ) from error
    except OSError as error:
        raise CertificateError(f"the certificate {cert} and the key {key} can't be read: {error.strerror}") from error


def check_readable(*files: str | None) -> None:
    """OpenSSL doesn't say which file it is. Raises CertificateError."""
    for file in files:
        if file is not None:
            try:
                Path(file).open("rb").close()
            except OSError as error:
                raise CertificateError(f"the file {file} can't be read: {error.strerror}") from error


def subject_of(cert: str, key: str) -> Subject:
    """What a server gets to know of the certificate in the file ``cert``. Raises CertificateError.

    It is shown to ourselves, in a TLS handshake that never leaves memory: so it is also known to be good as a
    client's, and to belong to the key.
    """
    check_readable(cert, key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        load_pair(context, cert, key)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    from k8s_ws_proxy.auth.authorizer import subject_names  # noqa: PLC0415 - the other commands don't need it

    try:
        server.load_verify_locations(cert)
        found = _shown(server, client)
    except ssl.SSLError as error:
        raise CertificateError(f"the certificate {cert} can't be a client's: {_why(error)}") from error
    return Subject(
        subject_names(found),
        ssl.cert_time_to_seconds(str(found["notBefore"])),
        ssl.cert_time_to_seconds(str(found["notAfter"])),
    )


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    unfinished = [client.wrap_bio(down, up, server_side=False), server.wrap_bio(up, down, server_side=True)]
    asked = unfinished[1]
    while unfinished:
        for side in list(unfinished):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
                unfinished.remove(side)
    return asked.getpeercert() or {}


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    return error.strerror or str(error)
