"""A client certificate that expires after its handshake: by then nothing verifies the chain any more."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from http.client import HTTPResponse

import pytest
from support import rawws
from support.caller import PIPES, api_exec, refusal_of, request
from support.daemon import running_daemon
from support.pki import Pki

# The daemon with a clock of its own: SIGUSR1 puts it two days on. OpenSSL's stays where it is.
LATER = """
import signal, sys, time
real, ahead = time.time, 0
time.time = lambda: real() + ahead
def go_on(*_):
    global ahead
    ahead = 2 * 86_400
    sys.stderr.write('{"event": "two days later"}\\n')
    sys.stderr.flush()
signal.signal(signal.SIGUSR1, go_on)
from k8s_ws_proxy.cli.main import main
sys.exit(main(["serve"]))
"""
PROGRAM = (sys.executable, "-W", "error", "-c", LATER)
EXEC = api_exec("true", container="shell", **PIPES)


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def daemon(kubeconfig, tmp_path, pki):
    async with running_daemon(kubeconfig, tmp_path, program=PROGRAM, **pki.environ()) as running:
        yield running


async def two_days_later(daemon):
    daemon.process.send_signal(signal.SIGUSR1)
    await daemon.event("two days later")


def guacd(pki, version):
    context = pki.servers.client(pki.callers.leaf("guacd"))
    context.minimum_version = context.maximum_version = version
    return context


def ask(daemon, context, data, session=None):
    """An answer, and the TLS session: asyncio can't be given one to resume."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.ports["https"])))
        tls = stack.enter_context(context.wrap_socket(sock, server_hostname="127.0.0.1", session=session))
        tls.sendall(data)
        answer = stack.enter_context(HTTPResponse(tls))
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        assert tls.session_reused is (session is not None)
        return rawws.Answer(answer.status, headers, answer.read()), tls.session


PLAIN = b"GET /api HTTP/1.1\r\nHost: proxy\r\n\r\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_session_that_is_resumed_after_the_certificate_has_expired(daemon, pki, version):
    context = guacd(pki, version)
    answer, session = await asyncio.to_thread(ask, daemon, context, PLAIN)
    assert answer.status == 200
    answer, session = await asyncio.to_thread(ask, daemon, context, PLAIN, session)
    assert answer.status == 200, "resumed in time"
    await two_days_later(daemon)
    for data, target in ((PLAIN, "/api"), (request(daemon, EXEC, headers={}), EXEC)):
        answer, session = await asyncio.to_thread(ask, daemon, context, data, session)
        text, reason = refusal_of(answer, target)
        assert (answer.status, reason) == (401, "certificate_expired")
        assert "has expired" in text
    line = await daemon.event("request refused", reason="certificate_expired")
    assert (line["level"], "guacd" in line["detail"]) == ("warning", True)


async def test_a_connection_that_stays_open_until_the_certificate_has_expired(daemon, pki):
    context = guacd(pki, ssl.TLSVersion.TLSv1_3)
    async with rawws.connected(daemon.ports["https"], PLAIN, tls=context) as connection:
        assert connection.answer.status == 200
        await two_days_later(daemon)
        await connection.send_raw(PLAIN)
        answer = await rawws.read_answer(connection.reader)
    assert (answer.status, refusal_of(answer, "/api")[1]) == (401, "certificate_expired")
