"""Where the apiserver is and what opens it: in-cluster files or a kubeconfig, read by the ``kubernetes`` package."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from k8s_ws_proxy.errors import ClusterConfigError

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


def load(
    environ: Mapping[str, str], last: Endpoint | None = None, *, service_account: Path = SERVICE_ACCOUNT
) -> Endpoint:
    """Read the configuration; blocks on files, so call it in a thread.

    ``KUBECONFIG`` decides if set, else the in-cluster files, else the default kubeconfig. Where nothing that TLS
    depends on has changed since ``last``, its context is kept, and with it the sessions that it can resume.
    Raises ClusterConfigError.
    """
    # These two cost 20 MiB and a fifth of a second, which commands that never dial shouldn't pay.
    import yaml  # noqa: PLC0415
    from kubernetes import client, config  # noqa: PLC0415
    from kubernetes.config.incluster_config import InClusterConfigLoader  # noqa: PLC0415

    loaded = client.Configuration()
    try:
        if environ.get("KUBECONFIG") or not environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_kube_config(
                config_file=environ.get("KUBECONFIG"), client_configuration=loaded, persist_config=False
            )
        else:
            InClusterConfigLoader(
                token_filename=str(service_account / "token"),
                cert_filename=str(service_account / "ca.crt"),
                try_refresh_token=False,
                environ=environ,
            ).load_and_set(loaded)
    except (
        config.ConfigException,
        yaml.YAMLError,
        OSError,
        ValueError,
        # what a kubeconfig of an unexpected shape makes the loader raise
        AttributeError,
        KeyError,
        TypeError,
    ) as error:
        raise ClusterConfigError(
            "The apiserver's address can't be found: neither a kubeconfig (KUBECONFIG) nor a service account's files "
            f"are usable: {error}",
        ) from error
    return _endpoint(loaded, last)


def _endpoint(loaded: Any, last: Endpoint | None) -> Endpoint:
    url = urlsplit(loaded.host)
    try:
        port = url.port
    except ValueError as error:
        raise ClusterConfigError(f"The apiserver's address has a bad port: {loaded.host!r}") from error
    if not url.hostname or url.scheme not in ("http", "https"):
        raise ClusterConfigError(f"The apiserver's address isn't an http or https URL: {loaded.host!r}")
    secure = url.scheme == "https"
    context, inputs = None, b""
    if secure:
        try:
            inputs = _tls_inputs(loaded)
            context = last.tls if last and last.tls_inputs == inputs else _context(loaded)
        except (OSError, ssl.SSLError) as error:
            raise ClusterConfigError(f"The apiserver's CA or client certificate can't be used: {error}") from error
    return Endpoint(
        host=url.hostname,
        port=port or (443 if secure else 80),
        prefix=url.path.rstrip("/"),
        server_name=getattr(loaded, "tls_server_name", None) or url.hostname,
        tls=context,
        authorization=_authorization(loaded),
        tls_inputs=inputs,
    )


def _authorization(loaded: Any) -> str | None:
    value = loaded.get_api_key_with_prefix("BearerToken", alias="authorization")
    if not value and loaded.username:
        value = loaded.get_basic_auth_token()
    value = str(value or "").strip()
    if not (value.isascii() and value.isprintable()):
        raise ClusterConfigError("The apiserver's token has a character in it that no HTTP header can hold.")
    return value or None


def _tls_inputs(loaded: Any) -> bytes:
    digest = hashlib.sha256(repr(bool(loaded.verify_ssl)).encode())
    for name in (loaded.ssl_ca_cert, loaded.cert_file, loaded.key_file):
        digest.update(b"\0" + (Path(name).read_bytes() if name else b""))
    return digest.digest()


def _context(loaded: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=loaded.ssl_ca_cert or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not loaded.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if loaded.cert_file:
        context.load_cert_chain(loaded.cert_file, loaded.key_file or None)
    return context
