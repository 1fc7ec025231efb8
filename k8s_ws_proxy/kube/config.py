"""Where the apiserver is and what opens it: in-cluster files, or a kubeconfig read by the ``kubernetes`` package."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from k8s_ws_proxy import pem
from k8s_ws_proxy.errors import CertificateError, ClusterConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One reading of the configuration. ``tls`` is None for ``http://``; ``authorization`` is never shown."""

    host: str
    port: int
    prefix: str  # of every path: an apiserver may stand behind one
    server_name: str
    tls: ssl.SSLContext | None
    authorization: str | None = field(repr=False)
    tls_inputs: bytes = field(repr=False, default=b"")  # a digest of what the context was made from

    @property
    def authority(self) -> str:
        """The ``Host`` header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class _Found:
    """What either source says. TLS files are named, and not read yet."""

    url: str
    authorization: str = field(repr=False)
    ca_file: str | None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    server_name: str | None = None


def load(
    environ: Mapping[str, str], last: Endpoint | None = None, *, service_account: Path = SERVICE_ACCOUNT
) -> Endpoint:
    """Read the configuration; blocks on files, so call it in a thread.

    ``KUBECONFIG`` decides if set, else the in-cluster files, else the default kubeconfig. Where nothing that TLS
    depends on has changed since ``last``, its context is kept, and with it the sessions that it can resume.
    Raises ClusterConfigError.
    """
    try:
        if environ.get("KUBECONFIG") or not environ.get("KUBERNETES_SERVICE_HOST"):
            found = _from_kubeconfig(environ.get("KUBECONFIG"))
        else:
            found = _from_service_account(environ, service_account)
    except (OSError, ValueError) as error:
        raise ClusterConfigError(
            "The apiserver's address can't be found: neither a kubeconfig (KUBECONFIG) nor a service account's files "
            f"are usable: {error}",
        ) from error
    return _endpoint(found, last)


def _from_service_account(environ: Mapping[str, str], directory: Path) -> _Found:
    """What a pod is given (kubernetes.io, "Accessing the API from a Pod"). Raises OSError, ValueError.

    Read without the ``kubernetes`` package: that takes a third of all memory of a daemon at rest, on every node.
    """
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT")
    if not port:
        raise ValueError("KUBERNETES_SERVICE_HOST is set, and KUBERNETES_SERVICE_PORT isn't")
    token = (directory / "token").read_text("utf-8").strip()
    if not token:
        raise ValueError(f"{directory / 'token'} is empty")
    if not (directory / "ca.crt").read_bytes():
        raise ValueError(f"{directory / 'ca.crt'} is empty")
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return _Found(f"https://{netloc}", f"bearer {token}", str(directory / "ca.crt"))


def _from_kubeconfig(path: str | None) -> _Found:
    """A kubeconfig in any of its forms. Raises OSError, ValueError."""
    # These cost 20 MiB and a fifth of a second, which only who has a kubeconfig should pay.
    import yaml  # noqa: PLC0415
    from kubernetes import client, config  # noqa: PLC0415

    loaded = client.Configuration()
    try:
        config.load_kube_config(config_file=path, client_configuration=loaded, persist_config=False)
    except (
        config.ConfigException,
        yaml.YAMLError,
        # what a kubeconfig of an unexpected shape makes the loader raise
        AttributeError,
        KeyError,
        TypeError,
    ) as error:
        raise ValueError(str(error)) from error
    authorization = loaded.get_api_key_with_prefix("BearerToken", alias="authorization")
    if not authorization and loaded.username:
        authorization = loaded.get_basic_auth_token()
    return _Found(
        loaded.host,
        str(authorization or ""),
        loaded.ssl_ca_cert,
        loaded.cert_file,
        loaded.key_file,
        bool(loaded.verify_ssl),
        getattr(loaded, "tls_server_name", None),
    )


def _endpoint(found: _Found, last: Endpoint | None) -> Endpoint:
    url = urlsplit(found.url)
    try:
        port = url.port
    except ValueError as error:
        raise ClusterConfigError(f"The apiserver's address has a bad port: {found.url!r}") from error
    if not url.hostname or url.scheme not in ("http", "https"):
        raise ClusterConfigError(f"The apiserver's address isn't an http or https URL: {found.url!r}")
    secure = url.scheme == "https"
    context, inputs = None, b""
    if secure:
        try:
            inputs = _tls_inputs(found)
            context = last.tls if last and last.tls_inputs == inputs else _context(found)
        except (OSError, ssl.SSLError, CertificateError) as error:
            raise ClusterConfigError(f"The apiserver's CA or client certificate can't be used: {error}") from error
    return Endpoint(
        host=url.hostname,
        port=port or (443 if secure else 80),
        prefix=url.path.rstrip("/"),
        server_name=found.server_name or url.hostname,
        tls=context,
        authorization=_authorization(found),
        tls_inputs=inputs,
    )


def _authorization(found: _Found) -> str | None:
    value = found.authorization.strip()
    if not (value.isascii() and value.isprintable()):
        raise ClusterConfigError("The apiserver's token has a character in it that no HTTP header can hold.")
    return value or None


def _tls_inputs(found: _Found) -> bytes:
    digest = hashlib.sha256(repr(found.verify).encode())
    for name in (found.ca_file, found.cert_file, found.key_file):
        digest.update(b"\0" + (Path(name).read_bytes() if name else b""))
    return digest.digest()


def _context(found: _Found) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=found.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    pem.trust_partial_chains(context)
    if not found.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if found.cert_file:
        text = "the client's key has a pass phrase, and nobody is there to type it"
        context.load_cert_chain(found.cert_file, found.key_file or None, pem.no_pass_phrase(text))
    return context
