"""The client commands by certificate: ``--cert``, ``--key``, ``--cacert``, and ``kubeconfig``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ExtendedKeyUsageOID
from support.command import Client
from support.pki import Authority, Pki

TRUE = ("default/web", "--", "true")


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def daemon(start, pki):
    return await start(**pki.environ("operator"))


@pytest.fixture
def client(daemon, tmp_path):
    """Without a secret."""
    return Client(f"https://127.0.0.1:{daemon.ports['https']}", None, tmp_path)


def pair(leaf):
    return ("--cert", str(leaf.cert), "--key", str(leaf.key))


@pytest.fixture
def operator(pki):
    return pair(pki.callers.leaf("operator"))


@pytest.fixture
def cacert(pki):
    return ("--cacert", str(pki.servers.file))


async def test_it_comes_in_without_a_secret(client, daemon, operator, cacert):
    told = await client.run(*operator, *cacert, "default/web", "-i", "--", "sh", "-c", "cat; exit 3", given=b"in\n")
    assert told == (3, b"in\n", "")
    assert (await daemon.event("session opened"))["subject"] == "operator"


async def test_attach_comes_in_too(client, operator, cacert):
    client.command = "attach"
    process = await client.start(*operator, *cacert, "default/web", "-i")
    process.stdin.write(b"hello\n")
    assert await process.stdout.readline() == b"echo: hello\n"
    process.terminate()
    await process.communicate()


async def test_a_secret_beside_it_is_not_looked_at(client, daemon, operator, cacert):
    client.environ["SHARED_SECRET_FILE"] = "/nowhere"
    assert await client.run(*operator, *cacert, *TRUE) == (0, b"", "")


async def test_a_secret_over_tls(client, daemon, cacert, tmp_path):
    client.environ["SHARED_SECRET_FILE"] = str(tmp_path / "secret")
    assert await client.run(*cacert, *TRUE) == (0, b"", "")
    assert (await daemon.event("session opened"))["key_id"] == "secret"


@pytest.mark.parametrize(("kept", "told"), [(0, "--cert needs --key"), (2, "--key needs --cert")])
async def test_half_a_pair(client, operator, cacert, kept, told):
    status, _, stderr = await client.run(*operator[kept : kept + 2], *cacert, *TRUE)
    assert (status, stderr) == (1, f"k8s-ws-proxy: {told}: a certificate and its key go together\n")


async def test_an_intermediate_ca_is_enough(client, daemon, operator, pki, tmp_path):
    intermediate = Authority("intermediate", tmp_path, issuer=pki.servers)
    intermediate.leaf("proxy")
    await daemon.event("TLS certificate loaded")
    assert await client.run(*operator, "--cacert", str(intermediate.file), *TRUE) == (0, b"", "")


async def test_a_key_of_another_certificate(client, operator, cacert, pki):
    other = pki.callers.leaf("other")
    status, _, stderr = await client.run(*operator[:2], "--key", str(other.key), *cacert, *TRUE)
    assert status == 1
    assert stderr == f"k8s-ws-proxy: the key in {other.key} isn't that of the certificate in {operator[1]}\n"


async def test_files_that_can_not_be_used(client, operator, cacert, tmp_path):
    (tmp_path / "text").write_text("text")
    for words, told in (
        (("--cert", "/no/such", *operator[2:], *cacert), "the file /no/such can't be read: No such file or directory"),
        (
            ("--cert", str(tmp_path / "text"), *operator[2:], *cacert),
            f"the certificate {tmp_path}/text and the key {operator[3]} can't be used: both must be PEM files",
        ),
        ((*operator, "--cacert", str(tmp_path / "text")), f"the CA file {tmp_path}/text can't be used"),
        ((*operator, "--cacert", "/no/such"), "the file /no/such can't be read"),
    ):
        status, _, stderr = await client.run(*words, *TRUE)
        assert status == 1
        assert told in stderr


@pytest.fixture
def locked(operator, tmp_path):
    """The same key with a pass phrase."""
    key = serialization.load_pem_private_key(Path(operator[3]).read_bytes(), None)
    file = tmp_path / "locked.key"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass"),
        )
    )
    return file


async def test_a_key_with_a_pass_phrase(client, operator, cacert, locked):
    status, _, stderr = await client.run(*operator[:2], "--key", str(locked), *cacert, *TRUE)
    assert status == 1
    assert f"the key file {locked} has a pass phrase" in stderr


async def test_over_plain_http_it_is_not_shown(client, daemon, operator):
    status, _, stderr = await client.run("--url", daemon.url, *operator, *TRUE)
    assert status == 1
    assert f"a certificate can only be shown over TLS, and {daemon.url} is plain HTTP" in stderr


async def test_the_proxy_s_certificate_is_of_another_ca(client, operator, pki):
    for words in (operator, (*operator, "--cacert", str(pki.callers.file))):
        status, _, stderr = await client.run(*words, *TRUE)
        assert status == 1
        assert "shows a certificate that can't be trusted" in stderr
        assert "name that CA's file with --cacert (or in SSL_CERT_FILE)" in stderr


async def test_a_subject_that_is_not_listed(client, cacert, pki):
    status, _, stderr = await client.run(*pair(pki.callers.leaf("stranger")), *cacert, *TRUE)
    assert status == 1
    assert "(401 subject_denied): The client certificate's subject is not on the list" in stderr
    assert "CLIENT_CERT_ALLOWED_SUBJECTS of the proxy must hold the CN or a DNS name of the one in --cert." in stderr


@pytest.mark.parametrize(("authority", "days"), [("strangers", 1), ("callers", -1)], ids=["another CA", "expired"])
async def test_a_certificate_that_the_proxy_does_not_take(client, cacert, pki, authority, days):
    leaf = getattr(pki, authority).leaf("operator", days=days)
    status, _, stderr = await client.run(*pair(leaf), *cacert, *TRUE)
    assert status == 1
    assert "it doesn't seem to take the certificate in --cert. Has it expired, or is it of another CA" in stderr


URL = ("--url", "https://node-1:8443")


@pytest.fixture
def writer(tmp_path):
    return Client("", None, tmp_path, "kubeconfig")


async def test_a_kubeconfig_names_the_files(writer, operator, cacert):
    status, stdout, stderr = await writer.run(*URL, *operator, *cacert, "-n", "team-a")
    assert status == 0
    document = yaml.safe_load(stdout)
    (cluster,), (user,), (context,) = document["clusters"], document["users"], document["contexts"]
    assert cluster["cluster"] == {"server": URL[1], "certificate-authority": cacert[1]}
    assert user["user"] == {"client-certificate": operator[1], "client-key": operator[3]}
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"], "namespace": "team-a"}
    assert document["current-context"] == context["name"]
    assert "the proxy lets it in if CLIENT_CERT_ALLOWED_SUBJECTS has one of: operator\n" in stderr


async def test_paths_in_it_are_absolute(writer, operator, tmp_path):
    words = [Path(word).name if word.startswith("/") else word for word in operator]
    document = yaml.safe_load((await writer.run(*URL, *words, cwd=tmp_path))[1])
    assert document["users"][0]["user"]["client-key"] == operator[3]


async def test_a_kubeconfig_holds_the_files_if_asked_to(writer, operator, tmp_path):
    stdout = (await writer.run(*URL, *operator, "--embed-certs"))[1]
    document = yaml.safe_load(stdout)
    assert document["clusters"][0]["cluster"] == {"server": URL[1]}
    assert document["users"][0]["user"].keys() == {"client-certificate-data", "client-key-data"}


async def test_the_output_file_is_its_owner_s_and_never_replaced_silently(writer, operator, tmp_path):
    output = tmp_path / "out"
    old = os.umask(0)
    try:
        status, stdout, _ = await writer.run(*URL, *operator, "-o", str(output))
    finally:
        os.umask(old)
    assert (status, stdout, stat.S_IMODE(output.stat().st_mode)) == (0, b"", 0o600)
    written = output.read_bytes()
    status, _, stderr = await writer.run(*URL, *operator, "-n", "other", "-o", str(output))
    assert (status, f"{output} is there already: --force replaces it\n" in stderr) == (1, True)
    assert output.read_bytes() == written
    assert (await writer.run(*URL, *operator, "-n", "other", "-o", str(output), "--force"))[0] == 0
    assert b"namespace: other" in output.read_bytes()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".out")] == []


async def test_an_output_that_can_not_be_written(writer, operator):
    status, _, stderr = await writer.run(*URL, *operator, "-o", "/no/such/file")
    assert (status, "/no/such/file can't be written: No such file or directory" in stderr) == (1, True)


@pytest.mark.parametrize(
    ("days", "told"), [(-1, "expired at 20"), (1, "expires soon, at 20"), (400, "")], ids=["expired", "soon", "good"]
)
async def test_an_expiry_is_warned_of(writer, pki, days, told):
    leaf = pki.callers.leaf("operator", days=days)
    status, _, stderr = await writer.run(*URL, *pair(leaf))
    assert status == 0
    assert ("warning" in stderr) == bool(told)
    assert told in stderr


@pytest.mark.parametrize(
    ("usage", "status", "told"),
    [
        (ExtendedKeyUsageOID.CLIENT_AUTH, 0, "the proxy lets it in"),
        (ExtendedKeyUsageOID.SERVER_AUTH, 1, "can't be a client's: unsuitable certificate purpose"),
    ],
    ids=["a client's", "a server's"],
)
async def test_what_a_certificate_may_be_used_for(writer, pki, usage, status, told):
    found = await writer.run(*URL, *pair(pki.callers.leaf("operator", usages=(usage,))))
    assert (found[0], told in found[2]) == (status, True)


async def test_a_name_that_is_not_utf_8(writer, pki):
    leaf = pki.callers.leaf("operator", raw_dns=b"a\xff\xfe")
    status, stdout, stderr = await writer.run(*URL, *pair(leaf))
    told = f"k8s-ws-proxy: the certificate {leaf.cert} holds a name that isn't UTF-8: no proxy lets it in\n"
    assert (status, stdout, stderr) == (1, b"", told)


async def test_a_key_that_does_not_fit_is_not_written_down(writer, operator, pki, tmp_path):
    other = pki.callers.leaf("other")
    words = (*URL, *operator[:2], "--key", str(other.key), "-o", str(tmp_path / "out"))
    status, _, stderr = await writer.run(*words)
    assert (status, "isn't that of the certificate" in stderr) == (1, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("--url", "http://node-1:8080"), 1, "is plain HTTP, and a certificate is shown over TLS only"),
        (("--url", "node-1"), 1, "isn't the URL of a proxy"),
        ((*URL, "-n", "Team A"), 1, "'Team A' can't be a namespace's name"),
    ],
)
async def test_what_can_not_be(writer, operator, words, status, told):
    found = await writer.run(*words, *operator)
    assert (found[0], told in found[2]) == (status, True)


async def test_without_a_certificate_there_is_none(writer):
    status, _, stderr = await writer.run(*URL)
    assert (status, "the following arguments are required: --cert, --key" in stderr) == (2, True)
