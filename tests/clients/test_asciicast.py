"""Recordings as asciinema-player reads them, beside our own reader: the same events, whatever was written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.caller import on_terminal, opened, run, script
from support.daemon import running_daemon

from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading, comment
from k8s_ws_proxy.wire.recording.cast_reader import CastReader

HERE = Path(__file__).parent
PIECES = (
    b"plain\r\n",
    "ünïcödé 漢字 \U0001f600".encode(),
    b"\xff\xfe\x00\x01binary\x80",
    b"\x1b[31mred\x1b[0m\x07\x1b]0;title\x07",
    "é".encode()[:1],
    "é".encode()[1:],
    b'"quoted" \\ and \xe2\x80\xa8 separators \xe2\x80\xa9',
    b'\n[0, "o", "no event"]\n# no comment\n',
    b"x" * 65536,
)


async def theirs(path):
    process = await asyncio.create_subprocess_exec(
        "node", HERE / "asciicast.mjs", path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return json.loads(stdout)


def ours(path):
    reader = CastReader()
    events = reader.feed(path.read_bytes()) + reader.end()
    return reader, events


async def same(path):
    their, (reader, events) = await theirs(path), ours(path)
    assert (their["cols"], their["rows"]) == (reader.header.columns, reader.header.rows)
    assert [each[1:] for each in their["events"]] == [[event.code, event.data] for event in events]
    assert [each[0] / 1000 for each in their["events"]] == pytest.approx([event.at for event in events], abs=1e-6)
    return events


async def test_whatever_was_written(tmp_path):
    cast = Cast(Heading("default/web/web", 1_700_000_000, ["sh", "-c", "x"], ("exec",)))
    written = cast.resized(0, 132, 43)
    for number, piece in enumerate(PIECES):
        written += cast.data(number / 7, STDOUT, piece) + cast.data(number / 7, STDIN, piece)
    written += cast.resized(5, 100, 30) + comment("a word") + cast.exited(6, 3)
    path = tmp_path / "x.cast"
    path.write_bytes(written)
    events = await same(path)
    assert events[-1].data == "3"
    assert len(events) >= 2 * len(PIECES)


@pytest.mark.asyncio(loop_scope="module")
async def test_sessions_that_were_recorded(shared_cluster, tmp_path):
    directory = tmp_path / "recordings"
    kubeconfig = shared_cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
    async with running_daemon(kubeconfig, tmp_path, RECORD="all", RECORDING_DIR=str(directory)) as daemon:
        text = "stty -echo; read a; printf '\\033[1mbold\\033[0m \\303\\274\\n'; exit 3"
        async with opened(daemon, on_terminal(text)) as ws:
            await ws.send(RESIZE, b'{"Width":100,"Height":30}')
            await ws.send(STDIN, b"\n")
            await ws.finish()
        await run(daemon, script("head -c 300000 /dev/urandom; echo err >&2"))
        await daemon.event("recording finished", count=2)
        for line in [line for line in daemon.log if line["event"] == "recording finished"]:
            events = await same(directory / path_of(line["session"]))
            assert any(event.code == "o" for event in events)
