"""The official Python client's asyncio half through the proxy, on the apiserver's path, signed by default headers."""

from __future__ import annotations

import hashlib
import time

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError
from kubernetes.aio import client
from kubernetes.aio.stream import WsApiClient
from kubernetes.aio.stream.ws_client import ERROR_CHANNEL, STDERR_CHANNEL, STDIN_CHANNEL, STDOUT_CHANNEL

from k8s_ws_proxy.wire.framing.channels import CLOSE, V4, V5

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXEC = "/api/v1/namespaces/default/pods/shell/exec"


@pytest.fixture
def open_api(shared_daemon):
    """The client's API object, signed; it is a context."""

    def open_(*, subprotocol=V4, **signing):
        configuration = client.Configuration()
        configuration.host = shared_daemon.url
        ws_client = WsApiClient(configuration)
        for name, value in shared_daemon.headers(EXEC, **signing).items():
            ws_client.set_default_header(name, value)
        ws_client.set_default_header("sec-websocket-protocol", subprotocol)  # by itself it offers v4
        return ws_client

    return open_


def streams(*command, stdin=False):
    return {"command": list(command), "container": "shell", "stdin": stdin, "stdout": True, "stderr": True}


async def exec_(api_client, *command, stdin=False):
    """The WebSocket, which is a context."""
    return await client.CoreV1Api(api_client).connect_get_namespaced_pod_exec_without_preload_content(
        "shell", "default", **streams(*command, stdin=stdin)
    )


async def read_all(socket):
    """All that comes, by channel, and the close code."""
    output = {}
    async for message in socket:
        assert message.type is WSMsgType.BINARY
        if len(message.data) > 1:
            output.setdefault(message.data[0], []).append(message.data[1:])
    return {channel: b"".join(parts) for channel, parts in output.items()}, socket.close_code


async def test_the_plain_call_returns_the_output(open_api):
    async with open_api() as api:
        output = await client.CoreV1Api(api).connect_get_namespaced_pod_exec(
            "shell", "default", **streams("echo", "two words")
        )
    assert output == "two words\n"


@pytest.mark.parametrize("subprotocol", [V4, V5])
@pytest.mark.parametrize("code", [0, 3])
async def test_exit_code_and_errors_apart(open_api, subprotocol, code):
    async with (
        open_api(subprotocol=subprotocol) as api,
        await exec_(api, "sh", "-c", f"echo out; echo err >&2; exit {code}") as socket,
    ):
        output, closed = await read_all(socket)
    assert (output[STDOUT_CHANNEL], output[STDERR_CHANNEL]) == (b"out\n", b"err\n")
    assert api.parse_error_data(output[ERROR_CHANNEL]) == code
    assert closed == 1000


async def test_50_mb_of_output_by_hash(open_api, bulk):
    async with open_api() as api, await exec_(api, "sh", "-c", bulk.script) as socket:
        output, _ = await read_all(socket)
    assert hashlib.sha256(output[STDOUT_CHANNEL]).hexdigest() == bulk.sha256
    assert api.parse_error_data(output[ERROR_CHANNEL]) == 0


async def test_50_mb_of_stdin_to_its_end_by_hash(open_api, bulk):
    async with open_api(subprotocol=V5) as api, await exec_(api, "sha256sum", stdin=True) as socket:
        for offset in range(0, len(bulk.data), 1_000_000):
            await socket.send_bytes(bytes((STDIN_CHANNEL,)) + bulk.data[offset : offset + 1_000_000])
        await socket.send_bytes(bytes((CLOSE, STDIN_CHANNEL)))
        output, _ = await read_all(socket)
    assert output[STDOUT_CHANNEL] == f"{bulk.sha256}  -\n".encode()
    assert api.parse_error_data(output[ERROR_CHANNEL]) == 0


async def test_an_old_signature_is_refused(open_api):
    async with open_api(now=time.time() - 1000) as api:
        with pytest.raises(WSServerHandshakeError) as caught:
            async with await exec_(api, "true"):
                pass
    assert caught.value.status == 401
