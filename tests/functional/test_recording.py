"""Recordings of a running daemon: what is recorded, what stands in it, and what became of the session."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from datetime import UTC, datetime

import pytest
from support import identities
from support.caller import (
    PIPES,
    TTY,
    ask,
    end_stdin,
    get,
    on_terminal,
    opened,
    proxy_exec,
    refusal_of,
    run,
    script,
    with_query,
)
from support.daemon import running_daemon
from support.recordings import Cast, finished, holds, none_open
from support.sessions import call, issue, listed, presented, ticket_to

from k8s_ws_proxy.devcluster import DevCluster
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDERR, STDIN, STDOUT

ADMIN = {"WS_PROXY_ADMIN_ADDR": "127.0.0.1:0"}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "recordings"


@pytest.fixture
def record(start, directory):
    """Starts a daemon that records."""

    async def record_(mode="all", **environ):
        return await start(RECORD=mode, RECORDING_DIR=str(directory), **environ)

    return record_


def casts(directory):
    return sorted(directory.rglob("*.cast"))


async def test_a_command_on_pipes(record, directory):
    daemon = await record()
    before = datetime.now(UTC).timestamp()
    ended = await run(daemon, script("echo out; echo err >&2; exit 7"))
    cast, receipt = await finished(daemon, directory)
    assert sorted(cast.of("o")) == ["err\n", "out\n"]
    assert cast.events[-1][1:] == ("x", "7")
    assert cast.header["version"] == 3
    assert cast.header["title"] == "default/shell/shell"
    assert cast.header["tags"] == ["exec", "default"]
    assert cast.header["command"] == "sh -c 'echo out; echo err >&2; exit 7'"
    assert before - 1 < cast.header["timestamp"] < before + 60
    assert receipt["command"] == ["sh", "-c", "echo out; echo err >&2; exit 7"]
    assert (receipt["ending"], receipt["exitCode"], receipt["tty"]) == ("command_ended", 7, False)
    assert receipt["bytesOut"] > len(ended.output[STDOUT] + ended.output[STDERR])
    assert (receipt["problem"], receipt["replaced"], receipt["watchers"]) == ("", 0, [])
    line = await daemon.event("session ended")
    assert (line["bytes_in"], line["bytes_out"]) == (receipt["bytesIn"], receipt["bytesOut"])
    assert line["recording"] == receipt["recordingPath"]


async def test_who_had_it(directory, tmp_path):
    who = {"User": "alice", "Groups": '"ops", "dev"', "Reason": "INC-42"}
    environ = {"RECORD": "all", "RECORDING_DIR": str(directory), "IDENTITY": "user"}
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as cluster:
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")
        async with running_daemon(kubeconfig, tmp_path, **environ) as daemon:
            told = await issue(daemon, who=who, command=["true"], tty=False)
            async with presented(daemon, told["path"], told["ticket"]) as ws:
                await ws.finish()
            _, receipt = await finished(daemon, directory, told["sessionId"])
    assert (receipt["user"], receipt["groups"], receipt["reason"]) == ("alice", ["ops", "dev"], "INC-42")
    assert receipt["impersonated"] == {"user": "alice", "groups": ["ops", "dev"]}
    assert receipt["caller"] == {"mode": "rfc9421", "name": "secret"}
    assert told["recordingPath"] == receipt["recordingPath"] == path_of(told["sessionId"])


async def test_it_stands_in_the_audit_trail(record, directory):
    daemon = await record()
    await run(daemon, script("exit 3"))
    _, receipt = await finished(daemon, directory)
    line = await daemon.audited("recording.finished", session=receipt["sessionId"])
    for name, told in (("path", "recordingPath"), ("size", "size"), ("sha256", "sha256"), ("ending", "ending")):
        assert line[name] == receipt[told], name
    assert (line["caller"]["name"], line["target"]["pod"]) == ("secret", "shell")


async def test_a_terminal_with_its_sizes(record, directory):
    daemon = await record("terminals")
    async with opened(daemon, on_terminal("stty -echo; read a; stty size; read b; stty size; exit 3")) as ws:
        await ws.send(RESIZE, b'{"Width":100,"Height":30}')
        await ws.send(STDIN, b"\n")
        await ws.until(STDOUT, b"30 100")
        await ws.send(RESIZE, b'{"Width":90,"Height":25}')
        await ws.send(STDIN, b"secret words\n")
        ended = await ws.finish()
    cast, receipt = await finished(daemon, directory)
    assert cast.header["term"] == {"cols": 100, "rows": 30}
    assert cast.of("r") == ["90x25"]
    assert "30 100\r\n" in cast.text()
    assert cast.text().endswith("25 90\r\n")
    assert ended.text(STDOUT).endswith("25 90\r\n")
    assert cast.of("i") == []
    assert "secret words" not in cast.text()
    assert (receipt["exitCode"], receipt["tty"]) == (3, True)


async def test_what_is_typed_where_that_is_wanted(record, directory):
    daemon = await record("terminals", RECORD_INPUT="true")
    async with opened(daemon, on_terminal("stty -echo; echo ready; read a; exit 0")) as ws:
        await ws.until(STDOUT, b"ready")
        await ws.send(STDIN, b"se")
        await ws.send(STDIN, b"cret\n")
        await ws.finish()
    cast, _ = await finished(daemon, directory)
    assert cast.text("i") == "secret\n"


@pytest.mark.parametrize(("mode", "expected"), [("off", []), ("terminals", ["tty"]), ("all", ["pipes", "tty"])])
async def test_which_sessions_are_recorded(record, directory, mode, expected):
    daemon = await record(mode)
    await run(daemon, proxy_exec("echo", "tty", **TTY))
    await run(daemon, proxy_exec("echo", "pipes", **PIPES))
    await run(daemon, with_query("/proxy/logs/default/four", follow="false"), subprotocols=())
    for count in range(len(expected)):
        await daemon.event("recording finished", count=count + 1)
    assert sorted(Cast(path.read_bytes()).text().strip() for path in casts(directory)) == expected


async def test_an_attach_is_recorded(record, directory):
    daemon = await record("terminals")
    async with opened(daemon, with_query("/proxy/attach/default/web/web", **TTY)) as ws:
        session = ws.answer.headers["x-session-id"]
    cast, receipt = await finished(daemon, directory, session)
    assert receipt["subresource"] == "attach"
    assert receipt["command"] is None
    assert "command" not in cast.header
    assert (receipt["ending"], receipt["exitCode"]) == ("client_left", None)
    assert cast.of("x") == []


async def test_one_that_was_issued_so_is_recorded_whatever_is_usual(record, directory):
    daemon = await record("off")
    plain = await issue(daemon, command=["true"], tty=False, record=False)
    assert plain["recordingPath"] is None
    told = await issue(daemon, command=["echo", "kept"], tty=False, record=True)
    (waiting, _) = sorted(await listed(daemon), key=lambda each: each["recordingPath"] is None)
    assert waiting["recordingPath"] == told["recordingPath"] == path_of(told["sessionId"])
    for each in (plain, told):
        async with presented(daemon, each["path"], each["ticket"]) as ws:
            await ws.finish()
    cast, _ = await finished(daemon, directory, told["sessionId"])
    assert cast.text() == "kept\n"
    assert len(casts(directory)) == 1


async def test_false_switches_nothing_off(record):
    daemon = await record("all")
    told = await issue(daemon, command=["true"], tty=False, record=False)
    assert told["recordingPath"] == path_of(told["sessionId"])


async def test_record_is_not_for_logs(record):
    daemon = await record("all")
    order = {"subresource": "log", "namespace": "default", "pod": "four", "record": True}
    answer = await call(daemon, "POST", "/proxy/sessions", order)
    assert (answer.status, refusal_of(answer, "")[1]) == (400, "bad_body")


async def test_without_a_directory_none_can_be_asked_for(start):
    daemon = await start()
    order = {"subresource": "exec", "namespace": "default", "pod": "shell", "record": True}
    answer = await call(daemon, "POST", "/proxy/sessions", order)
    assert (answer.status, refusal_of(answer, "")[1]) == (503, "recording_unavailable")


async def test_files_that_only_the_owner_and_the_group_can_read(record, directory):
    daemon = await record()
    await run(daemon, script("true"))
    await finished(daemon, directory)
    (cast,) = casts(directory)
    assert stat.S_IMODE(cast.stat().st_mode) == 0o640 & ~_umask()
    assert stat.S_IMODE(cast.with_suffix(".json").stat().st_mode) == 0o640 & ~_umask()
    assert stat.S_IMODE(cast.parent.stat().st_mode) & 0o007 == 0


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_bytes_that_are_no_utf_8(record, directory):
    daemon = await record()
    await run(daemon, script(r"printf 'a\303'; printf '\244b'; printf '\377\376c\342\202'"))
    cast, receipt = await finished(daemon, directory)
    assert cast.text() == "aäb\ufffd\ufffdc\ufffd"
    assert receipt["replaced"] == 3
    assert cast.comments == ["bytes that are no UTF-8 were replaced, by 3 U+FFFD in all"]


async def test_a_flood_is_kept_whole(record, directory):
    daemon = await record()
    count = 20_000_000
    ended = await run(daemon, script(f"head -c {count} /dev/zero | tr '\\0' x"))
    assert len(ended.output[STDOUT]) == count
    cast, _ = await finished(daemon, directory)
    assert cast.text() == "x" * count
    assert len(cast.events) < count / 4096  # an event is what was read at once, not a frame


async def test_what_is_there_while_it_goes_on(record, directory):
    """It is in the file without the session's having to end: a crash would find it there."""
    daemon = await record("terminals")
    async with opened(daemon, on_terminal("stty -echo; echo first; cat")) as ws:
        await ws.until(STDOUT, b"first")
        session = ws.answer.headers["x-session-id"]
        await holds(directory / path_of(session), b"first")
        await ws.send(STDIN, b"second\n")
        await holds(directory / path_of(session), b"second")
        (told,) = await listed(daemon)
        assert told["recordingPath"] == path_of(session)


async def test_a_command_that_reads_to_the_end_of_its_input(record, directory):
    daemon = await record()
    async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
        await ws.send(STDIN, "Grüße".encode())
        await end_stdin(ws)
        ended = await ws.finish()
    assert ended.text(STDOUT) == "Grüße"
    cast, _ = await finished(daemon, directory)
    assert (cast.text(), cast.of("x")) == ("Grüße", ["0"])


@pytest.mark.parametrize(
    ("notice", "line"), [("true", "this session is recorded"), ("wir nehmen auf", "wir nehmen auf")]
)
async def test_a_terminal_is_told(record, directory, notice, line):
    daemon = await record(RECORDING_NOTICE=notice)
    terminal = await run(daemon, on_terminal("sleep 0.3; echo done"))
    assert f"k8s-ws-proxy: {line}." in terminal.text(STDOUT)
    cast, _ = await finished(daemon, directory)
    assert f"k8s-ws-proxy: {line}." in cast.text()
    pipes = await run(daemon, script("sleep 0.3; echo done"))
    assert pipes.output == {STDOUT: b"done\n"} | {
        channel: pipes.output[channel] for channel in pipes.output if channel > 2
    }


async def test_a_dial_that_fails_leaves_nothing(record, directory):
    daemon = await record()
    await run(daemon, proxy_exec("true", pod="missing", **PIPES))
    await run(daemon, script("true"))
    await finished(daemon, directory)
    (cast,) = casts(directory)
    await none_open(directory)
    assert cast.with_suffix(".json").exists()


async def test_who_watches_stands_in_the_receipt(record, directory):
    daemon = await record("terminals")
    async with opened(daemon, on_terminal("echo ready; read a")) as ws:
        await ws.until(STDOUT, b"ready")
        session = ws.answer.headers["x-session-id"]
        told = await ticket_to(daemon, session, "observe", User="ann")
        assert told["recordingPath"] == path_of(session)
        async with presented(daemon, told["path"], told["ticket"]) as watcher:
            await watcher.until(STDOUT, b"ready")
            await ws.send(STDIN, b"\n")
            await ws.finish()
    _, receipt = await finished(daemon, directory, session)
    assert [(each["user"], each["mode"]) for each in receipt["watchers"]] == [("ann", "observe")]
    assert len(casts(directory)) == 1  # who watches isn't recorded once more


async def test_who_had_watched_a_session_stands_there_also_where_its_daemon_was_killed(record, directory):
    daemon = await record("terminals")
    async with opened(daemon, on_terminal("echo ready; read a")) as ws:
        await ws.until(STDOUT, b"ready")
        session = ws.answer.headers["x-session-id"]
        told = await ticket_to(daemon, session, "observe", User="ann")
        async with presented(daemon, told["path"], told["ticket"]) as watcher:
            await watcher.until(STDOUT, b"ready")
            (entry,) = directory.glob(f".daemons/*/open/{session}")
            while b'"watchers"' not in entry.read_bytes():  # noqa: ASYNC110 - another process writes it beside the rest
                await asyncio.sleep(0.01)
            daemon.process.send_signal(signal.SIGKILL)
            await daemon.wait()
    heir = await record("terminals")
    _, receipt = await finished(heir, directory, session)
    assert receipt["ending"] == "interrupted"
    assert [(each["user"], each["mode"]) for each in receipt["watchers"]] == [("ann", "observe")]
    line, began = await heir.audited("recording.finished", session=session), await daemon.audited("session.opened")
    common = ("caller", "user", "groups", "reason", "peer", "target", "command", "commandSha256")
    assert {name: line[name] for name in common} == {name: began[name] for name in common}


# What can go wrong with the directory.


async def test_a_directory_that_cannot_be_made(start, tmp_path):
    (tmp_path / "file").write_text("")
    daemon = await start(RECORD="all", RECORDING_DIR=str(tmp_path / "file" / "in it"))
    answer = await ask(daemon, script("true"))
    assert (answer.status, refusal_of(answer, "")[1]) == (503, "recording_unavailable")
    assert answer.headers["retry-after"] == "5"
    ready = await get(daemon, "/readyz")
    assert json.loads(ready.body)["checks"]["recording"] == "Not a directory"
    assert ready.status == 200


async def test_where_it_is_not_required_the_session_goes_on(start, tmp_path):
    (tmp_path / "file").write_text("")
    daemon = await start(
        RECORD="all", RECORDING_DIR=str(tmp_path / "file" / "in it"), RECORDING_REQUIRED="false", **ADMIN
    )
    ended = await run(daemon, script("echo on; exit 4"))
    assert (ended.text(STDOUT), ended.exit_code) == ("on\n", 4)
    await daemon.event("sessions can't be recorded", required=False)
    metrics = (await get(daemon, "/metrics", port=daemon.ports["admin"])).body.decode()
    assert "k8s_ws_proxy_recording_failures_total 1.0" in metrics
    assert "k8s_ws_proxy_recording_available 0.0" in metrics


async def test_too_little_room(record, directory):
    daemon = await record(RECORDING_MIN_FREE="1P")
    assert (await ask(daemon, script("true"))).status == 503
    assert casts(directory) == []


@pytest.mark.parametrize("required", [True, False])
async def test_a_file_that_is_taken_away(record, directory, required):
    daemon = await record("terminals", RECORDING_REQUIRED=str(required))
    async with opened(daemon, on_terminal("stty -echo; echo first; cat")) as ws:
        await ws.until(STDOUT, b"first")
        path = directory / path_of(ws.answer.headers["x-session-id"])
        await holds(path, b"first")
        path.unlink()
        await ws.send(STDIN, b"second\n")
        await daemon.event("recording failed", required=required)
        if required:
            ended = await ws.finish()
            assert "this session can't be recorded any more" in ended.text(STDOUT)
            assert ended.code == 1011
            await daemon.event("session ended", reason="recording_failed")
        else:
            await ws.send(STDIN, b"third\n")
            await ws.until(STDOUT, b"third")


async def test_the_whole_directory_is_taken_away_and_comes_back(record, directory):
    daemon = await record()
    await run(daemon, script("true"))
    await finished(daemon, directory)
    directory.rename(directory.with_name("elsewhere"))
    ended = await run(daemon, script("echo again"))
    assert ended.text(STDOUT) == "again\n"
    await daemon.event("recording finished", count=2)
    (cast,) = casts(directory)
    assert Cast(cast.read_bytes()).text() == "again\n"


async def test_settings_that_are_wrong(start):
    with pytest.raises(AssertionError, match="needs RECORDING_DIR"):
        await start(RECORD="all")
