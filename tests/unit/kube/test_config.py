"""Where the apiserver is: in-cluster files, kubeconfigs, and everything that can be wrong with them."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import os
import ssl

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.pki import Authority, Pki

from k8s_ws_proxy import pem
from k8s_ws_proxy.errors import ClusterConfigError
from k8s_ws_proxy.kube.config import load


def certificate(name):
    """A self-signed certificate and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(day)
        .not_valid_after(day + dt.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


CA, CA_KEY = certificate("ca")
OTHER_CA, _ = certificate("other")


@pytest.fixture
def account(tmp_path):
    """A service account's files."""
    path = tmp_path / "serviceaccount"
    path.mkdir()
    (path / "token").write_text("the-token\n", "utf-8")
    (path / "ca.crt").write_bytes(CA)
    return path


IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def encoded(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def kubeconfig(tmp_path):
    """Writes a kubeconfig; gives the environment that names it."""

    def write(cluster=None, user=None, text=None):
        path = tmp_path / "config"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "it", "user": "me"}}],
            "clusters": [{"name": "it", "cluster": cluster or {}}],
            "users": [{"name": "me", "user": user or {}}],
        }
        path.write_text(yaml.safe_dump(document) if text is None else text, "utf-8")
        return {"KUBECONFIG": str(path)}

    return write


def test_in_the_cluster(account):
    endpoint = load(IN_CLUSTER, service_account=account)
    assert (endpoint.host, endpoint.port, endpoint.prefix, endpoint.server_name) == ("10.96.0.1", 443, "", "10.96.0.1")
    assert endpoint.authority == "10.96.0.1:443"
    assert endpoint.authorization == "bearer the-token"
    assert endpoint.tls is not None
    assert endpoint.tls.verify_mode is ssl.CERT_REQUIRED
    assert endpoint.tls.check_hostname
    assert endpoint.tls.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(endpoint.tls.get_ca_certs()) == 1


def test_an_ipv6_cluster(account):
    endpoint = load({**IN_CLUSTER, "KUBERNETES_SERVICE_HOST": "fd00::1"}, service_account=account)
    assert (endpoint.host, endpoint.authority) == ("fd00::1", "[fd00::1]:443")


@pytest.mark.parametrize("port", [{}, {"KUBERNETES_SERVICE_PORT": ""}], ids=["none", "empty"])
def test_a_cluster_without_a_port(account, port):
    with pytest.raises(ClusterConfigError, match="KUBERNETES_SERVICE_PORT isn't"):
        load({"KUBERNETES_SERVICE_HOST": "10.96.0.1", **port}, service_account=account)


def test_the_token_is_never_shown(account):
    assert "the-token" not in repr(load(IN_CLUSTER, service_account=account))


def test_a_new_token_is_read_and_the_tls_context_kept(account):
    first = load(IN_CLUSTER, service_account=account)
    (account / "token").write_text("renewed", "utf-8")
    second = load(IN_CLUSTER, first, service_account=account)
    assert second.authorization == "bearer renewed"
    assert second.tls is first.tls


def test_a_new_ca_makes_a_new_context(account):
    first = load(IN_CLUSTER, service_account=account)
    (account / "ca.crt").write_bytes(OTHER_CA)
    second = load(IN_CLUSTER, first, service_account=account)
    assert second.tls is not first.tls
    assert second.tls.get_ca_certs() != first.tls.get_ca_certs()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda account: (account / "token").unlink(),
        lambda account: (account / "token").write_text(""),
        lambda account: (account / "token").write_bytes(b"\xff\xfe"),
        lambda account: (account / "ca.crt").unlink(),
        lambda account: (account / "ca.crt").write_text(""),
        lambda account: (account / "ca.crt").write_text("no certificate"),
    ],
    ids=["no token", "empty token", "token no text", "no CA", "empty CA", "CA no certificate"],
)
def test_service_account_files_that_cannot_be_used(account, spoil):
    spoil(account)
    with pytest.raises(ClusterConfigError) as error:
        load(IN_CLUSTER, service_account=account)
    assert "the-token" not in str(error.value)


def test_a_kubeconfig_with_a_token(kubeconfig):
    cluster = {"server": "https://apiserver.example.org:6443/prefix/", "certificate-authority-data": encoded(CA)}
    endpoint = load(kubeconfig(cluster, {"token": "abc"}))
    assert (endpoint.host, endpoint.port, endpoint.prefix) == ("apiserver.example.org", 6443, "/prefix")
    assert endpoint.authorization.lower() == "bearer abc"


def test_a_kubeconfig_with_a_client_certificate_and_no_token(kubeconfig):
    user = {"client-certificate-data": encoded(CA), "client-key-data": encoded(CA_KEY)}
    endpoint = load(kubeconfig({"server": "https://x", "certificate-authority-data": encoded(CA)}, user))
    assert endpoint.authorization is None
    assert endpoint.port == 443


def test_an_intermediate_ca_is_enough(account, tmp_path):
    """As for Go's clients: the root above it need not be named."""
    pki = Pki(tmp_path)
    intermediate = Authority("intermediate", tmp_path, issuer=pki.servers)
    (account / "ca.crt").write_bytes(intermediate.file.read_bytes())
    context = load(IN_CLUSTER, service_account=account).tls
    context.check_hostname = False
    for authority, verdict in ((intermediate, contextlib.nullcontext()), (pki.servers, pytest.raises(ssl.SSLError))):
        apiserver = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = authority.leaf("apiserver")
        apiserver.load_cert_chain(leaf.cert, leaf.key)
        with verdict:
            assert pem.shown(context, apiserver, server_side=False)["subject"] == ((("commonName", "apiserver"),),)


def test_a_client_key_with_a_pass_phrase_is_not_asked_for(kubeconfig, tmp_path):
    leaf = Pki(tmp_path).callers.leaf("proxy", passphrase=b"secret")
    user = {"client-certificate": str(leaf.cert), "client-key": str(leaf.key)}
    with pytest.raises(ClusterConfigError, match="has a pass phrase"):
        load(kubeconfig({"server": "https://x", "certificate-authority-data": encoded(CA)}, user))


def test_a_kubeconfig_with_a_user_and_a_password(kubeconfig):
    endpoint = load(kubeconfig({"server": "http://x"}, {"username": "me", "password": "pass"}))
    assert endpoint.authorization == f"Basic {encoded(b'me:pass')}"


def test_plain_http_has_no_tls(kubeconfig):
    endpoint = load(kubeconfig({"server": "http://127.0.0.1"}))
    assert (endpoint.tls, endpoint.port, endpoint.authorization) == (None, 80, None)


def test_a_cluster_that_is_not_verified(kubeconfig):
    endpoint = load(kubeconfig({"server": "https://x", "insecure-skip-tls-verify": True}))
    assert endpoint.tls.verify_mode is ssl.CERT_NONE
    assert not endpoint.tls.check_hostname


def test_another_server_name(kubeconfig):
    cluster = {"server": "https://10.0.0.1", "tls-server-name": "apiserver", "certificate-authority-data": encoded(CA)}
    assert load(kubeconfig(cluster)).server_name == "apiserver"


def test_a_kubeconfig_that_is_named_decides_before_the_cluster(kubeconfig, account):
    environ = {**IN_CLUSTER, **kubeconfig({"server": "http://named"})}
    assert load(environ, service_account=account).host == "named"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "x",
        "{",
        "a: b",
        "apiVersion: v1\nkind: Config\n",
        "current-context: x\ncontexts: []\n",
        "\0",
        "current-context: x\ncontexts: 5\nclusters: 5\nusers: 5\n",
    ],
)
def test_what_is_no_kubeconfig(kubeconfig, text):
    with pytest.raises(ClusterConfigError):
        load(kubeconfig(text=text))


NOWHERE = {
    "no server": ({}, {}),
    "empty server": ({"server": ""}, {}),
    "another scheme": ({"server": "ftp://x"}, {}),
    "no scheme": ({"server": "x:6443"}, {}),
    "no host": ({"server": "https://"}, {}),
    "a port that is a word": ({"server": "https://x:port"}, {}),
    "a port out of range": ({"server": "https://x:99999"}, {}),
    "half an IPv6 address": ({"server": "https://[::1"}, {}),
    "a CA that isn't there": ({"server": "https://x", "certificate-authority": "/nowhere/ca"}, {}),
    "a CA that is no base64": ({"server": "https://x", "certificate-authority-data": "!!"}, {}),
    "a CA that is no certificate": ({"server": "https://x", "certificate-authority-data": encoded(b"no")}, {}),
    "a certificate that isn't there": ({"server": "https://x"}, {"client-certificate": "/no", "client-key": "/no"}),
    "a key that is none": (
        {"server": "https://x"},
        {"client-certificate-data": encoded(CA), "client-key-data": encoded(b"no key")},
    ),
    "a token file that isn't there": ({"server": "https://x"}, {"tokenFile": "/nowhere"}),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_a_kubeconfig_that_leads_nowhere(kubeconfig, name):
    cluster, user = NOWHERE[name]
    with pytest.raises(ClusterConfigError) as error:
        load(kubeconfig(cluster, user))
    assert str(error.value)


@pytest.mark.parametrize("environ", [{"KUBECONFIG": "/nowhere/config"}, {"KUBECONFIG": os.sep}])
def test_a_kubeconfig_that_is_not_there(environ):
    with pytest.raises(ClusterConfigError):
        load(environ)


@pytest.mark.parametrize("token", ["two\nlines", "not-ascii-é"])
def test_a_token_that_no_header_can_hold(kubeconfig, token):
    with pytest.raises(ClusterConfigError, match="token has a character"):
        load(kubeconfig({"server": "https://x"}, {"token": token}))
