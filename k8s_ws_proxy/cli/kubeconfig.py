"""``k8s-ws-proxy kubeconfig``: what kubectl needs to come in through the proxy."""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.connection import URL_VARIABLE, add_certificate_options, add_url, base_url
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.wire.requests.target import names_pod

if TYPE_CHECKING:
    from k8s_ws_proxy.cli.certificate import Subject

_SOON: Final = 14 * 86400.0  # seconds before its end from which an expiry is warned of
_NAME: Final = "k8s-ws-proxy"

_HELP = """\
Write a kubeconfig with which kubectl comes in through the proxy, by client certificate.

  k8s-ws-proxy kubeconfig --url https://node-1:8443 --cacert ca.crt --cert tls.crt --key tls.key -o proxy.kubeconfig
  KUBECONFIG=proxy.kubeconfig kubectl exec -it web -- sh

It names the files, so that renewed ones are taken; with --embed-certs it holds what is in them instead.
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "kubeconfig",
        help="write a kubeconfig for kubectl through the proxy",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_url(parser)
    add_certificate_options(parser, required=True)
    parser.add_argument(
        "-n", "--namespace", default="default", help="the namespace that kubectl takes by itself; default by default"
    )
    parser.add_argument("--embed-certs", action="store_true", help="put the files' contents in, the key's too")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to; standard output by default")
    parser.add_argument("--force", action="store_true", help="replace the output file if there is one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write it. Raises ProxyError."""
    from k8s_ws_proxy.cli.certificate import client_context, subject_of  # noqa: PLC0415 - ssl takes its time

    url = base_url(arguments.url)
    if not url.startswith("https:"):
        raise ProxyError(
            f"{url} is plain HTTP, and a certificate is shown over TLS only: name the proxy's TLS listener "
            f"with --url https://HOST:8443 (or in {URL_VARIABLE})"
        )
    if not names_pod(arguments.namespace, "pod"):
        raise ProxyError(f"{arguments.namespace!r} can't be a namespace's name")
    client_context(arguments.cacert, arguments.cert, arguments.key)
    subject = subject_of(arguments.cert, arguments.key)
    for warning in warnings(arguments.cert, subject, time.time()):
        print(f"k8s-ws-proxy: warning: {warning}", file=sys.stderr)
    document = render(
        url,
        ca=arguments.cacert,
        cert=arguments.cert,
        key=arguments.key,
        namespace=arguments.namespace,
        embed=arguments.embed_certs,
    )
    if arguments.output is None:
        sys.stdout.write(document)
    else:
        _write(Path(arguments.output), document.encode(), force=arguments.force)
    names = ", ".join(subject.names)
    print(f"k8s-ws-proxy: the proxy lets it in if CLIENT_CERT_ALLOWED_SUBJECTS has one of: {names}", file=sys.stderr)
    return 0


def warnings(cert: str, subject: Subject, now: float) -> list[str]:
    """What is wrong with the certificate, or soon will be, in a sentence each."""
    found = []
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(subject.not_after))
    if now > subject.not_after:
        found.append(f"the certificate {cert} expired at {until}: the proxy won't take it until it is renewed")
    elif now > subject.not_after - _SOON:
        found.append(f"the certificate {cert} expires soon, at {until}")
    if now < subject.not_before:
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(subject.not_before))
        found.append(f"the certificate {cert} isn't good before {since}")
    if not subject.names:
        found.append(f"the certificate {cert} has neither a CN nor a DNS name: no proxy can let it in")
    return found


def render(url: str, *, ca: str | None, cert: str, key: str, namespace: str, embed: bool) -> str:
    """The document. ``embed`` puts the files' contents into it; else their absolute paths stand there."""
    import yaml  # noqa: PLC0415 - see run()

    def file(name: str, path: str) -> dict[str, str]:
        if embed:
            return {f"{name}-data": base64.b64encode(Path(path).read_bytes()).decode()}
        return {name: str(Path(path).absolute())}

    cluster = {"server": url, **(file("certificate-authority", ca) if ca else {})}
    user = {**file("client-certificate", cert), **file("client-key", key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": user}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
        "current-context": _NAME,
    }
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text


def _write(path: Path, document: bytes, *, force: bool) -> None:
    """As a whole or not at all, readable by its owner only. Raises ProxyError."""
    new = None
    try:
        descriptor, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(document)
        if force:
            Path(new).replace(path)
        else:
            os.link(new, path)  # which fails if there is something already
    except FileExistsError as error:
        raise ProxyError(f"{path} is there already: --force replaces it") from error
    except OSError as error:
        raise ProxyError(f"{path} can't be written: {error.strerror}") from error
    finally:
        if new is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(new).unlink()
