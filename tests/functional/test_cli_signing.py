"""How the command line signs: RFC 9421 unless the proxy is older, who is asking, and each request anew."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import re
import time

import pytest
from support.command import Client
from support.pki import Pki
from support.podport import chunks, listening

TRUE = ("default/web", "--", "true")
OLDER = "k8s-ws-proxy: this proxy doesn't take RFC 9421 signatures: signed as v1, which covers the path only\n"


@pytest.fixture
def client_of(tmp_path):
    return lambda daemon, command="exec": Client(daemon.url, tmp_path / "secret", tmp_path, command)


@pytest.fixture
def client(daemon, client_of):
    return client_of(daemon)


@pytest.fixture
async def v1_only(start):
    return await start(ACCEPTED_SIGNATURES="v1")


async def test_it_signs_with_rfc_9421(client, daemon):
    assert await client.run(*TRUE) == (0, b"", "")
    opened = await daemon.event("session opened")
    assert (opened["mode"], opened["key_id"]) == ("rfc9421", "secret")
    assert not {"user", "groups", "caller_reason"} & opened.keys()


@pytest.mark.parametrize("command", ["exec", "logs", "attach"])
async def test_who_is_asking_and_why_stands_in_the_log(client_of, daemon, command):
    who = ("--as", "oidc:jane", "--as-group", "ops", "--as-group", 'CN=dev,OU="eng"', "--reason", "Störung: 100%")
    words = ("-c", "web", "default/web", *who)
    process = await client_of(daemon, command).start(*words, *(("--", "true") if command == "exec" else ()))
    opened = await daemon.event("session opened")
    if command == "attach":
        process.terminate()
    _, stderr = await process.communicate()
    assert stderr == b""
    assert (opened["mode"], opened["user"], opened["groups"]) == ("rfc9421", "oidc:jane", 2)
    assert opened["caller_reason"] == "Störung: 100%"


async def test_every_argument_is_covered_as_it_was_typed(client):
    words = ["", "a b", "%41", "a+b", "&x=y", "ü", "#", "?", "\n"]
    told = await client.run("default/web", "--", "sh", "-c", 'printf "%s\\0" "$@"', "sh", *words)
    assert told == (0, b"".join(word.encode() + b"\0" for word in words), "")


async def test_an_older_way_to_sign_may_be_asked_for(client, daemon):
    assert await client.run("--sign", "v1", *TRUE) == (0, b"", "")
    assert (await daemon.event("session opened"))["mode"] == "hmac"


async def test_a_proxy_that_takes_v1_only_gets_it_and_that_is_said(v1_only, client_of):
    assert await client_of(v1_only).run(*TRUE) == (0, b"", OLDER)
    assert (await v1_only.event("session opened"))["mode"] == "hmac"
    assert (await v1_only.event("request refused"))["reason"] == "signature_not_accepted"


@pytest.mark.parametrize(
    ("words", "missed"),
    [
        (("--as", "jane"), "--as"),
        (("--as-group", "ops", "--reason", "why"), "--as-group, --reason"),
        (("--sign", "v2"), "--sign v2"),
    ],
)
async def test_what_v1_can_t_do_is_not_left_out_in_silence(v1_only, client_of, words, missed):
    status, stdout, stderr = await client_of(v1_only).run(*words, *TRUE)
    assert (status, stdout) == (1, b"")
    assert stderr.startswith("k8s-ws-proxy: the proxy refused (401 signature_not_accepted): ")
    assert f"and v1, which covers the path only, isn't enough for {missed}. Do without, or" in stderr


async def test_a_proxy_that_takes_v2_only(start, client_of):
    daemon = await start(ACCEPTED_SIGNATURES="v2")
    assert await client_of(daemon).run(*TRUE) == (0, b"", "")
    status, _, stderr = await client_of(daemon).run("--sign", "v1", *TRUE)
    assert status == 1
    assert "the proxy refused (401 signature_v2_required)" in stderr
    assert "\nLeave out --sign v1, or write --sign v2: this proxy takes RFC 9421 signatures only.\n" in stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sign", "v1", "--as", "jane"), "--as can't stand beside --sign v1, which covers the path only"),
        (("--sign", "v1", "--reason", "why"), "--reason can't stand beside --sign v1"),
        (("--as", "jane doe"), "--as: X-Catalyst-User must be 1 to 253 visible ASCII characters."),
        (("--as-group", " ops"), "--as-group: In X-Catalyst-Groups a group is empty, or has spaces around it."),
        (("--reason", ""), "--reason: it says nothing"),
    ],
)
async def test_what_can_t_be_said_is_refused_before_anything_is_sent(client, daemon, words, told):
    status, _, stderr = await client.run(*words, *TRUE)
    assert status == 1
    assert stderr.startswith(f"k8s-ws-proxy: {told}")
    assert stderr.count("\n") == 1
    assert not [line for line in daemon.log if line["event"] in ("session opened", "request refused")]


async def test_a_certificate_says_itself_who_is_asking(start, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(**pki.environ("operator"))
    leaf = pki.callers.leaf("operator")
    client = Client(f"https://127.0.0.1:{daemon.ports['https']}", None, tmp_path)
    by_certificate = ("--cert", str(leaf.cert), "--key", str(leaf.key), "--cacert", str(pki.servers.file))
    for words in (("--as", "jane"), ("--as-group", "ops"), ("--reason", "why"), ("--sign", "v2")):
        status, _, stderr = await client.run(*by_certificate, *words, *TRUE)
        assert status == 1
        assert stderr.startswith(f"k8s-ws-proxy: {words[0]} can't stand beside --cert: a request by certificate isn't")


async def test_a_user_is_asked_for_where_there_must_be_one(start, client_of):
    daemon = await start(IDENTITY="user")
    status, _, stderr = await client_of(daemon).run(*TRUE)
    assert status == 1
    assert "(403 user_required)" in stderr
    assert stderr.endswith("\nSay for whom this is with --as USER.\n")
    status, _, stderr = await client_of(daemon).run("--as", "system:admin", *TRUE)
    assert status == 1
    assert "(403 identity_denied)" in stderr


async def test_a_session_that_fails_is_named(client, daemon):
    status, _, stderr = await client.run("default/nope", "--", "true")
    session = (await daemon.event("session failed"))["session"]
    assert (status, stderr) == (
        1,
        f'k8s-ws-proxy: pods "nope" not found\nIn the proxy\'s log this is session {session}.\n',
    )


async def test_a_port_forward_learns_what_the_proxy_takes_once(start, client_of, cluster):
    daemon = await start(ACCEPTED_SIGNATURES="v1")
    async with listening() as pod_port:
        cluster.open_port("default", "web", 8080, pod_port.port)
        process = await client_of(daemon, "port-forward").start("default/web", ":8080", "--address", "127.0.0.1")
        port = int((await process.stdout.readline()).split()[2].rpartition(b":")[2])
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"SOURCE 65536\n")
            assert await reader.read() == b"".join(chunks(65_536))
            writer.close()
        process.terminate()
        _, stderr = await process.communicate()
    assert stderr.decode() == OLDER
    assert [line["reason"] for line in daemon.log if line["event"] == "request refused"] == [
        "signature_not_accepted",
        "upgrade_required",
    ]


async def test_each_connection_of_a_port_forward_is_the_user_s(daemon, client_of, cluster):
    async with listening() as pod_port:
        cluster.open_port("default", "web", 8080, pod_port.port)
        words = ("default/web", ":8080", "--address", "127.0.0.1", "--as", "jane", "--reason", "why")
        process = await client_of(daemon, "port-forward").start(*words)
        port = int((await process.stdout.readline()).split()[2].rpartition(b":")[2])
        for count in (1, 2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"SOURCE 65536\n")
            assert await reader.read() == b"".join(chunks(65_536))
            writer.close()
            opened = await daemon.event("session opened", count=count)
            assert (opened["mode"], opened["user"], opened["caller_reason"]) == ("rfc9421", "jane", "why")
        process.terminate()
        assert await process.communicate() == (b"", b"")


@contextlib.asynccontextmanager
async def serving(*answers):
    """A server that gives these answers, made when they are given, and the last one again and again.

    Its URL, and the heads that it was sent.
    """
    heads = []

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answers[min(len(heads), len(answers)) - 1]().encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def refusal(reason, status=401, *, off=0, sentence="A sentence."):
    """Makes one, by a clock that is ``off`` seconds ahead."""

    def made():
        body = f'{{"error": "{sentence}", "reason": "{reason}"}}'
        date = email.utils.formatdate(time.time() + off, usegmt=True)
        lines = [f"HTTP/1.1 {status} Whatever", "Connection: close", f"Content-Length: {len(body)}", f"Date: {date}"]
        return "\r\n".join([*lines, "", body])

    return made


def signed(heads):
    """When each was signed, and with which nonce."""
    line = re.compile(r'^Signature-Input: .*;created=(\d+);.*;nonce="([^"]+)"', re.IGNORECASE | re.MULTILINE)
    found = [line.search(head) for head in heads]
    return [int(one[1]) for one in found], [one[2] for one in found]


@pytest.fixture
def client_at(tmp_path):
    (tmp_path / "secret").write_text("s" * 44)
    return lambda url, command="exec": Client(url, tmp_path / "secret", tmp_path, command)


@pytest.mark.parametrize("reason", ["missing_timestamp", "missing_hmac"])
@pytest.mark.parametrize(("command", "words"), [("exec", TRUE), ("port-forward", ("default/web", ":80"))])
async def test_a_proxy_older_than_rfc_9421_is_asked_again_once(client_at, reason, command, words):
    async with serving(refusal(reason)) as (url, heads):
        status, _, stderr = await client_at(url, command).run(*words)
    assert status == 1
    assert stderr.startswith(f"{OLDER}k8s-ws-proxy: the proxy refused (401 {reason}): A sentence.\nThey were sent: ")
    first, second = (head.lower() for head in heads)
    assert "signature-input: " in first
    assert "x-catalyst-hmac: " not in first
    assert "x-catalyst-hmac: " in second
    assert "signature" not in second


async def test_a_request_that_is_sent_again_has_a_nonce_of_its_own(client_at):
    """The HTTP client sends one again by itself when its connection is closed in place of an answer."""
    async with serving(str, refusal("bad_path", 404)) as (url, heads):
        status, _, stderr = await client_at(url).run(*TRUE)
    assert (status, "(404 bad_path)" in stderr) == (1, True)
    assert len(heads) == 2
    _, nonces = signed(heads)
    assert len(set(nonces)) == 2


async def test_the_second_in_which_the_proxy_started_is_waited_for_once(client_at):
    async with serving(refusal("expired")) as (url, heads):
        status, _, stderr = await client_at(url).run(*TRUE)
    assert status == 1
    assert stderr.endswith(
        "\nThe clocks agree. Has the proxy just been started? It refuses what was signed before: "
        "run this again, which signs anew.\n"
    )
    (first, second), nonces = signed(heads)
    assert second > first
    assert len(set(nonces)) == 2


async def test_a_proxy_whose_clock_has_gone_back_is_somebody_elses_to_mend(client_at):
    sentence = "This proxy's clock has gone back by 7200 s since it started, and so on."
    async with serving(refusal("expired", sentence=sentence)) as (url, _):
        _, _, stderr = await client_at(url).run(*TRUE)
    assert stderr.endswith(f"{sentence}\nTell whoever runs the proxy: signing anew doesn't help.\n")


@pytest.mark.parametrize("off", [-100, 100])
async def test_a_clock_that_is_wrong_is_not_waited_for(client_at, off):
    async with serving(refusal("expired", off=off)) as (url, heads):
        _, _, stderr = await client_at(url).run(*TRUE)
    assert len(heads) == 1
    assert f"s {'ahead of' if off < 0 else 'behind'} the proxy's: set it right." in stderr


async def test_a_prefix_of_the_url_is_not_signed(daemon, client_at, tmp_path):
    """What stands before the proxy takes it off."""

    async def carry(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /nodes/one/proxy/exec/")
        there = await asyncio.open_connection("127.0.0.1", daemon.port)
        there[1].write(head.replace(b"/nodes/one", b"", 1))
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    (tmp_path / "secret").write_bytes(daemon.secret)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as before:
        url = f"http://127.0.0.1:{before.sockets[0].getsockname()[1]}/nodes/one"
        assert await client_at(url).run("default/web", "--", "echo", "yes") == (0, b"yes\n", "")
