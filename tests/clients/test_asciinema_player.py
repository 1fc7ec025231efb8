"""What asciinema-player makes of a recording is what a terminal made of the session, cell by cell."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
from pathlib import Path

import pytest
from support.caller import on_terminal, opened, script
from support.daemon import running_daemon
from support.recordings import finished

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDERR, STDIN, STDOUT

HERE = Path(__file__).parent


@pytest.fixture
async def daemon(tmp_path):
    environ = {"RECORD": "all", "RECORDING_DIR": str(tmp_path / "recordings"), "RECORDING_MIN_FREE": "0"}
    async with DevCluster() as cluster:
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
        async with running_daemon(kubeconfig, tmp_path, **environ) as running:
            yield running


class Person:
    """At a terminal: types, changes its size, and keeps what was shown, in its order."""

    def __init__(self, ws):
        self.session = ws.answer.headers["x-session-id"]
        self.live = []
        self._shown = bytearray()
        self._seen = 0
        self._ws = ws

    async def resizes(self, columns, rows):
        await self._ws.send(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())
        self.live.append(["r", columns, rows])

    async def types(self, data):
        await self._ws.send(STDIN, data)

    async def sees(self, wanted):
        """``wanted`` is shown, after what was seen before."""
        while (found := self._shown.find(wanted, self._seen)) < 0:
            assert await self._frame(), bytes(self._shown[-500:])
        self._seen = found + len(wanted)

    async def sees_the_end(self):
        while await self._frame():
            pass

    async def _frame(self):
        frame = await self._ws.frame()
        if frame is None or frame.opcode == frames.CLOSE:
            return False
        if frame.opcode == frames.BINARY and frame.payload[:1] in (bytes((STDOUT,)), bytes((STDERR,))):
            self._shown += frame.payload[1:]
            self.live.append(["o", base64.b64encode(frame.payload[1:]).decode()])
        return True


@contextlib.asynccontextmanager
async def at(daemon, target):
    async with opened(daemon, target, limit=1 << 22) as ws:
        yield Person(ws)


async def compared(daemon, tmp_path, session, live):
    """Both are the same; what was played, and the recording as it stands there."""
    cast, _ = await finished(daemon, tmp_path / "recordings", session)
    (tmp_path / "live").write_text("".join(f"{json.dumps(each)}\n" for each in live))
    node = shutil.which("node")
    assert node, "node is needed"
    process = await asyncio.create_subprocess_exec(
        node,
        HERE / "play.mjs",
        tmp_path / "recordings" / path_of(session),
        tmp_path / "live",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    told = json.loads(out)
    played, lived = told["played"], told["lived"]
    for name in ("size", "text", "cursor", "kind", "cells"):
        assert played[name] == lived[name], name
    return played, cast


async def test_a_shell(daemon, tmp_path):
    async with at(daemon, on_terminal("PS1='$ ' exec bash --norc --noprofile")) as person:
        await person.resizes(100, 30)
        await person.sees(b"$ ")
        await person.types(b"printf '\\e[1;31mred\\e[0m Gr\\303\\274\\303\\237e \\342\\202\\254\\n'\r")
        await person.sees("Grüße €\r\n".encode())
        await person.sees(b"$ ")
        await person.resizes(60, 20)
        await person.types(b"stty size\r")
        await person.sees(b"20 60\r\n")
        await person.sees(b"$ ")
        await person.types(b"ls nothing-here; seq 1 40\r")
        await person.sees(b"40\r\n")
        await person.types(b"exit 3\r")
        await person.sees_the_end()
    played, cast = await compared(daemon, tmp_path, person.session, person.live)
    assert played["size"] == [60, 20]
    assert any(line.startswith("red Grüße €") for line in played["text"])
    assert cast.of("x") == ["3"]


async def test_vi(daemon, tmp_path):
    async with at(daemon, on_terminal("export TERM=xterm; stty size >/dev/null; read a; exec vi -u NONE")) as person:
        await person.resizes(90, 25)
        await person.types(b"\r")
        await person.sees(b"~")
        await person.types("iGrüße aus vi\x1b".encode())
        await person.sees(b"aus vi")
        await person.resizes(70, 18)
        await person.types(b"yy20p")
        await person.sees(b"lines")
        await person.types(b"\x1b:q!\r")
        await person.sees_the_end()
    played, _ = await compared(daemon, tmp_path, person.session, person.live)
    assert played["size"] == [70, 18]
    assert played["kind"] == "normal"


async def test_top(daemon, tmp_path):
    async with at(daemon, on_terminal("export TERM=xterm; read a; exec top -d 0.2 -n 4")) as person:
        await person.resizes(110, 20)
        await person.types(b"\r")
        await person.sees_the_end()
    played, _ = await compared(daemon, tmp_path, person.session, person.live)
    assert any("PID" in line for line in played["text"])


async def test_output_and_errors_in_their_order(daemon, tmp_path):
    text = "for i in 1 2 3; do echo out $i; sleep 0.05; echo err $i >&2; sleep 0.05; done"
    async with at(daemon, script(text)) as person:
        await person.sees_the_end()
    played, cast = await compared(daemon, tmp_path, person.session, person.live)
    assert cast.text() == "".join(f"out {i}\nerr {i}\n" for i in (1, 2, 3))
    assert [line.strip() for line in played["text"] if line.strip()][:2] == ["out 1", "err 1"]


async def test_characters_cut_at_every_byte(daemon, tmp_path):
    """Each byte is a message of its own, or as good as that."""
    text = "aä€𝄞é漢字🙂z"
    octal = " ".join(f"{each:03o}" for each in text.encode())
    async with at(
        daemon, on_terminal(f'stty -opost; for o in {octal}; do printf "\\\\$o"; sleep 0.02; done')
    ) as person:
        await person.sees_the_end()
    played, cast = await compared(daemon, tmp_path, person.session, person.live)
    assert cast.text() == text
    assert "\ufffd" not in cast.text()
    assert played["text"][0].startswith(text)


async def test_bytes_that_are_no_text(daemon, tmp_path):
    """A player shows what a terminal makes of them."""
    text = "stty -opost; printf 'a\\377\\376\\000\\001\\302b\\360\\237\\n'; printf c"
    async with at(daemon, on_terminal(text)) as person:
        await person.sees_the_end()
    _, cast = await compared(daemon, tmp_path, person.session, person.live)
    assert cast.text() == "a\ufffd\ufffd\x00\x01\ufffdb\ufffd\nc"


async def test_binary_output(daemon, tmp_path):
    """As a file that somebody fetches by it."""
    async with at(daemon, script("head -c 300000 /dev/urandom")) as person:
        await person.sees_the_end()
    said = b"".join(base64.b64decode(data) for _, data in person.live)
    assert len(said) == 300_000
    cast, receipt = await finished(daemon, tmp_path / "recordings", person.session)
    assert cast.text() == said.decode("utf-8", "replace")
    assert receipt["replaced"] == cast.text().count("\ufffd") - said.count("\ufffd".encode())


@pytest.mark.parametrize(
    "count", [5_000_000, pytest.param(100_000_000, marks=pytest.mark.soak)], ids=["5 MB", "100 MB"]
)
async def test_a_flood(daemon, tmp_path, count):
    async with at(
        daemon, on_terminal(f"stty -opost; seq 1 20000000 | head -c {count}; printf '\\033[1mdone'")
    ) as person:
        await person.sees_the_end()
    played, _ = await compared(daemon, tmp_path, person.session, person.live)
    assert played["length"] == count + len("\033[1mdone")
    assert played["events"] < count / 2048, "a read of the pty is 4095 bytes, and may be an event: no line is one"
