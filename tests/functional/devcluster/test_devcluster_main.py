"""`python -m k8s_ws_proxy.devcluster`."""

import asyncio
import json
import re
import signal
import ssl
import sys
from pathlib import Path

import pytest


async def start(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "k8s_ws_proxy.devcluster", *arguments, stdout=-1, stderr=-1, cwd=Path(__file__).parents[3]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_everything_is_and_leaves_nothing(number):
    program = await start()
    lines = [await program.stdout.readline() for _ in range(7)]
    text = b"".join(lines).decode()
    files = [Path(file) for file in re.findall(r"(/\S+)", text.split("\n", 1)[1])]
    assert re.match(r"url +https://127\.0\.0\.1:\d+\n", text)
    assert {file.name for file in files} >= {"ca.crt", "kubeconfig", "admin.token", "proxy.token"}
    assert all(file.read_text() for file in files)
    program.send_signal(number)
    assert await program.wait() == 0
    assert await program.stderr.read() == b""
    assert [file for file in files if file.exists() or file.parent.exists()] == []


async def test_a_taken_port_is_said_and_ends_with_1():
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        program = await start("--port", str(port))
        _, stderr = await program.communicate()
    assert program.returncode == 1
    assert stderr.decode() == f"can't listen on 127.0.0.1:{port}: Address already in use\n"


async def test_the_audit_log_is_appended_to_a_file(tmp_path):
    file = tmp_path / "audit.log"
    file.write_text("{}\n")
    program = await start("--audit-log", str(file))
    url = (await program.stdout.readline()).decode().split()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=unverified())
    writer.write(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    program.terminate()
    assert await program.wait() == 0
    first, event = [json.loads(line) for line in file.read_text().splitlines()]
    assert (first, event["requestURI"], event["user"]["username"]) == ({}, "/version", "system:anonymous")


async def test_an_audit_log_that_cannot_be_written_is_said(tmp_path):
    program = await start("--audit-log", str(tmp_path / "nope" / "audit.log"))
    _, stderr = await program.communicate()
    assert program.returncode == 1
    assert stderr.decode() == f"can't write {tmp_path}/nope/audit.log: No such file or directory\n"


def unverified():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
