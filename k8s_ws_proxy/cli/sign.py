"""``k8s-ws-proxy sign TARGET``: the headers of a signed request."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from k8s_ws_proxy.errors import KeySourceError, ProxyError
from k8s_ws_proxy.wire.requests.signing import signed_headers

_HELP = """\
Print the headers for a request, signed now.

  k8s-ws-proxy sign /proxy/exec/default/web
  k8s-ws-proxy sign --v2 --user jane --reason 'ticket 42' "$URL" | curl --header @- "$URL"

Without --v2 these are two, for the path of TARGET: good for the skew that the proxy allows, five minutes by
default. With --v2 the signature is one of RFC 9421, over the method, the path, the query and what is said of
who is asking: good once, for a minute by default, and to be sent with exactly that TARGET.
"""
V1: Final = "v1"
V2: Final = "v2"
_ONLY_V2: Final = ("method", "user", "group", "reason", "node", "keyid")
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 §9.1: a token
_KEYID: Final = re.compile(r"[ -~]+", re.ASCII)  # RFC 9651 §3.3.3
_LATEST: Final = 999_999_999_999_999  # RFC 9651 §3.3.1
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", re.ASCII)
_SENT: Final = re.compile(r"/[!-~]*", re.ASCII)


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "sign",
        help="print the headers of a signed request",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path",
        metavar="TARGET",
        help="the request's PATH with its query, or its URL; without --v2 a query isn't signed",
    )
    add_secret_file(parser)
    parser.add_argument(
        "--timestamp", type=int, metavar="SECONDS", help="sign this Unix time instead of the current one"
    )
    v2 = parser.add_argument_group("RFC 9421")
    v2.add_argument("--v2", action="store_true", help="sign so; what follows needs it")
    v2.add_argument("--method", metavar="METHOD", help="the request's method; GET by default, as for every session")
    v2.add_argument("--user", metavar="USER", help="the user that this is done for")
    v2.add_argument("--group", action="append", metavar="GROUP", help="a group of that user; may be repeated")
    v2.add_argument("--reason", metavar="TEXT", help="why, for the proxy's log")
    v2.add_argument("--node", metavar="NODE", help="the node whose proxy it is for: no other takes it")
    v2.add_argument("--keyid", metavar="ID", help="a label for the key")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print them. Raises ProxyError; KeySourceError for the secret."""
    if not arguments.v2 and (given := [name for name in _ONLY_V2 if getattr(arguments, name) is not None]):
        raise ProxyError(f"--{given[0]} needs --v2: the signature without it covers the path and nothing else")
    now = int(time.time()) if arguments.timestamp is None else arguments.timestamp
    for name, value in (_v2(arguments, now) if arguments.v2 else _v1(arguments, now)).items():
        print(f"{name}: {value}")
    return 0


def _v1(arguments: argparse.Namespace, now: int) -> dict[str, str]:
    secret = read_secret(arguments.secret_file)
    return signed_headers(secret, unquote(urlsplit(arguments.path).path), now)


def _v2(arguments: argparse.Namespace, now: int) -> dict[str, str]:
    from k8s_ws_proxy.cli.identity_headers import (  # noqa: PLC0415 - it takes its time, and the other commands don't need it
        groups_header,
        node_header,
        reason_header,
        user_header,
        v2_headers,
    )

    method, keyid = arguments.method or "GET", arguments.keyid or ""
    if not _METHOD.fullmatch(method):
        raise ProxyError(f"--method: {method!r} can't be the method of a request")
    if keyid and not _KEYID.fullmatch(keyid):
        raise ProxyError("--keyid: it can hold printable ASCII characters only")
    if abs(now) > _LATEST:
        raise ProxyError(f"--timestamp: {now} is no time that a signature can say")
    target = request_target(arguments.path)
    more = {
        **user_header("--user", arguments.user),
        **groups_header("--group", arguments.group or []),
        **reason_header("--reason", arguments.reason),
        **node_header("--node", arguments.node),
    }
    return v2_headers(read_secret(arguments.secret_file), method, target, more, created=now, keyid=keyid)


def request_target(text: str) -> str:
    """Path and query of a URL, or what they are themselves, byte for byte as a request line has them.

    Raises ProxyError for what no request line could hold.
    """
    origin = _ORIGIN.match(text)
    sent = (text[origin.end() :] if origin else text).partition("#")[0]
    if origin and not sent.startswith("/"):
        sent = f"/{sent}"  # RFC 9112 §3.2.1: an empty path is sent so
    if not _SENT.fullmatch(sent):
        raise ProxyError(
            f"{text!r} can't be sent as it stands: write a URL, or a path that begins with a slash, and percent-encode "
            "what isn't visible ASCII"
        )
    return sent


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
