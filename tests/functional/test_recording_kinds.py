"""What is recorded of each way to a container: both paths and protocols, guacd, the shared terminal, odd commands."""

from __future__ import annotations

import json

import pytest
from support import guacd
from support.caller import TTY, V4, V5, api_exec, on_terminal, opened, proxy_exec, run, script
from support.pki import Pki
from support.recordings import finished
from support.sessions import presented, ticket_to

from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "recordings"


@pytest.fixture
def record(start, directory):
    async def record_(**environ):
        return await start(RECORD="all", RECORDING_DIR=str(directory), RECORDING_MIN_FREE="0", **environ)

    return record_


@pytest.mark.parametrize("subprotocol", [V4, V5])
async def test_on_the_apiserver_s_path(record, directory, subprotocol):
    daemon = await record()
    streams = {"stdin": "true", "stdout": "true", "tty": "true"}
    target = api_exec("sh", "-c", "echo ready; read a; exit 300", **streams)
    async with opened(daemon, target, subprotocols=(subprotocol,)) as ws:
        await ws.until(STDOUT, b"ready")
        await ws.send(STDIN, b"\n")
        await ws.finish()
    cast, receipt = await finished(daemon, directory)
    assert cast.text().startswith("ready\r\n")
    assert cast.of("x") == [str(300 & 0xFF)]
    assert (receipt["namespace"], receipt["pod"], receipt["container"]) == ("default", "shell", "shell")
    assert cast.header["title"] == "default/shell/shell"


async def test_what_the_proxy_adds_to_a_command_is_not_recorded(record, directory, tmp_path):
    """Neither the script that hangs up what is left, nor what that says first."""
    daemon = await record(REAP_ORPHANS="true", STATE_DIR=str(tmp_path / "state"))
    ended = await run(daemon, on_terminal("echo said"))
    cast, receipt = await finished(daemon, directory)
    assert cast.text() == ended.text(STDOUT) == "said\r\n"
    assert receipt["command"] == ["sh", "-c", "echo said"]
    assert cast.header["command"] == "sh -c 'echo said'"


async def test_guacamole_is_told_and_recorded(start, directory, tmp_path):
    """What guacd is sent in pieces that it can take is one text, and its line says that it is recorded."""
    pki = Pki(tmp_path)
    environ = {"RECORD": "terminals", "RECORDING_DIR": str(directory), "RECORDING_MIN_FREE": "0"}
    daemon = await start(**pki.environ(), **environ, GUACD_SUBJECTS="guacd", RECORDING_NOTICE="true")
    request = guacd.request("/bin/sh", "-c", "sleep 0.5; seq 1 20000; exit 4")
    async with guacd.connected(daemon.ports["https"], pki.servers.client(pki.callers.leaf("guacd")), request) as seen:
        await seen.finish()
    cast, receipt = await finished(daemon, directory)
    assert "k8s-ws-proxy: this session is recorded.\r\n" in cast.text()
    assert "\r\n20000\r\n" in cast.text()
    assert cast.text().encode() == seen.terminal
    assert (receipt["exitCode"], receipt["problem"]) == (4, "")


async def test_a_shared_terminal(record, directory):
    daemon = await record(TMUX_CASCADE="true")
    ended = await run(daemon, on_terminal("echo said; sleep 0.2"))
    cast, receipt = await finished(daemon, directory)
    assert cast.text() == ended.text(STDOUT)
    assert "said" in cast.text()
    assert receipt["command"] == ["sh", "-c", "echo said; sleep 0.2"]


@pytest.mark.parametrize(
    "argument",
    [
        "\udcff\udcfe",
        "a\u2028b\x1b[31m\r\n",
        "'; rm -rf /; '",
        "𝄞" * 100,
        "\ufffe\uffff",
        "x" * 48_000,
        "\x01" * 20_000,
    ],
    ids=[
        "no UTF-8",
        "controls",
        "quotes",
        "beyond the BMP",
        "no characters",
        "48 KB",
        "20 KB, each of which is escaped",
    ],
)
async def test_odd_commands(record, directory, argument):
    daemon = await record()
    ended = await run(daemon, proxy_exec("printf", "%s", argument, tty="false"))
    cast, receipt = await finished(daemon, directory)
    said = argument.encode("utf-8", "surrogateescape")
    assert ended.output[STDOUT] == said
    assert cast.text() == said.decode("utf-8", "replace")
    assert receipt["command"] == ["printf", "%s", argument.encode("utf-8", "backslashreplace").decode()]
    assert json.loads(json.dumps(cast.header))["command"].startswith("printf %s ")


async def test_what_a_peer_types(record, directory):
    """It stands beside what the client typed, and only where that is wanted."""
    daemon = await record(RECORD_INPUT="true")
    async with opened(daemon, on_terminal("stty -echo; echo ready; read a; read b; echo $a $b")) as ws:
        await ws.until(STDOUT, b"ready")
        session = ws.answer.headers["x-session-id"]
        told = await ticket_to(daemon, session, "peer", User="ann")
        async with presented(daemon, told["path"], told["ticket"]) as peer:
            await peer.until(STDOUT, b"ready")
            await ws.send(STDIN, b"client\n")
            await peer.send(STDIN, b"peer\n")
            ended = await ws.finish()
        assert "k8s-ws-proxy: ann watches and may type" in ended.text(STDOUT)
    cast, receipt = await finished(daemon, directory, session)
    assert sorted(cast.text("i").splitlines()) == ["client", "peer"]
    assert [(each["user"], each["mode"]) for each in receipt["watchers"]] == [("ann", "peer")]
    assert receipt["recordingPath"] == path_of(session)


async def test_a_size_that_is_none_is_not_recorded(record, directory):
    daemon = await record()
    async with opened(daemon, proxy_exec("sh", "-c", "echo ready; read a", **TTY)) as ws:
        for size in (b'{"Width":true,"Height":24}', b'{"Width":0,"Height":0}', b'{"Width":65535,"Height":65535}'):
            await ws.send(4, size)
        await ws.until(STDOUT, b"ready")
        await ws.send(STDIN, b"\n")
        await ws.finish()
    cast, _ = await finished(daemon, directory)
    assert cast.header["term"] in ({"cols": 9999, "rows": 9999}, {"cols": 80, "rows": 24})
    assert set(cast.of("r")) <= {"9999x9999"}


async def test_one_that_nobody_waited_for_is_recorded_to_its_end(record, directory):
    daemon = await record()
    async with opened(daemon, script("echo said; sleep 60")) as ws:
        await ws.until(STDOUT, b"said")
        session = ws.answer.headers["x-session-id"]
    cast, receipt = await finished(daemon, directory, session)
    assert (cast.text(), receipt["ending"], receipt["exitCode"]) == ("said\n", "client_left", None)
