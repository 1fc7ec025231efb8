"""Where the proxy is and what opens it: the options of every command that speaks to it.

Client certificates will be three more options here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from k8s_ws_proxy.cli.sign import add_secret_file, read_secret
from k8s_ws_proxy.errors import ProxyError

if TYPE_CHECKING:
    import argparse

DEFAULT_URL: Final = "http://127.0.0.1:8080"
URL_VARIABLE: Final = "K8S_WS_PROXY_URL"


@dataclass(frozen=True, slots=True)
class Connection:
    """``url`` is ``http(s)://...`` without a slash at the end; a path in it is put before every request's."""

    url: str
    secret: bytes = field(repr=False)


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that speaks to the proxy takes."""
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"where the proxy listens; {URL_VARIABLE} by default, or else {DEFAULT_URL}",
    )
    add_secret_file(parser)


def connection(arguments: argparse.Namespace) -> Connection:
    """What the options mean. Raises ProxyError, and KeySourceError for the secret."""
    return Connection(_base(arguments.url), read_secret(arguments.secret_file))


def _base(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(parts.scheme) if host else None
    if scheme is None or port == 0 or "@" in parts.netloc:
        raise ProxyError(f"{text!r} isn't the URL of a proxy: write it as http://HOST:PORT or https://HOST:PORT")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
