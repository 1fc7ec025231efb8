"""A session from end to end: what the caller sees, what the container sees, what the log says of it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid

import pytest
from support.caller import (
    HANG_UP,
    PIPES,
    TTY,
    V4,
    V5,
    api_exec,
    close,
    end_stdin,
    on_terminal,
    opened,
    proxy_exec,
    run,
    script,
    with_query,
)

from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STATUS, STDERR, STDIN, STDOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFERS = pytest.mark.parametrize("offer", [(V5,), (V4,), ()], ids=["v5", "v4", "none"])


def execs(cluster, before):
    """The targets of sessions since then; not of the daemon's looks whether others have ended as was said."""
    asked = (seen.target for seen in cluster.observed.seen[before:])
    return [target for target in asked if "/exec" in target and HANG_UP not in target]


@OFFERS
async def test_output_and_errors_come_apart_and_then_the_exit_code(shared_daemon, offer):
    ended = await run(shared_daemon, script("echo out; echo err >&2; exit 3"), subprotocols=offer)
    assert (ended.text(STDOUT), ended.text(STDERR)) == ("out\n", "err\n")
    assert ended.exit_code == 3
    assert (ended.code, ended.reason, ended.eof) == (frames.NORMAL, "", True)


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 255])
@pytest.mark.parametrize("terminal", [PIPES, TTY], ids=["pipes", "tty"])
async def test_exit_code(shared_daemon, code, terminal):
    ended = await run(shared_daemon, script(f"exit {code}", **terminal))
    assert ended.exit_code == code
    assert ended.status["status"] == ("Failure" if code else "Success")
    assert ended.code == frames.NORMAL


@pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143), ("SEGV", 139)])
async def test_a_signal_is_128_and_its_number(shared_daemon, signal, code):
    assert (await run(shared_daemon, script(f"kill -{signal} $$"))).exit_code == code


async def test_a_deleted_pod_ends_its_sessions_with_137(shared_daemon, shared_cluster):
    async with opened(
        shared_daemon, proxy_exec("sh", "-c", "echo up; exec sleep 5000", pod="plain", container="plain")
    ) as ws:
        await ws.until(STDOUT, b"up")
        await shared_cluster.delete_pod("default", "plain")
        assert (await ws.finish()).exit_code == 137


@pytest.mark.parametrize("command", [("no-such-program",), ("/etc/passwd",)], ids=["missing", "not executable"])
async def test_what_can_not_be_started_is_a_failure_without_an_exit_code(shared_daemon, command):
    ended = await run(shared_daemon, proxy_exec(*command, **PIPES))
    assert ended.status["status"] == "Failure"
    assert ended.exit_code is None
    assert ended.code == frames.NORMAL


async def test_a_terminal_has_its_size_from_the_last_resize(shared_daemon):
    async with opened(shared_daemon, on_terminal("stty size; read x; stty size; read y; stty size")) as ws:
        await ws.until(STDOUT, b"0 0")
        await ws.send(RESIZE, b'{"Width":80,"Height":24}')
        await ws.send(STDIN, b"x\n")
        await ws.until(STDOUT, b"24 80")
        await ws.send(RESIZE, b'{"width":200,"height":50}')
        await ws.send(RESIZE, b'{"Width":132,"Height":43}')
        await ws.send(STDIN, b"y\n")
        await ws.until(STDOUT, b"43 132")
        assert (await ws.finish()).exit_code == 0


async def test_an_interactive_shell(shared_daemon):
    async with opened(shared_daemon, proxy_exec("sh", **TTY)) as ws:
        await ws.send(STDIN, b"PS1='ready'; echo $((6*7))\n")
        await ws.until(STDOUT, b"42\r\n")
        # It says itself that it runs: a Ctrl-C before that would be the shell's own, which doesn't mind.
        await ws.send(STDIN, b"sh -c 'echo on$((1+1)); exec sleep 5000'\n")
        await ws.until(STDOUT, b"on2\r\n")
        await ws.send(STDIN, b"\x03")
        await ws.until(STDOUT, b"ready")
        await ws.send(STDIN, b"exit 5\n")
        assert (await ws.finish()).exit_code == 5


async def test_ff_00_ends_stdin_on_v5(shared_daemon):
    async with opened(shared_daemon, proxy_exec("cat", **PIPES)) as ws:
        await ws.send(STDIN, b"one\n")
        await ws.send(STDIN, b"two")
        await end_stdin(ws)
        ended = await ws.finish()
    assert ended.text(STDOUT) == "one\ntwo"
    assert ended.exit_code == 0


async def test_stdin_to_the_end_by_hash(shared_daemon):
    data = os.urandom(5_000_000)
    async with opened(shared_daemon, proxy_exec("sha256sum", **PIPES)) as ws:
        for start in range(0, len(data), 70_000):
            await ws.send(STDIN, data[start : start + 70_000])
        await end_stdin(ws)
        ended = await ws.finish()
    assert ended.text(STDOUT).split()[0] == hashlib.sha256(data).hexdigest()
    assert ended.exit_code == 0


async def test_a_v4_client_is_read_by_head(shared_daemon):
    data = os.urandom(300_000)
    async with opened(shared_daemon, script("head -c 300000 | sha256sum; exit 4"), subprotocols=(V4,)) as ws:
        assert ws.answer.headers["sec-websocket-protocol"] == V4
        await ws.send(STDIN, data)
        ended = await ws.finish()
    assert ended.text(STDOUT).split()[0] == hashlib.sha256(data).hexdigest()
    assert ended.exit_code == 4


async def test_bytes_are_not_text(shared_daemon):
    every = bytes(range(256)) * 3
    async with opened(shared_daemon, proxy_exec("cat", **PIPES)) as ws:
        await ws.send(STDIN, every)
        await end_stdin(ws)
        assert (await ws.finish()).output[STDOUT] == every


ATTACH = ["/proxy/attach/default/{pod}/{pod}", "/api/v1/namespaces/default/pods/{pod}/attach"]


@pytest.mark.parametrize("path", ATTACH, ids=["proxy", "api"])
async def test_attach_reaches_the_containers_own_process(shared_daemon, path):
    target = with_query(path.format(pod="web"), tty="false", stdin="true", stdout="true", stderr="true")
    async with opened(shared_daemon, target) as ws, opened(shared_daemon, target) as other:
        await ws.send(STDIN, b"hello\n")
        assert await ws.until(STDOUT, b"\n") == b"echo: hello\n"
        await other.send(STDIN, b"there\n")
        assert await ws.until(STDOUT, b"\n") == b"echo: there\n"


@pytest.mark.parametrize("path", ATTACH, ids=["proxy", "api"])
async def test_attach_to_a_terminal(shared_daemon, path):
    async with opened(
        shared_daemon, with_query(path.format(pod="term"), tty="true", stdin="true", stdout="true")
    ) as ws:
        await ws.send(STDIN, b"hello\n")
        await ws.until(STDOUT, b"echo: hello\r\n")


@pytest.mark.parametrize("container", ["shell", "side"])
async def test_each_of_two_containers(shared_daemon, shared_cluster, container):
    before = len(shared_cluster.observed.seen)
    by_segment = await run(shared_daemon, proxy_exec("true", container=container, **PIPES))
    by_parameter = await run(shared_daemon, api_exec("true", container=container, stdout="true"))
    assert (by_segment.exit_code, by_parameter.exit_code) == (0, 0)
    seen = execs(shared_cluster, before)
    assert [target.count(f"container={container}") for target in seen] == [1, 1]


@pytest.mark.parametrize(
    "target",
    [
        proxy_exec("true", pod="web", container=None, **PIPES),
        proxy_exec("true", pod="web", container=None, **PIPES) + "&container=",
        api_exec("true", pod="web", stdout="true"),
        api_exec("true", pod="web", stdout="true", container=""),
    ],
    ids=["no segment", "no segment, empty parameter", "no parameter", "empty parameter"],
)
async def test_the_default_container_is_never_sent_empty(shared_daemon, shared_cluster, target):
    before = len(shared_cluster.observed.seen)
    assert (await run(shared_daemon, target)).exit_code == 0
    (upstream,) = execs(shared_cluster, before)
    assert "container" not in upstream


ARGUMENTS = {
    "spaces": ["a b", "  c  "],
    "an empty one": ["", "x", ""],
    "quotes": ["it's", '"quoted"', "`id`", "$(id)", "$HOME", "a\\b"],
    "non-ASCII": ["grüße", "日本語", "🙂", "e\u0301"],
    "bytes that are not UTF-8": ["\udcff\udcfe", "a\udc80b"],
    "URL characters": ["a&b=c", "100%", "a+b", "a#b", "?", "/../", "%2F", ";"],
    "line ends": ["a\nb", "\ttab\r"],
    "dashes": ["--", "-n", "-"],
}


@pytest.mark.parametrize("terminal", [PIPES, {**PIPES, "stdin": "false"}], ids=["with stdin", "without stdin"])
@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
async def test_arguments_arrive_as_they_were_sent(shared_daemon, arguments, terminal):
    ended = await run(shared_daemon, proxy_exec("printf", "%s\\0", "first", *arguments, **terminal))
    wanted = b"".join(argument.encode("utf-8", "surrogateescape") + b"\0" for argument in ["first", *arguments])
    assert ended.output[STDOUT] == wanted


async def test_a_long_command(shared_daemon):
    text = "x" * 60_000
    ended = await run(shared_daemon, proxy_exec("printf", "%s", text, **PIPES))
    assert ended.text(STDOUT) == text


@pytest.mark.parametrize("how", ["close frame", "half-close", "reset", "drop"])
@OFFERS
async def test_a_client_that_leaves_takes_the_upstream_stream_with_it(
    shared_daemon, shared_cluster, how, offer, shared_lines
):
    before = 0  # what hung up the last one is gone, too
    await shared_cluster.observed.wait_for(lambda: shared_cluster.observed.open_streams == before)
    async with opened(shared_daemon, on_terminal("echo up; cat"), subprotocols=offer) as ws:
        await ws.until(STDOUT, b"up")
        assert shared_cluster.observed.open_streams > before  # and perhaps a look for those that have ended before
        if how == "close frame":
            await close(ws)
            ended = await ws.finish()
            assert (ended.code, ended.output) == (frames.NORMAL, {})
        elif how == "half-close":
            ws.writer.write_eof()
        elif how == "reset":
            ws.writer.transport.set_write_buffer_limits(0)
            ws.writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER: on, 0 s
            ws.writer.transport.abort()
        else:
            ws.writer.transport.abort()
        await shared_cluster.observed.wait_for(lambda: shared_cluster.observed.open_streams == before)
        line = await shared_lines.event("session ended")
    assert line["reason"] == "client_left"
    assert line["level"] == "info"
    assert line["close_code"] == (frames.NORMAL if how == "close frame" else None)
    assert line["exit_code"] is None


async def test_what_reads_stdin_without_a_terminal_ends_when_its_client_leaves(shared_daemon, shared_cluster):
    async with opened(shared_daemon, script("echo up; cat >/dev/null")) as ws:
        await ws.until(STDOUT, b"up")
        running = shared_cluster.observed.running
        await close(ws)
        await shared_cluster.observed.wait_for(lambda: shared_cluster.observed.running < running)


async def test_a_client_that_leaves_during_a_flood(shared_daemon, shared_cluster):
    before = shared_cluster.observed.open_streams
    async with opened(shared_daemon, script("exec yes")) as ws:
        await ws.until(STDOUT, b"y\ny\n")
        ws.writer.transport.abort()
        await shared_cluster.observed.wait_for(lambda: shared_cluster.observed.open_streams == before)


async def test_one_line_when_it_opens_and_one_when_it_ends(shared_daemon, shared_lines):
    async with opened(shared_daemon, proxy_exec("sh", "-c", "read x; printf 12345; exit 9", **PIPES)) as ws:
        start = await shared_lines.event("session opened")
        await ws.send(STDIN, b"x\n")
        assert (await ws.finish()).exit_code == 9
    end = await shared_lines.event("session ended", session=start["session"])
    facts = {
        "session": start["session"],
        "mode": "hmac",
        "key_id": "secret",
        "peer": "127.0.0.1",
        "subresource": "exec",
        "namespace": "default",
        "pod": "shell",
        "container": "shell",
        "tty": False,
        "command": ["sh", "-c", "read x; printf 12345; exit 9"],
    }
    assert uuid.UUID(start["session"]).version == 7
    assert start == {**facts, "event": "session opened", "level": "info", "timestamp": start["timestamp"]}
    # From the client: a frame of 2 + 4 + 3 bytes. To it: an empty message, 5 bytes, a status, a close with its code.
    status = json.dumps({"metadata": {}}).encode()
    assert end == {
        **facts,
        "event": "session ended",
        "level": "info",
        "timestamp": end["timestamp"],
        "reason": "command_ended",
        "exit_code": 9,
        "close_code": frames.NORMAL,
        "bytes_in": 9,
        "bytes_out": end["bytes_out"],
        "duration_seconds": end["duration_seconds"],
    }
    assert end["bytes_out"] > 3 + 8 + len(status) + 4
    assert end["duration_seconds"] > 0
    mine = [line for line in shared_daemon.log if line.get("session") == start["session"]]
    assert mine == [start, end]


async def test_bytes_each_way_are_counted_on_the_wire(shared_daemon, shared_lines):
    async with opened(shared_daemon, script("head -c 100000 >/dev/null; head -c 70000 /dev/zero")) as ws:
        payload = bytes(100_001)
        raw = frames.frame(frames.BINARY, payload, os.urandom(4))
        await ws.send_raw(raw)
        received = 0
        while (frame := await ws.frame()) is not None:
            received += len(frames.header(frame.opcode, len(frame.payload))) + len(frame.payload)
    line = await shared_lines.event("session ended")
    assert line["bytes_in"] == len(raw)
    assert line["bytes_out"] == received


async def test_an_attach_has_no_command_and_no_container_of_its_own_in_the_log(shared_daemon, shared_lines):
    async with opened(shared_daemon, with_query("/proxy/attach/default/web", **PIPES)) as ws:
        await close(ws)
        await ws.finish()
    line = await shared_lines.event("session ended")
    assert line["subresource"] == "attach"
    assert line["container"] is None
    assert "command" not in line


async def test_a_long_command_is_cut_in_the_log(shared_daemon, shared_lines):
    await run(shared_daemon, proxy_exec("true", "x" * 5000, *(str(n) for n in range(40)), **PIPES))
    line = await shared_lines.event("session ended")
    assert line["command"] == ["true", "x" * 80 + "…", *(str(n) for n in range(14)), "… 26 more"]


async def test_nothing_a_caller_sends_can_forge_a_log_line(shared_daemon, shared_lines):
    await run(shared_daemon, proxy_exec("true", 'a\n{"event":"forged"}', "\udcff\x1b[31m", **PIPES))
    line = await shared_lines.event("session ended")
    assert line["command"] == ["true", 'a\n{"event":"forged"}', "\\udcff\x1b[31m"]
    assert not [line for line in shared_daemon.log if line.get("event") == "forged"]
    assert all(raw.isprintable() for raw in (raw.rstrip("\n") for raw in shared_daemon.raw_log))


async def test_the_status_is_the_apiservers_untouched(shared_daemon, shared_cluster):
    v4 = await run(shared_daemon, script("exit 3"), subprotocols=(V4,))
    # The proxy asks upstream for v5 whatever the client speaks: the message is v5's.
    assert v4.status == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 3",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }
    assert channels.parse_status(v4.output[STATUS]) == v4.status
    assert shared_cluster.observed.seen[-1].offered == (V5, V4)
