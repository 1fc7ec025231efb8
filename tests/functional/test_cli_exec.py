"""``k8s-ws-proxy exec`` as a process, on pipes, files and sockets: what scripts rely on."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import os
import signal
import socket
import sys
import time

import pytest
from support.command import PROGRAM, Client

MIB = 1 << 20


@pytest.fixture
def client(daemon, tmp_path):
    return Client(daemon.url, tmp_path / "secret", tmp_path)


def sh(text):
    return ("default/web", "--", "sh", "-c", text)


@pytest.mark.parametrize("code", [0, 1, 3, 42, 127, 255])
async def test_the_exit_code_is_handed_on(client, code):
    assert await client.run(*sh(f"exit {code}")) == (code, b"", "")


async def test_a_signal_in_the_container_is_128_and_its_number(client):
    assert await client.run(*sh("kill -9 $$")) == (137, b"", "")


async def test_stdout_and_stderr_stay_apart(client):
    assert await client.run(*sh("echo out; echo err >&2")) == (0, b"out\n", "err\n")


async def test_arguments_arrive_as_they_were_typed(client):
    words = ["", "a b", "$(date)", "'\"", "--", "-it", "naïve", os.fsdecode(b"\xff\xfe"), "new\nline"]
    script = ("default/web", "--", "sh", "-c", 'printf "%s\\0" "$@"', "sh", *words)
    assert await client.run(*script) == (0, b"".join(os.fsencode(word) + b"\0" for word in words), "")


async def test_options_may_stand_on_either_side_of_the_pod(client):
    status, stdout, _ = await client.run("-c", "side", "default/shell", "-i", "--", "cat", given=b"x")
    assert (status, stdout) == (0, b"x")


async def test_without_a_command_the_default_shell_runs(client):
    assert await client.run("default/web", "-i", given=b"echo $((6 * 7))\n") == (0, b"42\n", "")


async def test_without_i_the_command_has_no_stdin(client):
    assert await client.run("default/web", "--", "cat", given=b"never") == (0, b"", "")


async def test_t_without_a_terminal_is_said_and_goes_on(client):
    status, stdout, stderr = await client.run("default/web", "-it", "--", "sh", "-c", "test -t 0 || echo none")
    assert (status, stdout) == (0, b"none\n")
    assert stderr == (
        "k8s-ws-proxy: standard input isn't a terminal, so there is none in the pod: going on without -t\n"
    )


async def test_stdin_to_its_end_and_back_from_a_pipe(client):
    """Both directions at once: neither may wait for the other."""
    data = os.urandom(50_000_000)
    status, stdout, stderr = await client.run("default/web", "-i", "--", "cat", given=data)
    assert (status, stderr) == (0, "")
    assert hashlib.sha256(stdout).digest() == hashlib.sha256(data).digest()


@pytest.mark.slow
async def test_256_mib_of_stdin_in_flat_memory(client, tmp_path):
    with (tmp_path / "big").open("wb") as big:
        digest = hashlib.sha256()
        for _ in range(64):
            block = os.urandom(MIB) * 4
            digest.update(block)
            big.write(block)
    peak = "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
    peak += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(status)"
    with (tmp_path / "big").open("rb") as big:
        measured = [sys.executable, "-c", peak, *PROGRAM]
        process = await client.start("default/web", "-i", "--", "sha256sum", program=measured, stdin=big)
        stdout, stderr = await process.communicate()
    assert stdout.split()[0].decode() == digest.hexdigest()
    assert int(stderr) * 1024 < 96 * MIB


@pytest.fixture(params=["pipe", "non-blocking pipe", "socket"])
def slow_output(request):
    """Both ends of a standard output that takes little at a time."""
    if request.param == "socket":
        reader, writer = (end.detach() for end in socket.socketpair())
    else:
        reader, writer = os.pipe()
        os.set_blocking(writer, request.param == "pipe")
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


async def test_output_is_written_whole_whatever_it_goes_to(client, slow_output):
    reader, writer = slow_output
    blocking = os.get_blocking(writer)
    process = await client.start(*sh("yes | head -c 20000000"), stdin=None, stdout=writer)
    assert os.get_blocking(writer) == blocking
    os.close(writer)
    digest = hashlib.sha256()
    while block := await asyncio.to_thread(os.read, reader, 65536):
        digest.update(block)
    assert await process.wait() == 0
    assert digest.digest() == hashlib.sha256(b"y\n" * 10_000_000).digest()


async def test_a_standard_output_shared_with_others_keeps_its_flags(client):
    reader, writer = os.pipe()
    process = await client.start(*sh("echo started; exec sleep 1000"), stdin=None, stdout=writer)
    assert await asyncio.to_thread(os.read, reader, 100) == b"started\n"
    assert os.get_blocking(writer)
    process.terminate()
    assert await process.wait() == -signal.SIGTERM
    os.close(reader)
    os.close(writer)


async def test_a_file_is_appended_to_where_the_shell_says_so(client, tmp_path):
    (tmp_path / "log").write_text("before\n")
    with (tmp_path / "log").open("ab") as log:
        assert (await client.run(*sh("echo after"), stdout=log))[0] == 0
    assert (tmp_path / "log").read_text() == "before\nafter\n"


async def test_a_closed_stdout_ends_quietly(client):
    reader, writer = os.pipe()
    os.close(reader)
    assert await client.run(*sh("yes"), stdout=writer) == (-signal.SIGPIPE, None, "")
    os.close(writer)


async def test_a_stdout_that_isnt_there_is_no_error(client):
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM]
    process = await client.start(*sh("echo out; echo err >&2; exit 5"), program=shell)
    assert await process.communicate() == (b"", b"err\n")
    assert process.returncode == 5


async def test_a_full_disk_is_told(client):
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123 - a device
        status, _, stderr = await client.run(*sh("echo x"), stdout=full)
    assert (status, stderr) == (1, "k8s-ws-proxy: the output can't be written: No space left on device\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_although_nobody_reads_its_output(client, cluster, number):
    reader, writer = os.pipe()  # not asyncio's: it waits for a pipe's end, too, when it waits for a process
    process = await client.start(*sh("yes"), stdout=writer)
    os.close(writer)
    assert await asyncio.to_thread(os.read, reader, 4096)
    process.send_signal(number)
    await process.wait()
    os.close(reader)
    assert process.returncode == -number
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)


async def test_a_lost_connection_is_told(client, daemon):
    process = await client.start(*sh("echo started; exec sleep 1000"))
    assert await process.stdout.readline() == b"started\n"
    daemon.process.kill()
    _, stderr = await process.communicate()
    assert process.returncode == 1
    session = (await daemon.event("session opened"))["session"]
    assert stderr.decode() == (
        "k8s-ws-proxy: the connection to the proxy was lost; how the command ended isn't known\n"
        f"In the proxy's log this is session {session}.\n"
    )


async def test_a_shutdown_of_the_proxy_is_told(start, tmp_path):
    daemon = await start(DRAIN_TIMEOUT="0s")
    client = Client(daemon.url, tmp_path / "secret", tmp_path)
    process = await client.start(*sh("echo started; exec sleep 1000"))
    assert await process.stdout.readline() == b"started\n"
    assert await daemon.terminate() == 0
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.count(b"k8s-ws-proxy: the proxy on this node is shutting down") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("default/nope", "--", "true"), 'k8s-ws-proxy: pods "nope" not found\n'),
        (("default/web", "-c", "nope", "--", "true"), "container nope is not valid for pod web"),
        (("default/web", "--", "/no/such"), "/no/such"),
        (("web", "--", "true"), "NAMESPACE/POD, for example default/web"),
        (("default/Web", "--", "true"), "'default/Web' can't be"),
        (("default/a/b", "--", "true"), "'default/a/b' can't be"),
        (("default/web", "-c", "", "--", "true"), "'default/web/' can't be"),
        (("default/web", "--url", "127.0.0.1:8080"), "write it as http://HOST:PORT"),
        (("default/web", "--secret-file", "/no/such"), "the secret file /no/such can't be read: No such file"),
    ],
)
async def test_what_cant_be_is_told_with_exit_status_1(client, words, told):
    status, stdout, stderr = await client.run(*words)
    assert (status, stdout) == (1, b"")
    assert told in stderr
    assert "Traceback" not in stderr


async def test_a_command_without_dashes_is_a_wrong_use(client):
    status, _, stderr = await client.run("default/web", "ls", "/")
    assert status == 2
    assert "put the command after two dashes: -- ls /" in stderr


async def test_a_missing_secret_is_told(daemon, tmp_path):
    status, _, stderr = await Client(daemon.url, None, tmp_path).run("default/web", "--", "true")
    assert status == 1
    assert "name its file with --secret-file or SHARED_SECRET_FILE" in stderr


async def test_a_wrong_secret_is_told(daemon, tmp_path):
    (tmp_path / "wrong").write_text("w" * 44)
    status, _, stderr = await Client(daemon.url, tmp_path / "wrong", tmp_path).run("default/web", "--", "true")
    assert status == 1
    assert "the proxy refused (401 bad_signature): The signature doesn't match." in stderr
    assert "Is the file named by --secret-file (or SHARED_SECRET_FILE) the secret" in stderr


async def test_a_namespace_that_isnt_allowed_is_told(start, tmp_path):
    daemon = await start(ALLOWED_NAMESPACES="team-a")
    status, _, stderr = await Client(daemon.url, tmp_path / "secret", tmp_path).run("default/web", "--", "true")
    assert status == 1
    assert "the proxy refused (403 namespace_denied)" in stderr


@pytest.fixture
async def answering(tmp_path):
    """Starts servers that give one answer to everything, and makes clients of them."""
    (tmp_path / "secret").write_text("s" * 44)
    async with contextlib.AsyncExitStack() as stack:

        async def answering_(answer):
            async def serve(reader, writer):
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await reader.readuntil(b"\r\n\r\n")
                writer.write(answer.encode())
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
            return Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", tmp_path / "secret", tmp_path)

        yield answering_


def refusal(status, reason, **headers):
    body = f'{{"error": "A sentence.", "reason": "{reason}"}}'
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refusal(401, "missing_hmac"), "(401 missing_hmac): A sentence.\nThey were sent: something between here"),
        (refusal(404, "bad_path"), "(404 bad_path): A sentence.\n"),
        (refusal(401, "replayed"), "(401 replayed): A sentence.\nEach request of this program is signed anew:"),
        (refusal(401, "signature_v2_required"), "something between here and the proxy takes the Signature and"),
        (refusal(421, "wrong_node"), "Is --url (or K8S_WS_PROXY_URL) the address of the proxy on that node?"),
        (refusal(403, "user_required"), "Say for whom this is with --as USER."),
        (refusal(403, "identity_denied"), "name a person and their groups with --as and --as-group"),
        (refusal(429, "too_many_sessions_of_user", Retry_After=5), "A sentence.\nTry again in 5 s."),
        (refusal(429, "too_many_requests", Retry_After=1), "A sentence.\nTry again in 1 s."),
        (refusal(429, "too_many_sessions", X_Session_Id="0190-a"), "In the proxy's log this is session 0190-a.\n"),
        (refusal(429, "too_many_sessions", X_Session_Id="a b"), "Try again in a while.\n"),
        (refusal(404, "no_running_pod"), "Is the name right"),
        (refusal(429, "too_many_sessions", Retry_After=5), "(429 too_many_sessions): A sentence.\nTry again in 5 s."),
        (refusal(503, "shutting_down", Retry_After=7), "(503 shutting_down): A sentence.\nTry again in 7 s."),
        (refusal(503, "shutting_down"), "Try again in a while."),
        (refusal(418, "new_reason"), "(418 new_reason): A sentence.\n"),
        (refusal(401, "\\u001b[31m"), "(401 \ufffd[31m)"),
        ("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n<html>", "answered 404 Not Found and isn't k8s-ws-proxy"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "answered 200 OK and isn't k8s-ws-proxy"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "answered 302 Found"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "not as RFC 6455 asks"),
        ("", "is it perhaps a listener for https?"),
    ],
)
async def test_each_refusal_says_what_to_do(answering, answer, told):
    client = await answering(answer)
    status, _, stderr = await client.run("default/web", "--", "true")
    assert status == 1
    assert told in stderr
    assert "Traceback" not in stderr


async def test_a_wrong_clock_is_told_with_the_difference(answering):
    then = email.utils.formatdate(time.time() - 100_000, usegmt=True)
    client = await answering(refusal(401, "expired", Date=then))
    status, _, stderr = await client.run("default/web", "--", "true")
    assert status == 1
    assert "This machine's clock is 10000" in stderr
    assert "s ahead of the proxy's: set it right." in stderr


async def test_a_refused_connection_is_told(answering, tmp_path):
    client = await answering("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    status, _, stderr = await client.run("default/web", "--url", url, "--", "true")
    assert status == 1
    assert stderr.startswith(f"k8s-ws-proxy: nothing listens at {url}: start the proxy (k8s-ws-proxy serve,")


async def test_tls_to_a_plain_listener_is_told(client, daemon):
    status, _, stderr = await client.run("default/web", "--url", daemon.url.replace("http", "https"), "--", "true")
    assert status == 1
    assert "doesn't speak TLS as it should" in stderr


async def test_a_certificate_of_an_unknown_ca_is_told(client, cluster):
    status, _, stderr = await client.run("default/web", "--url", cluster.url, "--", "true")
    assert status == 1
    assert "name that CA's file with --cacert (or in SSL_CERT_FILE)" in stderr
    told = await client.run("default/web", "--url", cluster.url, "--cacert", str(cluster.ca_file), "--", "true")
    assert "isn't k8s-ws-proxy" in told[2]
    client.environ["SSL_CERT_FILE"] = str(cluster.ca_file)  # it is read as aiohttp is imported
    status, _, stderr = await client.run("default/web", "--url", cluster.url, "--", "true", program=PROGRAM)
    assert "isn't k8s-ws-proxy" in stderr
