"""The TLS listener's files: what can't be used, what OpenSSL wouldn't say, and what expires."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs
from support.pki import Authority, Pki

from k8s_ws_proxy import settings
from k8s_ws_proxy.certificates import ServerTls, make_context
from k8s_ws_proxy.errors import CertificateError
from k8s_ws_proxy.observe import metrics

DAY = 86_400


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def tls(pki):
    parsed, _ = settings.parse(pki.environ())
    return parsed.tls


class Clock:
    def __init__(self):
        self.ahead = 0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def clock():
    return Clock()


def made(tls, clock=time.time):
    return ServerTls(tls, ask_for_certificate=True, clock=clock)


async def look(server):
    """Whether another context is used after a look, and the events that it logged."""
    before = server.context
    with capture_logs() as log:
        await server.look()
    return server.context is not before, [(line["log_level"], line.get("error", line["event"])) for line in log]


SPOILT = {
    "text after it": (lambda pem: pem + b"spoilt\n", "something after its last block"),
    "bytes after it": (lambda pem: pem + bytes(range(256)), "something after its last block"),
    "the beginning of another": (lambda pem: pem + b"-----BEGIN CERTIF", "something after its last block"),
    "another on the same line": (lambda pem: pem + b" " + pem, "a block in it doesn't begin on a line of its own"),
    "half of another": (lambda pem: pem + pem[:200], "can't be used"),
    "nothing": (lambda _: b"", "can't be used"),
}


@pytest.mark.parametrize("which", ["client_ca_file", "cert_file"])
@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_a_file_that_openssl_would_take_in_part(tls, which, spoil, words):
    file = getattr(tls, which)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(CertificateError, match="can't be used") as error:
        make_context(tls, ask_for_certificate=True)
    assert words in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    "dress",
    [
        lambda pem: b"# the callers' CA\nIssuer: somebody\n" + pem + b"\n\n# that is all",
        lambda pem: pem + b"Issuer: somebody\n" + pem + b"  \n",
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.rstrip(b"\n"),
    ],
    ids=["comments", "text between", "CRLF", "no end of the last line"],
)
def test_what_is_usual_around_certificates(tls, dress):
    tls.client_ca_file.write_bytes(dress(tls.client_ca_file.read_bytes()))
    assert len(make_context(tls, ask_for_certificate=True).get_ca_certs()) == 1


def test_a_client_ca_that_is_none(tls, pki):
    tls.client_ca_file.write_bytes(pki.callers.leaf("guacd").cert.read_bytes())
    with pytest.raises(CertificateError, match="holds no CA's certificate"):
        make_context(tls, ask_for_certificate=True)
    make_context(tls, ask_for_certificate=False)


def test_a_key_with_a_pass_phrase_is_not_asked_for(tls, pki):
    pki.servers.leaf("proxy", passphrase=b"secret")
    with pytest.raises(CertificateError, match=r"TLS_KEY_FILE \S+ has a pass phrase"):
        make_context(tls, ask_for_certificate=False)


async def test_a_server_certificate_that_has_expired_does_not_replace_one_that_has_not(tls, pki, clock):
    server = await asyncio.to_thread(made, tls, clock)
    pki.servers.leaf("proxy", days=-1)
    assert await look(server) == (False, [("error", f"TLS_CERT_FILE {tls.cert_file} has expired")])
    assert metrics.TLS_RELOAD_OK._value.get() == 0
    assert await look(server) == (False, [])
    clock.ahead = 2 * DAY
    taken = await look(server)
    assert taken == (True, [("info", "TLS certificate loaded"), ("warning", "a TLS certificate has expired")])
    clock.ahead = 0
    pki.servers.leaf("proxy", days=9)
    assert await look(server) == (True, [("info", "TLS certificate loaded")])
    assert metrics.TLS_RELOAD_OK._value.get() == 1


async def test_client_cas_that_have_all_expired_do_not_replace_one_that_has_not(tls, tmp_path):
    server = await asyncio.to_thread(made, tls)
    gone = [Authority(f"expired {days} days ago", tmp_path, days=-days) for days in (1, 2)]
    old = b"".join(each.file.read_bytes() for each in gone)
    good = tls.client_ca_file.read_bytes()
    tls.client_ca_file.write_bytes(old)
    assert await look(server) == (False, [("error", f"TLS_CLIENT_CA_FILE {tls.client_ca_file} has expired")])
    tls.client_ca_file.write_bytes(old + good)
    assert await look(server) == (True, [("info", "TLS certificate loaded")])


@pytest.mark.parametrize("which", ["cert_file", "client_ca_file"])
def test_one_that_has_expired_by_the_start_is_warned_of(tls, pki, tmp_path, which):
    if which == "cert_file":
        pki.servers.leaf("proxy", days=-1)
    else:
        Authority("callers", tmp_path, days=-1)
    with capture_logs() as log:
        made(tls)
    (line,) = log
    assert (line["log_level"], line["event"]) == ("warning", "a TLS certificate has expired")
    assert line["file"].endswith(str(getattr(tls, which)))
