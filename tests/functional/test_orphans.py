"""REAP_ORPHANS: what an interactive session leaves running is hung up, and nothing else is; nobody sees how."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus, urlsplit

import pytest
from support import rawws
from support.caller import PIPES, TTY, at_rest, close, on_terminal, opened, proxy_exec, request, run, script
from support.procfs import alive, started

from k8s_ws_proxy.devcluster import DevCluster, codec
from k8s_ws_proxy.devcluster.faults import Death
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, Container, Pod
from k8s_ws_proxy.wire.container.orphans import GRACE
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT

BARE = Pod("bare", (Container("bare", hidden=frozenset({"sh", "tmux"})),))
ODD = Pod("odd", (Container("odd", hidden=frozenset({"sh"})),))
IN_ODD = {"pod": "odd", "container": "odd"}


@pytest.fixture
async def cluster():
    """With a container that has no shell, and one whose shell is the test's."""
    async with DevCluster(replace(DEFAULT_WORLD, pods=(*DEFAULT_WORLD.pods, BARE, ODD))) as running:
        yield running


async def ended(pid):
    """Wait until it is gone; another's child can only be looked at."""
    while alive(pid):  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.01)


async def get_metrics(daemon):
    data = b"GET /metrics HTTP/1.1\r\nHost: proxy\r\n\r\n"
    async with rawws.connected(daemon.ports["admin"], data) as ws:
        return ws.answer.body.decode()


async def pid_from(ws, word=b"pid "):
    """The process id that the command prints after ``word``."""
    seen = b""
    while (found := re.search(word + rb"([0-9]+)[^0-9]", seen)) is None:
        frame = await ws.frame()
        assert frame is not None, seen
        seen += frame.payload[1:] if frame.payload[:1] == b"\1" else b""
    return int(found[1])


async def path_of_odd(daemon):
    """Where the container ``odd`` has its programs: links to the host's."""
    return Path((await run(daemon, proxy_exec("printenv", "PATH", **PIPES, **IN_ODD))).text(STDOUT).strip())


async def shell_of_its_own(daemon, text, command='/bin/sh "$@"'):
    """Let ``sh`` in the container ``odd`` be a script of ours, which then becomes ``command``, with its environment."""
    executable(
        await path_of_odd(daemon) / "sh", f"#!/bin/sh\n{text}\nexec env -u PWD -u OLDPWD -u SHLVL -u _ {command}\n"
    )


def executable(path, text):
    """Write a program."""
    path.write_bytes(text.encode())
    path.chmod(0o755)


def vanish(ws):
    ws.writer.transport.abort()


def half_close(ws):
    ws.writer.write_eof()


LEAVING = {"with a close frame": close, "without a word": vanish, "with a FIN": half_close}
SHELL = on_terminal("trap 'exit 0' TERM; echo pid $$; while :; do sleep 1; done")


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
async def test_whatever_way_the_client_leaves(daemon, cluster, leave):
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        if (left := leave(ws)) is not None:
            await left
        line = await daemon.event("process hung up")
        assert (line["pid"], line["level"], line["pod"]) == (str(pid), "info", "shell")
        assert line["session"] == (await daemon.event("session opened"))["session"]
        await ended(pid)
    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)


async def test_a_command_sees_the_size_that_its_client_sends_at_once(daemon):
    """A terminal is made with 0 0, and the client's first message comes after its 101, here maybe later than usual."""
    await shell_of_its_own(daemon, "")
    sleep = await path_of_odd(daemon) / "sleep"
    sleep.unlink()
    executable(sleep, f"#!/bin/sh\nexec {shutil.which('sleep')} 20\n")
    for _ in range(50):
        async with opened(daemon, proxy_exec("stty", "size", **TTY, **IN_ODD)) as ws:
            await ws.send(RESIZE, b'{"Width":111,"Height":33}')
            assert (await ws.finish()).text(STDOUT) == "33 111\r\n"


async def test_without_it_it_stays_as_on_a_real_runtime(start, cluster):
    daemon = await start(REAP_ORPHANS="false")
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        await close(ws)
        await daemon.event("session ended")
        await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    await at_rest(daemon)
    assert alive(pid)
    os.kill(pid, signal.SIGTERM)


async def test_at_the_limit_of_its_time(start):
    daemon = await start(SESSION_IDLE_TIMEOUT="2s", WS_PING_PERIOD="1s")
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        await ws.finish()
        await ended(pid)


async def test_when_the_daemon_goes_down(start):
    daemon = await start(DRAIN_TIMEOUT="0s")
    async with contextlib.AsyncExitStack() as stack:
        terminals = [await stack.enter_async_context(opened(daemon, SHELL)) for _ in range(5)]
        pids = [await pid_from(ws) for ws in terminals]
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.wait() == 0
        for pid in pids:
            await ended(pid)
    assert [line["event"] for line in daemon.log].count("process hung up") == 5


async def test_when_the_daemon_goes_down_without_its_rights_the_log_says_so(start, cluster):
    """`helm uninstall` takes them at once."""
    daemon = await start(DRAIN_TIMEOUT="0s")
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        cluster.faults.refuse(403, b'{"kind":"Status","status":"Failure","message":"pods is forbidden"}', times=9)
        daemon.process.send_signal(signal.SIGTERM)
        line = await daemon.event("processes may be left behind", count=1)
        assert await daemon.wait() == 0
    assert line["detail"] == "no time left; pods is forbidden; the apiserver answered 403"
    os.kill(pid, signal.SIGTERM)


async def test_when_the_apiserver_is_lost_and_comes_back(daemon, cluster):
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        await cluster.stop_listening(drop=True)
        assert (await ws.finish()).code == 1011
    await daemon.event("session ended", reason="upstream_lost")
    assert alive(pid)
    await cluster.start_listening()
    await daemon.event("process hung up", pid=str(pid))
    await ended(pid)


async def test_an_apiserver_that_stays_away_is_asked_a_few_times_and_it_is_said(daemon, cluster):
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        await cluster.stop_listening(drop=True)
        await ws.finish()
    line = await daemon.event("a process may be left behind")
    assert (line["level"], line["pid"]) == ("warning", str(pid))
    assert alive(pid)
    os.kill(pid, signal.SIGTERM)


async def test_one_that_does_not_mind_a_hang_up_is_killed_with_its_group(daemon):
    """And who has left the group, as a daemon does, is left alone."""
    children = "setsid sleep 1003 & echo child $!; sleep 1002 & echo other $!"
    text = f"trap '' HUP TERM; {children}; echo pid $$; wait; sleep 1001"
    async with opened(daemon, on_terminal(text)) as ws:
        seen = await ws.until(STDOUT, b"pid ")
        words = seen.split()
        stays, goes = int(words[words.index(b"child") + 1]), int(words[words.index(b"other") + 1])
        await close(ws)
        line = await daemon.event("process hung up")
        assert alive(int(line["pid"])), "it has some seconds' grace"
        await ended(int(line["pid"]))
        await ended(goes)
    assert alive(stays)
    os.kill(stays, signal.SIGKILL)
    assert GRACE == 5


async def test_a_child_in_its_group_that_outlives_it_is_killed_after_the_grace(daemon):
    async with opened(daemon, on_terminal("(trap '' HUP; exec sleep 1004) & echo child $!; sleep 1005")) as ws:
        child = await pid_from(ws, b"child ")
        await close(ws)
        line = await daemon.event("process hung up")
        await ended(int(line["pid"]))
        assert alive(child)
        await ended(child)


CAN_NOT_KILL = """script=$1; shift 2; eval "kill() { return 1; }; $script\""""


async def test_one_that_may_not_be_signalled_is_not_said_to_be_hung_up(daemon):
    """Such as a root shell of `sudo -i` where the container's user is another."""
    await shell_of_its_own(daemon, "", f"""/bin/sh -c '{CAN_NOT_KILL}' "$@\"""")
    async with opened(daemon, proxy_exec("/bin/sh", "-c", "echo pid $$; read x", **TTY, **IN_ODD)) as ws:
        pid = await pid_from(ws)
        await close(ws)
        line = await daemon.event("a process may be left behind", pid=str(pid))
    assert line["detail"] == "the container's user may not signal it"
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


FLOODS = "case $1 in *hung*) head -c 3000000 /dev/zero; exec sleep 1008 ;; esac"
FLOOD_OR_BE = f'''script=$1; {FLOODS}; shift 2; eval "$script"'''


async def test_a_container_that_floods_what_hangs_up_holds_nobody_up(daemon):
    """Its `sh` greets as it must, and then says much and no word. Each try is over after some KiB."""
    await shell_of_its_own(daemon, "", f"/bin/sh -c '{FLOOD_OR_BE}' \"$@\"")
    async with opened(daemon, proxy_exec("/bin/sh", "-c", "echo pid $$; read x", **TTY, **IN_ODD)) as ws:
        pid = await pid_from(ws)
        await close(ws)
    await daemon.event("session ended", tty=True)
    assert (await run(daemon, script("echo others go on"))).text(STDOUT) == "others go on\n"
    line = await daemon.event("a process may be left behind", pid=str(pid))
    assert "says more than" in line["detail"]
    assert await daemon.terminate() == 0
    os.kill(pid, signal.SIGKILL)


async def test_where_the_way_it_is_started_is_not_admitted_it_is_started_as_it_was_asked_for(daemon, cluster, dials):
    message = 'admission webhook "commands.example.com" denied the request: no scripts'
    status = {"kind": "Status", "status": "Failure", "message": message, "reason": "Forbidden", "code": 403}
    cluster.faults.refuse(403, json.dumps(status).encode())
    for count in (2, 3):
        assert (await run(daemon, proxy_exec("echo", "hello", **TTY))).text(STDOUT) == "hello\r\n"
        assert len(dials()) == count
    await daemon.event("a command was refused as it would be started: it can't be hung up")


@pytest.mark.parametrize("body", [b"", b"Forbidden"])
async def test_one_refusal_by_anything_in_between_changes_nothing_for_the_next(daemon, cluster, dials, body):
    cluster.faults.refuse(403, body, content_type="text/plain")
    await run(daemon, proxy_exec("true", **TTY))
    before = len(dials())
    await run(daemon, proxy_exec("true", **TTY))
    (asked,) = dials()[before:]
    assert "k8s-ws-proxy" in unquote_plus(asked)


async def test_another_session_s_process_is_not_touched(daemon):
    async with opened(daemon, SHELL) as stays, opened(daemon, SHELL) as goes:
        staying, going = await pid_from(stays), await pid_from(goes)
        await close(goes)
        await ended(going)
        await daemon.event("process hung up", pid=str(going))
        assert alive(staying)
        await close(stays)
        await ended(staying)


async def test_a_shared_tmux_server_stays_and_only_its_client_goes(start):
    daemon = await start(TMUX_CASCADE="true")
    target = proxy_exec("sh", "-c", "echo pid $$; exec cat", **TTY)
    async with opened(daemon, target) as ws:
        await ws.send(4, b'{"Width":80,"Height":24}')
        pid = await pid_from(ws)
        clients = (await run(daemon, script("tmux list-clients -F '#{client_pid}'"))).text(STDOUT).split()
        assert len(clients) == 1
        await close(ws)
        await daemon.event("process hung up", pid=clients[0])
        await ended(int(clients[0]))
    assert alive(pid)
    assert (await run(daemon, script("tmux list-sessions -F '#{session_attached}'"))).text(STDOUT) == "0\n"


async def test_commands_that_end_by_themselves_are_looked_for_later_and_together(start, asked):
    """An apiserver may say so of one that goes on."""
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    for _ in range(5):
        assert (await run(daemon, on_terminal("exit 3"))).exit_code == 3
    assert asked() == 0
    for count in range(1, 6):
        await daemon.event("a process has ended", count=count)
    assert asked() <= 2
    metrics = await get_metrics(daemon)
    assert 'k8s_ws_proxy_orphans_total{outcome="gone"} 0.0' in metrics, "that is no news"


async def test_what_the_apiserver_says_has_ended_and_has_not_is_hung_up_and_told(start, cluster, asked):
    """A restart of containerd: the status passes as it is, since nobody knows better by then."""
    daemon = await start(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    async with contextlib.AsyncExitStack() as stack:
        terminals = [await stack.enter_async_context(opened(daemon, SHELL)) for _ in range(3)]
        pids = [await pid_from(ws) for ws in terminals]
        cluster.restart_runtime()
        for ws in terminals:
            end = await ws.finish()
            assert (end.code, end.exit_code) == (1000, 0)
    assert all(map(alive, pids))
    for pid in pids:
        line = await daemon.event("a command was said to have ended, and had not", pid=str(pid))
        assert (line["level"], line["detail"], line["pod"]) == ("warning", "hung up", "shell")
        await ended(pid)
    assert asked() == 1
    assert 'k8s_ws_proxy_orphans_total{outcome="upstream_claims"} 3.0' in await get_metrics(daemon)


async def test_one_that_is_asked_for_while_the_apiserver_is_away_is_asked_for_again(daemon, cluster):
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        cluster.restart_runtime()
        await ws.finish()
    cluster.faults.refuse(500, b"error dialing backend", content_type="text/plain", times=2)
    await daemon.event("a command was said to have ended, and had not", pid=str(pid))
    await ended(pid)


async def test_when_the_daemon_goes_down_it_looks_at_once(daemon, cluster):
    async with opened(daemon, SHELL) as ws:
        pid = await pid_from(ws)
        cluster.restart_runtime()
        await ws.finish()
    assert await daemon.terminate() == 0
    await daemon.event("a command was said to have ended, and had not", pid=str(pid))
    await ended(pid)


async def test_many_that_are_left_in_one_container_are_hung_up_together(start, asked):
    daemon = await start(DRAIN_TIMEOUT="0s")
    async with contextlib.AsyncExitStack() as stack:
        terminals = [await stack.enter_async_context(opened(daemon, SHELL)) for _ in range(40)]
        pids = [await pid_from(ws) for ws in terminals]
        for ws in terminals:
            await close(ws)
        for pid in pids:
            await ended(pid)
    assert asked() < 40


async def test_a_client_that_leaves_before_its_101_leaves_nothing_behind(daemon, cluster):
    """At any moment of the dial."""
    for wait in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(request(daemon, SHELL))
        for _ in range(wait * 20):
            await asyncio.sleep(0)
        writer.transport.abort()
    assert (await run(daemon, script("exit 3"))).exit_code == 3, "all that came before it have been looked at"
    await at_rest(daemon)
    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)


SAME = {
    "environment": (("env",), {}),
    "its own name and arguments": (("sh", "-c", 'echo "$0" "$@"', "name", "a b", "", "*", "é"), {}),
    "a child's parent": (("sh", "-c", "ps -o stat= -p $$; ps -o ppid= -p $$ >/dev/null"), {}),
    "exit code": (("sh", "-c", "exit 42"), {}),
    "a signal": (("sh", "-c", "kill -KILL $$"), {}),
    "a command that isn't there": (("no-such-command",), {}),
    "a file that can't be executed": (("/etc/passwd",), {}),
    "a directory": (("/etc",), {}),
    "a shell's builtin": (("cd",), {}),
    "a path": (("/bin/echo", "hello"), {}),
    "an empty command": (("",), {}),
    "many bytes": (("head", "-c", "1000000", "/dev/zero"), {}),
    "nothing at all": (("true",), {}),
    "no shell in the container": (("cat", "/dev/null"), {"pod": "bare", "container": "bare"}),
}


@pytest.mark.parametrize(("command", "where"), SAME.values(), ids=SAME)
async def test_the_caller_sees_no_difference(start, command, where):
    told = []
    for value in ("false", "true"):  # so that the container is up when a shell in it is waited for
        daemon = await start(REAP_ORPHANS=value)
        ended_ = await run(daemon, proxy_exec(*command, **TTY, **where))
        output = {channel: sorted(data.splitlines()) for channel, data in ended_.output.items()}
        told.append((output, ended_.code, ended_.reason))
    assert told[0] == told[1]


UNSTARTABLE = {
    "a script whose interpreter isn't there": "#!/nope/sh\n",
    "a script with carriage returns": "#!/bin/sh\r\ntrue\r\n",
    "a script without an interpreter": "echo hello\n",
    "a damaged program": "\x7fELF of no kind\n",
}


@pytest.mark.parametrize("content", UNSTARTABLE.values(), ids=UNSTARTABLE)
async def test_what_can_not_be_executed_fails_as_it_does_without_us(daemon, tmp_path, content):
    executable(program := tmp_path / "program", content)
    ended_ = await run(daemon, proxy_exec(str(program), **TTY))
    assert ended_.text(STDOUT) == ""
    assert (ended_.status["reason"], ended_.status["code"], ended_.exit_code) == ("InternalError", 500, None)


@pytest.fixture
def gate(tmp_path):
    """A pipe at which a shell can be kept waiting, and what lets it go on."""
    os.mkfifo(tmp_path / "gate")
    fd = os.open(tmp_path / "gate", os.O_RDWR)
    yield tmp_path / "gate", lambda: os.write(fd, b"\n")
    os.close(fd)


async def test_a_shell_that_is_slow_to_start_is_waited_for(daemon, dials, gate):
    """The client has its 101 by then. What it types meanwhile arrives, the line isn't seen, the process is hung up."""
    pipe, go_on = gate
    await shell_of_its_own(daemon, f"read x <{pipe}")
    command = ("/bin/sh", "-c", "echo pid $$; read x; echo got $x; read x")
    for count in (2, 3):  # the second is wrapped again
        async with opened(daemon, proxy_exec(*command, **TTY, **IN_ODD)) as ws:
            await ws.send(STDIN, b"typed\n")
            go_on()
            seen = await ws.until(STDOUT, b"got typed")
            assert b"k8s-ws-proxy" not in seen
            pid = int(re.search(rb"pid ([0-9]+)", seen)[1])
            assert len(dials()) == count
            go_on()  # the one that hangs up
            await close(ws)
            await daemon.event("process hung up", pid=str(pid))
            await ended(pid)


async def test_a_slow_shell_that_complains_first_is_waited_for(daemon, gate):
    """By then the time is over that it would have had at first. Its line comes in the next message."""
    pipe, go_on = gate
    await shell_of_its_own(daemon, f"read x <{pipe}; echo 'sh: warning: setlocale' >&2; sleep 0.2")
    async with opened(daemon, proxy_exec("/bin/sh", "-c", "echo pid $$; sleep 1008", **TTY, **IN_ODD)) as ws:
        await daemon.event("a command is slow to start")
        go_on()
        seen = await ws.until(STDOUT, b"\r\n")
        assert seen.startswith(b"pid ")
        go_on()  # the one that hangs up
        await close(ws)
        await daemon.event("process hung up", pid=seen.split()[1].decode())


async def test_a_slow_shell_that_will_not_do_is_replaced(daemon, dials, gate):
    pipe, go_on = gate
    await shell_of_its_own(daemon, f"read x <{pipe}; exit 3")
    async with opened(daemon, proxy_exec("cat", **TTY, **IN_ODD)) as ws:
        await ws.send(STDIN, b"typed\n")
        go_on()
        await ws.until(STDOUT, b"typed\r\ntyped\r\n")
        await close(ws)
        await ws.finish()
    assert len(dials()) == 3


async def test_why_a_slow_command_cannot_be_started_is_told_and_logged(daemon, cluster, gate):
    pipe, go_on = gate
    await shell_of_its_own(daemon, f"read x <{pipe}; exit 3")
    gone = {"kind": "Status", "status": "Failure", "message": 'pods "odd" not found', "reason": "NotFound", "code": 404}
    async with opened(daemon, proxy_exec("true", **TTY, **IN_ODD)) as ws:
        slow = await daemon.event("session opened", tty=True)
        cluster.faults.refuse(404, json.dumps(gone).encode())
        go_on()
        ended_ = await ws.finish()
    assert (ended_.status, ended_.code, ended_.reason) == (gone, 1011, gone["message"])
    line = await daemon.event("a slow command couldn't be started")
    assert (line["session"], line["pod"], line["reason"]) == (slow["session"], "odd", "upstream_refused")
    assert gone["message"] in line["detail"]
    await daemon.event("session ended", reason="upstream_failed")


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
async def test_a_client_that_leaves_before_a_slow_shell_has_started_leaves_nothing_behind(daemon, cluster, gate, leave):
    pipe, go_on = gate
    await shell_of_its_own(daemon, f"read x <{pipe}")
    async with opened(daemon, proxy_exec("sleep", "1006", **TTY, **IN_ODD)) as ws:
        if (left := leave(ws)) is not None:
            await left
        await daemon.event("session ended", reason="client_left", tty=True)
    go_on()
    go_on()
    await daemon.event("process hung up")
    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)


async def test_a_slow_shell_whose_apiserver_is_lost(daemon, cluster, gate):
    await shell_of_its_own(daemon, f"read x <{gate[0]}")
    async with opened(daemon, proxy_exec("sleep", "1007", **TTY, **IN_ODD)) as ws:
        await cluster.stop_listening(drop=True)
        assert (await ws.finish()).code == 1011
    await daemon.event("session ended", reason="upstream_lost")


async def test_what_the_shell_complains_of_is_not_seen(daemon, dials):
    """bash does, of a locale that isn't there."""
    await shell_of_its_own(daemon, 'echo "sh: warning: setlocale: LC_ALL: cannot change locale (xx_YY.UTF-8)" >&2')
    before = len(dials())
    ended_ = await run(daemon, proxy_exec("echo", "hello", **TTY, **IN_ODD))
    assert (ended_.text(STDOUT), ended_.exit_code) == ("hello\r\n", 0)
    assert len(dials()) == before + 1, "it wasn't started plainly"


async def test_where_the_shell_would_change_the_environment_it_is_not_asked_for_again(daemon, dials):
    await shell_of_its_own(daemon, "", 'MY-VAR=1 /bin/dash "$@"')
    before = len(dials())
    for count in (2, 3):
        ended_ = await run(daemon, proxy_exec("env", **TTY, **IN_ODD))
        assert "SHLVL" not in ended_.text(STDOUT)
        assert "MY-VAR" not in ended_.text(STDOUT), "it is only the shell's"
        assert len(dials()) == before + count


async def test_where_the_shell_was_fit_it_need_not_show_it_again(daemon, dials):
    count = len(dials())
    for fit in ("-", started(1)):
        ended_ = await run(daemon, proxy_exec("printenv", "PATH", **TTY))
        assert ended_.exit_code == 0
        (asked,) = dials()[count:]
        count += 1
        assert parse_qs(urlsplit(asked).query, keep_blank_values=True)["command"][3:] == ["sh", fit, "printenv", "PATH"]


async def test_an_apiserver_without_v5_is_not_told_of_the_shell(daemon, dials, monkeypatch):
    """On v4 an exit status comes with the command line (docs/observed.md, "Channel 3")."""
    monkeypatch.setattr(codec, "choose", lambda offered: codec.V4 if "v4.channel.k8s.io" in offered else None)
    for count in (2, 3):
        ended_ = await run(daemon, on_terminal("exit 3"))
        assert ended_.exit_code == 3
        assert ended_.status["message"].endswith("[sh -c exit 3]"), ended_.status["message"]
        assert len(dials()) == count


async def test_where_there_is_no_shell_it_is_not_asked_for_again(daemon, dials):
    # A container comes up with the first process in it, which takes a busy machine longer than a shell is waited for.
    await run(daemon, proxy_exec("cat", "/dev/null", pod="bare", container="bare", **PIPES))
    target = proxy_exec("cat", pod="bare", container="bare", **TTY)
    for count in (3, 4):
        async with opened(daemon, target) as ws:
            await ws.send(STDIN, b"typed\n")
            await ws.until(STDOUT, b"typed\r\ntyped\r\n")
            await close(ws)
            await ws.finish()
        assert len(dials()) == count


async def test_on_pipes_the_command_is_sent_as_it_is(daemon, dials):
    await run(daemon, proxy_exec("true", **PIPES))
    (target,) = dials()
    assert "command=true&" in target


@pytest.mark.parametrize("how", Death, ids=lambda how: how.name)
async def test_an_apiserver_that_dies_before_the_command_runs(daemon, cluster, how):
    """At every byte of what it says first."""
    for sent in range(40):
        cluster.faults.die_after(sent, how)
        data = request(daemon, SHELL)
        async with rawws.connected(daemon.port, data) as ws:
            assert ws.answer.status == 101
            assert (await ws.finish()).code == 1011
    cluster.faults.clear()
    assert (await run(daemon, proxy_exec("true", **TTY))).exit_code == 0


async def test_a_daemon_that_is_killed_leaves_its_terminals_to_the_next(start, tmp_path):
    state = {"STATE_DIR": str(tmp_path / "state")}
    daemon = await start(**state)
    async with contextlib.AsyncExitStack() as stack:
        terminals = [await stack.enter_async_context(opened(daemon, SHELL)) for _ in range(20)]
        pids = [await pid_from(ws) for ws in terminals]
        file = tmp_path / "state" / "processes"
        while not file.exists() or len(file.read_bytes().splitlines()) <= 20:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
        await daemon.terminate(signal.SIGKILL)
    assert all(map(alive, pids)), "as without a proxy"
    second = await start(**state)
    line = await second.event("a daemon before this one has ended untidily: hanging up what it left")
    assert (line["level"], line["count"]) == ("warning", 20)
    for pid in pids:
        hung_up = await second.event("process hung up", pid=str(pid))
        assert (hung_up["pod"], "session" in hung_up) == ("shell", False)
        await ended(pid)
    assert await second.terminate() == 0
    third = await start(**state)
    await third.event("listening")
    assert not [line for line in third.log if line["event"].startswith("a daemon before")]


async def test_a_file_that_is_no_journal_is_said_and_harms_nothing(start, tmp_path):
    boot = await asyncio.to_thread(Path("/proc/sys/kernel/random/boot_id").read_bytes)
    (tmp_path / "processes").write_bytes(boot + b"nonsense\n" * 3)
    daemon = await start(STATE_DIR=str(tmp_path))
    assert (await daemon.event("lines of the state file can't be read"))["lines"] == 3
    assert (await run(daemon, on_terminal("exit 3"))).exit_code == 3
