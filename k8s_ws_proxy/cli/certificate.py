"""A client certificate's files: whether they can be used, and what stands in them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k8s_ws_proxy import pem
from k8s_ws_proxy.errors import CertificateError

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
    pem.trust_partial_chains(context)
    if cert is not None:
        load_pair(context, cert, key)
    return context


def load_pair(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Let ``context`` show ``cert``. Raises CertificateError where the two files don't make a pair."""
    try:
        context.load_cert_chain(cert, key, pem.no_pass_phrase(f"the key file {key} {_ENCRYPTED}"))
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

    It is shown to ourselves (``pem.shown``): so it is also known to be good as a client's, and to belong to the key.
    """
    check_readable(cert, key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        load_pair(context, cert, key)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= pem.NO_CHECK_TIME  # whether it is good now is said in words of our own
    pem.trust_partial_chains(server)
    from k8s_ws_proxy.auth.client_cert import subject_names  # noqa: PLC0415 - the other commands don't need it

    try:
        server.load_verify_locations(cert)
        found = pem.shown(server, client, server_side=True)
    except ssl.SSLError as error:
        raise CertificateError(f"the certificate {cert} can't be a client's: {_why(error)}") from error
    except ValueError as error:
        raise CertificateError(f"the certificate {cert} holds a name that isn't UTF-8: no proxy lets it in") from error
    return Subject(
        subject_names(found),
        ssl.cert_time_to_seconds(str(found["notBefore"])),
        ssl.cert_time_to_seconds(str(found["notAfter"])),
    )


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    return error.strerror or str(error)
