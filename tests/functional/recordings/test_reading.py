"""What the recorder writes, read while it does, and afterwards: by the routes and the command line."""

from __future__ import annotations

import json
import re

from support import rawws
from support.caller import on_terminal, opened, run, script
from support.command import Client
from support.sessions import call

from k8s_ws_proxy.observe import tasks
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

PATH = "/proxy/recordings"


async def test_a_session_is_followed_while_it_goes_on_and_read_when_it_has_ended(start, tmp_path):
    directory = tmp_path / "recordings"
    daemon = await start(RECORD="terminals", RECORDING_DIR=str(directory), NODE_NAME="node-a")
    async with opened(daemon, on_terminal('stty -echo; echo first; read a; echo "second $a"; exit 3')) as ws:
        session = ws.answer.headers["x-session-id"]
        await ws.until(STDOUT, b"first")
        (told,) = json.loads((await call(daemon, "GET", PATH)).body)["recordings"]
        assert (told["sessionId"], told["state"], told["tty"], told["ended"]) == (session, "recording", True, None)
        assert (await call(daemon, "GET", f"{PATH}/{session}/receipt")).status == 404
        target = f"{PATH}/{session}?follow=true"
        headers = "".join(f"{name}: {value}\r\n" for name, value in daemon.headers_v2(target).items())
        data = f"GET {target} HTTP/1.1\r\nHost: proxy\r\n{headers}\r\n".encode()
        async with rawws.connected(daemon.port, data) as following:
            reading = tasks.start(rawws.read_chunks(following.reader), name="follow")
            await ws.send(STDIN, b"words\n")
            await ws.finish()
            followed = await reading
    cast = (directory / path_of(session)).read_bytes()
    assert followed == cast
    assert b"second words" in cast
    assert (await call(daemon, "GET", f"{PATH}/{session}")).body == cast
    receipt = await call(daemon, "GET", f"{PATH}/{session}/receipt")
    assert json.loads(receipt.body)["exitCode"] == 3
    (told,) = json.loads((await call(daemon, "GET", PATH)).body)["recordings"]
    sealed = json.loads(receipt.body)
    assert {name: value for name, value in told.items() if name != "state"} == {
        name: value for name, value in sealed.items() if name not in ("version", "key", "hmac")
    }
    client = Client(daemon.url, tmp_path / "secret", tmp_path, "recordings")
    file = tmp_path / "x.cast"
    assert await client.run("get", session, "-o", str(file), "--receipt") == (0, b"", "")
    status, stdout, _ = await client.run("verify", str(file), "--secret-file", str(tmp_path / "secret"))
    assert (status, "are as the proxy wrote them" in stdout.decode()) == (0, True)
    status, stdout, _ = await client.run("export", str(file), "--format", "text")
    assert (status, stdout.decode()) == (0, "first\nsecond words\n")


async def test_a_session_on_pipes_is_text_as_it_was(start, tmp_path):
    daemon = await start(RECORD="all", RECORDING_DIR=str(tmp_path / "recordings"))
    await run(daemon, script("seq 1 100; echo done"))
    session = (await daemon.event("recording finished"))["session"]
    client = Client(daemon.url, tmp_path / "secret", tmp_path, "recordings")
    status, stdout, _ = await client.run("export", session, "--format", "text")
    assert (status, stdout.decode().split()) == (0, [*map(str, range(1, 101)), "done"])
    assert not re.search(r"^ ", stdout.decode(), re.MULTILINE)


async def test_what_an_editor_showed(start, tmp_path):
    daemon = await start(RECORD="terminals", RECORDING_DIR=str(tmp_path / "recordings"))
    (tmp_path / "poem.txt").write_text("".join(f"verse {number}\n" for number in range(1, 60)))
    async with opened(
        daemon, on_terminal(f"stty rows 24 cols 80; echo before; TERM=xterm vi {tmp_path}/poem.txt; echo after")
    ) as ws:
        await ws.until(STDOUT, b"verse 20")
        await ws.send(STDIN, b"G")
        await ws.until(STDOUT, b"Bot")  # it draws what differs only
        await ws.send(STDIN, b":q!\r")
        await ws.finish()
        session = ws.answer.headers["x-session-id"]
    await daemon.event("recording finished", session=session)
    client = Client(daemon.url, tmp_path / "secret", tmp_path, "recordings")
    status, stdout, _ = await client.run("export", session, "--format", "text")
    lines = [line.strip() for line in stdout.decode().splitlines()]
    assert status == 0
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "verse 59" in lines
