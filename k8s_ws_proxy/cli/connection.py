"""Where the proxy is and what opens it: the options of every command that speaks to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from k8s_ws_proxy.cli.sign import V1, V2, add_secret_file, read_secret
from k8s_ws_proxy.errors import ProxyError

if TYPE_CHECKING:
    import argparse
    import ssl

    from k8s_ws_proxy.cli.signing import Signing
    from k8s_ws_proxy.rotation.way import Way

DEFAULT_URL: Final = "http://127.0.0.1:8080"
URL_VARIABLE: Final = "K8S_WS_PROXY_URL"


@dataclass(frozen=True, slots=True)
class Connection:
    """``url`` is ``http(s)://...`` without a slash at the end; a path in it is put before every request's.

    ``secret`` is None where a certificate stands in its place: nothing is signed then, whatever ``signing`` says.
    ``tls`` is None where the system's defaults will do. ``way`` is there where an apiserver stands before the proxy.
    """

    url: str
    signing: Signing
    secret: bytes | None = field(repr=False)
    tls: ssl.SSLContext | None = None
    way: Way | None = None


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that speaks to the proxy takes."""
    add_url(parser)
    add_secret_file(parser)
    add_certificate_options(parser)
    add_signing_options(parser)


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add ``--url``."""
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"where the proxy listens; {URL_VARIABLE} by default, or else {DEFAULT_URL}",
    )


def add_certificate_options(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """Add ``--cert``, ``--key`` and ``--cacert``."""
    parser.add_argument(
        "--cert", metavar="FILE", required=required, help="a client certificate (PEM), in the place of the secret"
    )
    parser.add_argument("--key", metavar="FILE", required=required, help="its key (PEM)")
    parser.add_argument(
        "--cacert", metavar="FILE", help="the CA of the proxy's own certificate (PEM); the system's CAs by default"
    )


def add_user_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--as`` and ``--as-group``."""
    parser.add_argument("--as", dest="as_user", metavar="USER", help="the user that this is done for")
    parser.add_argument(
        "--as-group", action="append", default=[], metavar="GROUP", help="a group of that user; may be repeated"
    )


def add_signing_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--as``, ``--as-group``, ``--reason`` and ``--sign``."""
    add_user_options(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why, for the proxy's log")
    parser.add_argument(
        "--sign",
        choices=(V1, V2),
        help=f"how to sign. By default {V2} (RFC 9421), which covers the whole request; where the proxy doesn't take "
        f"that, {V1}, which covers the path only",
    )


def connection(arguments: argparse.Namespace, signing: Signing) -> Connection:
    """What the options mean; ``signing`` is what those for it do.

    Raises ProxyError; KeySourceError for the secret, CertificateError for the certificate.
    """
    url = base_url(arguments.url)
    if bool(arguments.cert) != bool(arguments.key):
        given, missing = ("--cert", "--key") if arguments.cert else ("--key", "--cert")
        raise ProxyError(f"{given} needs {missing}: a certificate and its key go together")
    if arguments.cert and not url.startswith("https:"):
        raise ProxyError(f"a certificate can only be shown over TLS, and {url} is plain HTTP: give an https:// --url")
    tls = None
    if url.startswith("https:") and (arguments.cert or arguments.cacert):
        from k8s_ws_proxy.cli.certificate import client_context  # noqa: PLC0415 - for those only who need it

        tls = client_context(arguments.cacert, arguments.cert, arguments.key)
    # A certificate decides alone (docs/reference/signing.md): a secret beside it would never be looked at.
    return Connection(url, signing, None if arguments.cert else read_secret(arguments.secret_file), tls)


def base_url(text: str) -> str:
    """The URL of a proxy, ``http`` or ``https``, without a slash at the end. Raises ProxyError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(parts.scheme) if host else None
    if scheme is None or port == 0 or "@" in parts.netloc:
        raise ProxyError(f"{text!r} isn't the URL of a proxy: write it as http://HOST:PORT or https://HOST:PORT")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
