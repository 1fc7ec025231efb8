"""``k8s-ws-proxy sign PATH``: the two headers of a signed request."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from k8s_ws_proxy.errors import KeySourceError
from k8s_ws_proxy.wire.requests.signing import signed_headers

if TYPE_CHECKING:
    import argparse


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "sign",
        help="print the two headers of a signed request",
        description="Print the two headers for a request to PATH, signed now. They are good for the skew the proxy "
        "allows, five minutes by default.",
    )
    parser.add_argument("path", metavar="PATH", help="the request's path or URL; a query is not signed")
    add_secret_file(parser)
    parser.add_argument(
        "--timestamp", type=int, metavar="SECONDS", help="sign this Unix time instead of the current one"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print them. Raises KeySourceError."""
    secret = read_secret(arguments.secret_file)
    path = unquote(urlsplit(arguments.path).path)
    now = int(time.time()) if arguments.timestamp is None else arguments.timestamp
    for name, value in signed_headers(secret, path, now).items():
        print(f"{name}: {value}")
    return 0


def add_secret_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--secret-file``, which every command that signs takes."""
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        default=os.environ.get("SHARED_SECRET_FILE"),
        help="the file with the shared secret; SHARED_SECRET_FILE by default",
    )


def read_secret(name: str | None) -> bytes:
    """The secret in the file ``name``, the white space around it trimmed. Raises KeySourceError."""
    if not name:
        raise KeySourceError(
            "there is no secret to sign with: name its file with --secret-file or SHARED_SECRET_FILE "
            "(in a cluster: kubectl get secret k8s-ws-proxy-hmac -o jsonpath='{.data.secret}' | base64 -d)"
        )
    try:
        secret = Path(name).read_bytes().strip()
    except OSError as error:
        raise KeySourceError(f"the secret file {name} can't be read: {error.strerror}") from error
    if not secret:
        raise KeySourceError(f"the secret in {name} is empty")
    return secret
