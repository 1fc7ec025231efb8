"""What becomes of sessions and recordings when the disk is full, broken or gone, and when the daemon is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import signal
import time

import pytest
from support import disks
from support.caller import ask, descriptors, get, on_terminal, opened, refusal_of, run, script
from support.daemon import children, running_daemon
from support.recorder import settled
from support.recordings import Cast, finished, holds, none_open, read

from k8s_ws_proxy.recordings.paths import path_of, receipt_of
from k8s_ws_proxy.recordings.recording import MOST_WAITING
from k8s_ws_proxy.relay.read_budget import BLOCK_SIZE
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT

ENDLESS = "while :; do head -c 4000 /dev/zero | tr '\\0' x; done"


@pytest.fixture
def record(start):
    """Starts a daemon that records into ``directory``."""

    async def record_(directory, *, required=True, **environ):
        environ = {"RECORDING_MIN_FREE": "0", "RECORDING_REQUIRED": str(required), **environ}
        return await start(RECORD="all", RECORDING_DIR=str(directory), **environ)

    return record_


def of(text):
    """What a session of a daemon with that answer is: required or not."""
    return pytest.mark.parametrize("required", [True, False], ids=["required", text])


async def session_of(ws):
    return ws.answer.headers["x-session-id"]


async def says(ws, count):
    """So many bytes more."""
    while count > 0:
        frame = await ws.frame()
        assert frame is not None
        count -= len(frame.payload)


async def given_up(ws):
    """The session is ended, the person is told why, and so is the program."""
    ended = await ws.finish()
    assert b"this session can't be recorded any more, and it has to be" in ended.output[STDOUT]
    assert (ended.code, ended.status["status"]) == (1011, "Failure")


async def records_again(daemon, directory, text):
    async with opened(daemon, script(f"echo {text}")) as ws:
        ended = await ws.finish()
        cast, receipt = await finished(daemon, directory, await session_of(ws))
    assert ended.text(STDOUT) == f"{text}\n"
    assert (cast.text(), receipt["problem"], receipt["ending"]) == (f"{text}\n", "", "command_ended")
    ready = json.loads((await get(daemon, "/readyz")).body)
    assert ready["checks"]["recording"] == "ok"


@pytest.mark.netns
@of("not required")
async def test_a_disk_that_is_full_in_the_middle_of_a_flood(record, tmp_path, required):
    with disks.small(tmp_path / "disk", "2m") as directory:
        daemon = await record(directory, required=required)
        async with opened(daemon, on_terminal(ENDLESS)) as ws:
            session = await session_of(ws)
            if required:
                await given_up(ws)
            else:
                await says(ws, 4_000_000)  # it goes on beyond what the disk can take
        await daemon.event("recording failed", problem="No space left on device", required=required)
        ending = "recording_failed" if required else "client_left"
        await daemon.event("session ended", session=session, reason=ending)
        cast = Cast((directory / path_of(session)).read_bytes())
        assert set(cast.text()) == {"x"}
        assert len(cast.text()) > 1_500_000
        # Where not even its receipt had room, it comes as soon as it has.
        with contextlib.suppress(OSError), (directory / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(4096))
                filler.flush()
        answer = await _refused_or_not(daemon, required)
        assert answer == (503 if required else 101)
        (directory / "filler").unlink(missing_ok=True)
        (directory / path_of(session)).unlink()  # as who makes room does
        await daemon.event("recording finished", session=session)
        receipt = json.loads((directory / receipt_of(path_of(session))).read_text())
        assert (receipt["problem"], receipt["ending"]) == ("recording failed: No space left on device", ending)
        await records_again(daemon, directory, "again")


async def _refused_or_not(daemon, required):
    if not required:
        async with opened(daemon, script("true")) as ws:
            await ws.finish()
            return ws.answer.status
    answer = await ask(daemon, script("true"))
    assert refusal_of(answer, "")[1] == "recording_unavailable"
    return answer.status


@pytest.mark.netns
@of("not required")
async def test_a_disk_that_breaks_and_turns_read_only(record, tmp_path, required):
    with disks.breakable(tmp_path) as disk:
        directory = disk.at / "recordings"
        daemon = await record(directory, required=required)
        async with opened(daemon, on_terminal("stty -echo; echo first; cat")) as ws:
            session = await session_of(ws)
            await ws.until(STDOUT, b"first")
            await holds(directory / path_of(session), b"first")
            disk.fail()
            await ws.send(STDIN, b"second\n")
            await daemon.event("recording failed", problem="Read-only file system")
            if required:
                await given_up(ws)
            else:
                await ws.send(STDIN, b"third\n")
                await ws.until(STDOUT, b"third")
        assert await _refused_or_not(daemon, required) == (503 if required else 101)
        assert "Read-only" in json.loads((await get(daemon, "/readyz")).body)["checks"]["recording"]
        cast = Cast((directory / path_of(session)).read_bytes())
        assert cast.text() == "first\r\n"
        disk.replace()
        await daemon.event("recording finished", session=session)
        receipt = json.loads((directory / receipt_of(path_of(session))).read_text())
        assert receipt["problem"] == "recording failed: Read-only file system"
        await records_again(daemon, directory, "again")


@pytest.mark.netns
@of("not required")
@pytest.mark.parametrize("how", ["moved", "removed", "unmounted"])
async def test_a_directory_that_is_taken_away(record, tmp_path, required, how):
    """It is made anew for who comes next, and what was recorded there has failed."""
    with disks.small(tmp_path / "disk", "8m") as disk:
        directory = disk / "recordings" if how != "unmounted" else disk
        daemon = await record(directory, required=required)
        async with opened(daemon, on_terminal("stty -echo; echo first; cat")) as ws:
            session = await session_of(ws)
            await ws.until(STDOUT, b"first")
            await holds(directory / path_of(session), b"first")
            match how:
                case "moved":
                    directory.rename(disk / "elsewhere")
                case "removed":
                    for path in sorted(directory.rglob("*"), reverse=True):
                        path.unlink() if path.is_file() else path.rmdir()
                    directory.rmdir()
                case "unmounted":
                    disks.replace(disk)
            await daemon.event("recording failed", session=session, required=required)
            if required:
                await given_up(ws)
            else:
                await ws.send(STDIN, b"third\n")
                await ws.until(STDOUT, b"third")
        await daemon.event("recording finished", session=session)
        receipt = json.loads((directory / receipt_of(path_of(session))).read_text())
        assert "taken away" in receipt["problem"]
        await records_again(daemon, directory, "again")


async def test_a_receipt_for_which_there_is_no_descriptor_comes_when_there_is(record, tmp_path):
    """The session itself needs none more; who comes new is told by the limits that hold for all."""
    directory = tmp_path / "recordings"
    daemon = await record(directory)
    before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    async with opened(daemon, on_terminal("stty -echo; echo first; cat")) as ws:
        session = await session_of(ws)
        await ws.until(STDOUT, b"first")
        await holds(directory / path_of(session), b"first")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        await ws.send(STDIN, b"second\n\x04")
        ended = await ws.finish()
        assert ended.exit_code == 0
    await daemon.event("recording failed", problem="its receipt can't be written: Too many open files")
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
    cast, receipt = await finished(daemon, directory, session)
    assert (cast.text(), receipt["problem"], receipt["exitCode"]) == ("first\r\nsecond\r\n", "", 0)
    await records_again(daemon, directory, "again")


async def test_recordings_leave_no_descriptor_behind(record, tmp_path):
    daemon = await record(tmp_path / "recordings")
    await run(daemon, script("true"))
    await finished(daemon, tmp_path / "recordings")

    def there():
        return sorted(name for name in descriptors(daemon) if name.startswith(str(tmp_path)))

    before = there()
    for count in range(10):
        await run(daemon, script("echo x"))
        await run(daemon, on_terminal("echo x", pod="missing") if count % 2 else script("exit 3"))
    for _ in range(2):
        await daemon.event("recording finished", count=16)
    await settled(lambda: there() == before)  # nobody is told of one that never began and is thrown away


# The daemon is killed, or ends.


class Reader:
    """Reads a session as it comes, and when; until its connection breaks."""

    def __init__(self, ws):
        self.session = ws.answer.headers["x-session-id"]
        self.output = bytearray()
        self._when = []  # (monotonic seconds, how much had come)
        self._ws = ws

    async def read(self):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while (frame := await self._ws.frame()) is not None:
                if frame.opcode == frames.BINARY and frame.payload[:1] == bytes((STDOUT,)):
                    self.output += frame.payload[1:]
                    self._when.append((time.monotonic(), len(self.output)))

    def had(self, moment):
        """What had come by then."""
        return bytes(self.output[: max((count for when, count in self._when if when <= moment), default=0)])


LOADS = (
    ENDLESS,
    "i=0; while :; do i=$((i+1)); echo line $i; done",
    "i=0; while :; do i=$((i+1)); printf '€%d𝄞\\r' $i; sleep 0.01; done",
    "echo once; sleep 60",
)


@contextlib.asynccontextmanager
async def under_load(daemon):
    """Sessions of each kind, which are read as they come."""
    async with contextlib.AsyncExitStack() as stack:
        readers, tasks = [], []
        for load in LOADS:
            readers.append(Reader(await stack.enter_async_context(opened(daemon, on_terminal(load)))))
            tasks.append(asyncio.get_running_loop().create_task(readers[-1].read()))
        yield readers
        await asyncio.gather(*tasks)


async def on_disk(directory, reader):
    """What the reader has by now, as soon as that is in the file: nothing more has to be said for it."""
    had, path = bytes(reader.output), directory / path_of(reader.session)
    while True:
        written = path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if whole and len(Cast(whole).text().encode()) >= len(had):
            return had
        await asyncio.sleep(0.02)


async def killed_again_and_again(kubeconfig, tmp_path, rounds, seed, lost=None):
    """The daemon is killed ``rounds`` times, and each next one finishes what it finds.

    With ``lost`` that many seconds at most are lost, on a machine that has time for the daemon's thread. Without, what
    had got to the disk is there, and of a flood what may wait for the disk at most is missing.
    """
    directory = tmp_path / "recordings"
    environ = {"RECORD": "all", "RECORDING_DIR": str(directory), "RECORDING_MIN_FREE": "0"}
    moments = random.Random(seed)
    before, safe, killed = [], [], 0.0
    for _ in range(rounds + 1):
        async with running_daemon(kubeconfig, tmp_path, **environ) as daemon:
            for number, reader in enumerate(before):
                cast, receipt = await finished(daemon, directory, reader.session)
                assert (receipt["ending"], receipt["problem"]) == ("interrupted", "interrupted")
                assert cast.comments == ["interrupted"]
                kept, whole = cast.text().encode(), bytes(reader.output)
                if lost is not None:
                    assert kept.startswith(reader.had(killed - lost)), "more than that is lost"
                elif number:
                    assert kept.startswith(safe[number - 1]), "what was there is lost"
                else:
                    assert len(whole) - len(kept) <= MOST_WAITING + BLOCK_SIZE, "more than may wait is lost"
                assert kept[: len(whole)] == whole[: len(kept)], "what is there is what was said"
                assert receipt["pod"] == "shell"
            await none_open(directory)
            for path in directory.glob("2*/*/*/*.cast"):
                path.unlink()  # a flood each
            async with under_load(daemon) as before:
                await asyncio.sleep(1.2 if lost is not None else 0.2)
                if lost is None:
                    safe = [await on_disk(directory, reader) for reader in before[1:]]
                await asyncio.sleep(moments.random())
                for pid in children(daemon.process.pid):
                    assert not pid
                killed = time.monotonic()
                daemon.process.send_signal(signal.SIGKILL)
                await daemon.wait()


async def test_killed_at_any_moment(kubeconfig, tmp_path):
    """Every file can be played, has lost the last at most, and is finished by the next daemon."""
    await killed_again_and_again(kubeconfig, tmp_path, 8, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_killed_at_a_hundred_moments(kubeconfig, tmp_path):
    await killed_again_and_again(kubeconfig, tmp_path, 100, seed=time.time_ns(), lost=1.0)


async def test_killed_while_it_begins_finishes_and_ends(kubeconfig, tmp_path):
    """At any moment of short sessions: nothing is left unfinished, and there is no recording without a receipt."""
    directory = tmp_path / "recordings"
    environ = {"RECORD": "all", "RECORDING_DIR": str(directory), "RECORDING_MIN_FREE": "0"}
    moments = random.Random(2)
    for _ in range(6):
        async with running_daemon(kubeconfig, tmp_path, **environ) as daemon:

            async def again(daemon=daemon):
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, AssertionError):
                    while True:
                        await run(daemon, script("echo x"))

            sessions = [asyncio.get_running_loop().create_task(again()) for _ in range(4)]
            await daemon.event("recording finished")
            await asyncio.sleep(moments.random() / 2)
            daemon.process.send_signal(signal.SIGKILL)
            await daemon.wait()
            await asyncio.gather(*sessions)
    async with running_daemon(kubeconfig, tmp_path, **environ) as daemon:
        await run(daemon, script("echo x"))
        await daemon.logged(lambda line: line.get("event") == "recording finished" and not line.get("interrupted"))
        await none_open(directory)
        found = sorted(path.stem for path in directory.glob("2*/*/*/*.cast"))
        assert found == sorted(path.stem for path in directory.glob("2*/*/*/*.json"))
        assert list(directory.rglob("*.new")) == []
        for session in found:
            read(directory, session, daemon.secret)


async def test_a_daemon_that_is_told_to_end_finishes_what_it_ends(record, tmp_path):
    directory = tmp_path / "recordings"
    daemon = await record(directory, DRAIN_TIMEOUT="0s")
    async with contextlib.AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(opened(daemon, on_terminal(f"stty -echo; echo ready {number}; cat")))
            for number in range(20)
        ]
        for number, ws in enumerate(sessions):
            await ws.until(STDOUT, f"ready {number}".encode())
        daemon.process.send_signal(signal.SIGTERM)
        ends = [await ws.finish() for ws in sessions]
        assert await daemon.wait() == 0
    for number, (ws, ended) in enumerate(zip(sessions, ends, strict=True)):
        cast, receipt = read(directory, ws.answer.headers["x-session-id"], daemon.secret)
        assert (receipt["ending"], receipt["problem"]) == ("drained", "")
        assert cast.text().startswith(f"ready {number}")
        assert cast.text().endswith("the proxy on this node is shutting down.\r\n")
        assert ended.text(STDOUT).endswith(cast.text()[-40:])
    assert list(directory.glob(".daemons/*/open/*")) == []


async def test_two_daemons_at_once_and_one_is_killed(record, tmp_path):
    """The other one doesn't touch what it has while it lives, and takes it over when it is gone."""
    directory = tmp_path / "recordings"
    one, other = await asyncio.gather(record(directory), record(directory))
    async with (
        opened(one, on_terminal("echo one; cat")) as first,
        opened(other, on_terminal("echo two; cat")) as second,
    ):
        for ws, text in ((first, b"one"), (second, b"two")):
            await ws.until(STDOUT, text)
            await holds(directory / path_of(ws.answer.headers["x-session-id"]), text)
        one.process.send_signal(signal.SIGKILL)
        await one.wait()
        cast, receipt = await finished(other, directory, await session_of(first))
        assert (cast.text(), receipt["ending"]) == ("one\r\n", "interrupted")
        heir = await record(directory)
        await second.send(STDIN, b"\x04")
        assert (await second.finish()).exit_code == 0
        cast, receipt = await finished(other, directory, await session_of(second))
        assert (receipt["ending"], receipt["problem"]) == ("command_ended", "")
        assert cast.text().startswith("two\r\n")
    assert not [line for line in heir.log if line["event"] == "recording finished"]
