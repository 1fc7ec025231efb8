"""Who the cluster takes for whom: bearer tokens and client certificates, and the files that hold them."""

from __future__ import annotations

import os
import secrets
import ssl
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import kubeconfig, rbac
from k8s_ws_proxy.devcluster.certs import Authority
from k8s_ws_proxy.devcluster.rbac import UserInfo

if TYPE_CHECKING:
    from pathlib import Path

    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.world import World


class Credentials:
    """Tokens and certificates of one cluster. The methods that write files write a few hundred bytes each."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self._authority = Authority()
        self._tokens = {f"{user.alias}-{secrets.token_urlsafe(24)}": user for user in world.users}
        self.ca_file = directory / "ca.crt"
        for user in world.users:
            self._service_account(user.alias).mkdir(parents=True, exist_ok=True)
        _write(self.ca_file, self._authority.pem)

    def server_context(self, address: str = "127.0.0.1") -> ssl.SSLContext:
        """TLS for the listener at `address`; a client certificate is welcome and must be the CA's."""
        pair = self._authority.server(address)
        certificate = _write(self._directory / "server.crt", pair.certificate)
        key = _write(self._directory / "server.key", pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self.ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    def token(self, alias: str) -> str:
        """The user's token.

        Raises KeyError for a user that isn't there, or whose token was taken away.
        """
        return next(iter(self._tokens_of(alias)))

    def replace(self, old: str, new: str | None) -> None:
        """From now on `old` is unknown, and `new`, if there is one, is its user's. Open streams live on.

        Raises KeyError if `old` is unknown already.
        """
        user = self._tokens.pop(old)
        if new is not None:
            self._tokens[new] = user

    def user(self, request: Request, certificate: dict[str, Any] | None) -> UserInfo | None:
        """Who asks: a certificate first, whose CN is the user and each O a group, then the token, else anonymous. None
        is for a token nobody has, and for a certificate without a CN (Kubernetes: "Authenticating").
        """
        if certificate:
            names = _of_subject(certificate, "commonName")
            groups = _of_subject(certificate, "organizationName")
            return UserInfo(names[0], (*groups, rbac.AUTHENTICATED)) if names else None
        scheme, _, token = request.header("authorization").partition(" ")
        if not token or scheme.lower() != "bearer":
            return UserInfo("system:anonymous", (rbac.UNAUTHENTICATED,))
        user = self._tokens.get(token.strip())
        if user is None:
            return None
        account = rbac.service_account(user.name)
        groups = rbac.groups_of_service_account(account[0]) if account else user.groups
        return UserInfo(user.name, (*groups, rbac.AUTHENTICATED))

    def write_token(self, alias: str, path: Path) -> Path:
        """The token alone, in a file only its owner can read."""
        return _write(path, self.token(alias).encode())

    def write_kubeconfig(self, path: Path, alias: str, url: str) -> Path:
        """A kubeconfig with the user's token in it."""
        return _write(path, kubeconfig.render(url, self.ca_file, {"token": self.token(alias)}))

    def write_certificate_kubeconfig(self, path: Path, alias: str, url: str) -> Path:
        """A kubeconfig with a client certificate, which lies beside it."""
        user = self._world.user(alias)
        pair = self._authority.client(user.name, user.groups)
        certificate = _write(path.with_suffix(".crt"), pair.certificate)
        key = _write(path.with_suffix(".key"), pair.key)
        files = {"client-certificate": str(certificate), "client-key": str(key)}
        return _write(path, kubeconfig.render(url, self.ca_file, files))

    def service_account_dir(self, alias: str, namespace: str) -> Path:
        """What a pod finds under `/var/run/secrets/kubernetes.io/serviceaccount`; written again at each call."""
        directory = self._service_account(alias)
        self.write_token(alias, directory / "token")
        _write(directory / "ca.crt", self._authority.pem)
        _write(directory / "namespace", namespace.encode())
        return directory

    def _service_account(self, alias: str) -> Path:
        return self._directory / "serviceaccounts" / alias

    def _tokens_of(self, alias: str) -> list[str]:
        tokens = [token for token, user in self._tokens.items() if user.alias == alias]
        if not tokens:
            raise KeyError(alias)
        return tokens


def _write(path: Path, data: bytes) -> Path:
    """Replace a small file, readable by its owner only. One unbuffered write, which tests may do in an event loop."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(data)
    return path


def _of_subject(certificate: dict[str, Any], attribute: str) -> tuple[str, ...]:
    return tuple(value for rdn in certificate.get("subject", ()) for key, value in rdn if key == attribute)
