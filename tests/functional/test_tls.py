"""The TLS listener, and client certificates on it (docs/reference/signing.md)."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import struct

import pytest
from support import rawws
from support.caller import refusal_of, request, script
from support.pki import Authority, Pki

TARGET = script("echo in")


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


def opened(daemon, client, headers=None):
    """A session by TLS; without ``headers`` nothing is signed."""
    data = request(daemon, TARGET, headers=headers or {})
    return rawws.connected(daemon.ports["https"], data, tls=client)


@pytest.mark.parametrize(
    ("common_name", "dns"), [("guacd", ()), ("other", ("terminal.example",))], ids=["by CN", "by DNS SAN"]
)
async def test_a_listed_subject_comes_in_without_a_signature(start, pki, common_name, dns):
    daemon = await start(**pki.environ())
    client = pki.servers.client(pki.callers.leaf(common_name, dns=dns))
    async with opened(daemon, client) as ws:
        assert ws.answer.status == 101
        ended = await ws.finish()
    assert (ended.text(1), ended.code) == ("in\n", 1000)
    line = await daemon.event("session opened")
    assert line["mode"] == "client_cert"
    assert line["subject"] == (dns[0] if dns else common_name)


async def test_a_certificate_decides_alone(start, pki):
    daemon = await start(**pki.environ())
    client = pki.servers.client(pki.callers.leaf("somebody", dns=("some.body",)))
    async with opened(daemon, client, daemon.headers(TARGET.partition("?")[0])) as ws:
        assert ws.answer.status == 401
        assert refusal_of(ws.answer, TARGET)[1] == "subject_denied"
    line = await daemon.event("request refused", reason="subject_denied")
    assert line["level"] == "warning"
    assert "somebody" in line["detail"]
    assert "some.body" in line["detail"]


@pytest.mark.parametrize(("authority", "days"), [("strangers", 1), ("callers", -1)], ids=["another CA", "expired"])
async def test_a_bad_chain_fails_in_the_handshake(start, pki, authority, days):
    daemon = await start(**pki.environ())
    client = pki.servers.client(getattr(pki, authority).leaf("guacd", days=days))
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        async with opened(daemon, client):
            pass
    assert (await daemon.event("TLS handshake failed"))["level"] == "warning"


async def test_why_the_handshake_failed_arrives_though_the_caller_wrote_on(start, pki):
    """By TLS 1.3 it has sent its request before its certificate is refused: that must not reset the answer."""
    daemon = await start(**pki.environ())
    context = pki.servers.client(pki.strangers.leaf("guacd"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname="127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.ports["https"])
    try:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(up.read())
                down.write(await reader.read(65_536))
        client.write(request(daemon, TARGET, headers={}) + bytes(10_000))
        writer.write(up.read())  # the certificate and the request at once
        while data := await reader.read(65_536):  # to its end, and not to a reset
            down.write(data)
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            client.read()
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("listener", ["https", "http"])
async def test_a_connection_that_is_reset_before_it_is_accepted(start, pki, listener):
    daemon = await start(**pki.environ())
    daemon.process.send_signal(signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", daemon.ports[listener])) as sock:
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    daemon.process.send_signal(signal.SIGCONT)
    if listener == "https":
        line = await daemon.event("TLS handshake failed")
        assert (line["level"], line["peer"]) == ("warning", "127.0.0.1")
    async with opened(daemon, pki.servers.client(), daemon.headers(TARGET.partition("?")[0])) as ws:
        assert (await ws.finish()).text(1) == "in\n"
    assert not [raw for raw in daemon.raw_log if "Traceback" in raw or "background task failed" in raw]


async def test_without_a_certificate_the_headers_decide(start, pki):
    daemon = await start(**pki.environ())
    async with opened(daemon, pki.servers.client()) as ws:
        assert refusal_of(ws.answer, TARGET)[1] == "missing_timestamp"
    async with opened(daemon, pki.servers.client(), daemon.headers(TARGET.partition("?")[0])) as ws:
        assert (await ws.finish()).text(1) == "in\n"


async def test_an_intermediate_ca_is_enough(start, pki, tmp_path):
    """As for Go's servers: the root above it need not be named."""
    intermediate = Authority("intermediate", tmp_path, issuer=pki.callers)
    daemon = await start(**{**pki.environ(), "TLS_CLIENT_CA_FILE": str(intermediate.file)})
    async with opened(daemon, pki.servers.client(intermediate.leaf("guacd"))) as ws:
        assert (await ws.finish()).text(1) == "in\n"
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        async with opened(daemon, pki.servers.client(pki.callers.leaf("guacd"))):
            pass


async def test_a_name_that_is_not_utf_8(start, pki):
    daemon = await start(**pki.environ())
    client = pki.servers.client(pki.callers.leaf("guacd", raw_dns=b"a\xff\xfe"))
    async with opened(daemon, client, daemon.headers(TARGET.partition("?")[0])) as ws:
        assert ws.answer.status == 401
        text, reason = refusal_of(ws.answer, TARGET)
    assert (reason, "can't be read" in text) == ("subject_denied", True)
    assert not [line for line in daemon.log if line["level"] == "error"]


async def test_an_expired_certificate_of_its_own_does_not_keep_it_from_starting(start, pki):
    pki.servers.leaf("proxy", days=-1)
    daemon = await start(**pki.environ())
    assert (await daemon.event("a TLS certificate has expired"))["level"] == "warning"
    client = pki.servers.client()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    async with opened(daemon, client, daemon.headers(TARGET.partition("?")[0])) as ws:
        assert (await ws.finish()).text(1) == "in\n"


async def test_an_empty_list_turns_the_mode_off(start, pki):
    daemon = await start(**pki.environ(subjects=""))
    client = pki.servers.client(pki.callers.leaf("guacd"))
    async with opened(daemon, client) as ws:
        assert refusal_of(ws.answer, TARGET)[1] == "missing_timestamp"


async def test_a_renewed_certificate_is_taken_and_a_bad_one_is_not(start, pki):
    daemon = await start(**pki.environ())
    signed = daemon.headers(TARGET.partition("?")[0])
    held = rawws.connected(
        daemon.ports["https"], request(daemon, script("read line; echo $line")), tls=pki.servers.client()
    )
    async with held as ws:
        assert ws.answer.status == 101
        pki.server.cert.write_bytes(b"not a certificate")
        bad = await daemon.event("the TLS certificate can't be read; the last good one stays in use")
        assert bad["level"] == "error"
        async with opened(daemon, pki.servers.client(), signed) as again:
            assert again.answer.status == 101
        renewed = Authority("renewed", pki.server.cert.parent)
        renewed.leaf("proxy")
        await daemon.event("TLS certificate loaded")
        async with opened(daemon, renewed.client(), signed) as again:
            assert again.answer.status == 101
        await ws.send(0, b"still here\n")
        assert (await ws.finish()).text(1) == "still here\n"


async def test_bulk_by_tls_is_whole(start, pki):
    daemon = await start(**pki.environ())
    target = script("seq 1 1000000")
    data = request(daemon, target)
    async with rawws.connected(daemon.ports["https"], data, tls=pki.servers.client()) as ws:
        ended = await ws.finish()
    assert ended.output[1] == b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert ended.exit_code == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_versions_that_are_spoken(start, pki, version):
    daemon = await start(**pki.environ())
    client = pki.servers.client()
    client.minimum_version = client.maximum_version = version
    async with opened(daemon, client, daemon.headers(TARGET.partition("?")[0])) as ws:
        assert (await ws.finish()).text(1) == "in\n"
