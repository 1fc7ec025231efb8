"""The official Python client through the proxy, on the apiserver's path, with the signature added as headers."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
import websocket
from kubernetes import client
from kubernetes.stream import stream, ws_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

STDIN, RESIZE = ws_client.STDIN_CHANNEL, ws_client.RESIZE_CHANNEL


def path_to(pod, action="exec"):
    return f"/api/v1/namespaces/default/pods/{pod}/{action}"


@pytest.fixture
def open_stream(shared_daemon, monkeypatch):
    """Calls the client, which blocks, for a stream to a pod; the options are ``stream``'s."""
    opened = []

    def call(command, *, pod, attach, headers, **options):
        # Of the headers that it is given, this client hands on only two to its WebSocket. So ours are added where it
        # opens one.
        class SignedWebSocket(websocket.WebSocket):
            def connect(self, url, **given):
                given["header"] = [*given["header"], *(f"{name}: {value}" for name, value in headers.items())]
                super().connect(url, **given)
                opened.append(self)

        monkeypatch.setattr(ws_client, "WebSocket", SignedWebSocket)
        configuration = client.Configuration()
        configuration.host = shared_daemon.url
        api = client.CoreV1Api(client.ApiClient(configuration))
        if attach:
            return stream(api.connect_get_namespaced_pod_attach, pod, "default", **options)
        return stream(api.connect_get_namespaced_pod_exec, pod, "default", command=command, **options)

    async def open_(*command, pod="shell", attach=False, headers=None, **options):
        options = {"container": "shell", "stdout": True, "stderr": True, "stdin": False, "tty": False, **options}
        headers = headers or shared_daemon.headers(path_to(pod, "attach" if attach else "exec"))
        return await asyncio.to_thread(call, list(command), pod=pod, attach=attach, headers=headers, **options)

    yield open_
    for sock in opened:
        sock.shutdown()


async def test_the_plain_call_returns_the_output(open_stream):
    assert await open_stream("echo", "two words", "ünïcode") == "two words ünïcode\n"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137)])
async def test_exit_code(open_stream, script, code):
    session = await open_stream("sh", "-c", script, _preload_content=False)
    await asyncio.to_thread(session.run_forever)
    assert session.returncode == code


async def test_stdout_and_stderr_come_apart(open_stream):
    session = await open_stream("sh", "-c", "echo out; echo err >&2", _preload_content=False)
    await asyncio.to_thread(session.run_forever)
    assert (session.read_stdout(), session.read_stderr()) == ("out\n", "err\n")


async def test_50_mb_of_output_by_hash(open_stream, bulk):
    # In ten parts, each asked for by a line: this client adds each message to one growing string, and would spend half
    # a minute on 50 MB at once.
    parts, size = 10, len(bulk.data) // 10
    script = f"exec 3<&0; {bulk.script} | while read -r _ <&3; do head -c {size}; done"
    session = await open_stream("sh", "-c", script, stdin=True, _preload_content=False, binary=True)
    digest = hashlib.sha256()

    def read():
        for _ in range(parts):
            session.write_stdin(b"\n")
            missing = size
            while missing:
                data = session.read_stdout(timeout=None)
                assert data or session.is_open(), f"the session ended {missing} bytes early"
                digest.update(data)
                missing -= len(data)
        session.close_channel(STDIN)
        session.run_forever()

    await asyncio.to_thread(read)
    assert digest.hexdigest() == bulk.sha256
    assert session.returncode == 0


async def test_50_mb_of_stdin_to_its_end_by_hash(open_stream, bulk):
    session = await open_stream("sha256sum", stdin=True, _preload_content=False, binary=True)

    def write():
        for offset in range(0, len(bulk.data), 1_000_000):
            session.write_stdin(bulk.data[offset : offset + 1_000_000])
        session.close_channel(STDIN)
        session.run_forever()

    await asyncio.to_thread(write)
    assert session.read_stdout() == f"{bulk.sha256}  -\n".encode()
    assert session.returncode == 0


async def test_resize(open_stream, wait_for_size):
    session = await open_stream(*wait_for_size, stdin=True, stderr=False, tty=True, _preload_content=False)

    def resize():
        said = session.readline_stdout()
        session.write_channel(RESIZE, json.dumps({"Width": 120, "Height": 50}))
        session.run_forever()
        return said

    assert (await asyncio.to_thread(resize)).strip() == "ready"
    assert session.read_stdout().strip() == "resized"
    assert session.returncode == 0


async def test_attach_reaches_the_container_s_own_process(open_stream):
    session = await open_stream(attach=True, stdin=True, _preload_content=False)

    def converse():
        session.write_stdin("hello\n")
        answer = session.readline_stdout()
        session.close()
        return answer

    assert await asyncio.to_thread(converse) == "echo: hello"


async def test_a_signature_is_good_for_one_path(open_stream, shared_daemon):
    with pytest.raises(client.ApiException, match=r"Handshake status 401 Unauthorized.*bad_signature"):
        await open_stream("true", headers=shared_daemon.headers(path_to("other")))


async def test_a_missing_pod_is_the_apiserver_s_own_404(open_stream):
    with pytest.raises(client.ApiException, match="Handshake status 404 Not Found") as caught:
        await open_stream("true", pod="nope")
    assert r"pods \"nope\" not found" in caught.value.reason
