"""The shell that introduces itself and the one that hangs up, run for real by every shell that is here."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import PING, PONG, Frame, closing, cut_at, server
from support.procfs import fields, started

from k8s_ws_proxy.wire.container import greeting as readers
from k8s_ws_proxy.wire.container import orphans
from k8s_ws_proxy.wire.container.greeting import (
    LONGEST_ANSWER,
    LONGEST_GREETING,
    Answers,
    Greeting,
    Nonsense,
    NotStarted,
)
from k8s_ws_proxy.wire.container.orphans import MOST_AT_ONCE, Process, hang_up, introduced
from k8s_ws_proxy.wire.framing import channels
from k8s_ws_proxy.wire.framing.frames import FrameViolation

SHELLS = [
    *([shell] for shell in ("dash", "bash", "mksh", "zsh") if shutil.which(shell)),
    *([["busybox", "sh"]] if shutil.which("busybox") else []),
    ["sh"],
]
EACH_SHELL = pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
LINE = server(1, b"k8s-ws-proxy: process 17 4711 9\r\n")
IT = Process("17", "4711")


def under(shell, argv):
    """``argv``, which begins with ``sh``, run by this one."""
    assert argv[0] == "sh"
    return [*shell, *argv[1:]]


def run(shell, command, **env):
    env = {"PATH": os.environ["PATH"], **env}
    return subprocess.run(under(shell, introduced(command)), env=env, capture_output=True, timeout=30, check=False)


def brings(shell, *names):
    """Whether a shell runs these programs where PATH has none: Debian's busybox-static has all of them within."""
    tried = [[*shell, "-c", f"{name} </dev/null"] for name in names]
    return all(
        subprocess.run(each, env={"PATH": "/nope"}, capture_output=True, check=False).returncode != 127
        for each in tried
    )


def path_of(directory, *names):
    """A PATH on which there are only these programs."""
    for name in names:
        (directory / name).symlink_to(shutil.which(name))
    return str(directory)


@EACH_SHELL
def test_it_becomes_the_command_it_introduced(shell):
    done = run(shell, [sys.executable, "-c", "import os; print(os.getpid(), open('/proc/self/stat').read())"])
    line, rest = done.stdout.decode().split("\n", 1)
    pid, stat = rest.split(" ", 1)
    assert line == f"k8s-ws-proxy: process {pid} {stat.rpartition(') ')[2].split()[19]} {started(1)}"
    assert done.stderr == b""


def on_terminal_of_ours(shell, command):
    """The process, and the terminal's other end, on which ``command`` is started in a session of its own."""
    ours, theirs = os.openpty()
    argv = under(shell, introduced(command))
    env = {"PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        ["setsid", "--ctty", *argv], env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=False
    )
    os.close(theirs)
    return process, ours


def read_until(fd, pattern):
    """What comes from the terminal up to what the pattern finds."""
    seen = b""
    while (found := re.search(pattern, seen)) is None:
        seen += os.read(fd, 4096)
    return found


@EACH_SHELL
def test_the_command_waits_for_the_size_of_its_terminal(shell):
    process, ours = on_terminal_of_ours(shell, ["sh", "-c", "stty size; echo over; read x"])
    try:
        read_until(ours, rb"k8s-ws-proxy: process [^\n]*\n")
        termios.tcsetwinsize(ours, (33, 111))
        assert read_until(ours, rb"(?s)^(.*)over")[1].split() == [b"33", b"111"]
        assert group(process.pid) == [str(process.pid)], "nothing is left of the wait"
        os.write(ours, b"\n")
        assert process.wait(30) == 0
    finally:
        os.close(ours)
        process.wait(30)


@EACH_SHELL
def test_where_no_size_comes_the_command_starts_all_the_same(shell):
    process, ours = on_terminal_of_ours(shell, ["sh", "-c", "echo over; read x"])
    try:
        read_until(ours, rb"over")
        assert termios.tcgetwinsize(ours) == (0, 0)
        assert group(process.pid) == [str(process.pid)], "nothing is left of the wait"
    finally:
        os.close(ours)
        process.wait(30)


ARGUMENTS = [
    "",
    "two  words ",
    "it's",
    '"',
    "$(touch /tmp/never)",
    "$HOME",
    "*",
    "~",
    "a\nb\n",
    "-n",
    "--",
    "é",
    "x" * 9999,
]


@EACH_SHELL
def test_arguments_arrive_as_they_were_sent(shell):
    done = run(shell, ["printf", "%s\\0", *ARGUMENTS])
    assert done.stdout.partition(b"\n")[2] == b"".join(text.encode() + b"\0" for text in ARGUMENTS)


ENVIRON = ["cat", "/proc/self/environ"]
ORDINARY = {"A": "two\nlines, A=1", "HOME": "/", "EMPTY": "", "TERM": "xterm", "B": "é \udcff"}
UNUSUAL = [
    {"spring.datasource.url": "jdbc:x"},
    {"MY-VAR": "1"},
    {"BASH_FUNC_x%%": "() { echo hi; }"},
    {"PWD": "/from/image"},
    {"PWD": "/"},
    {"OLDPWD": "/"},
    {"SHLVL": "0"},
    {"SHLVL": "1"},
    {"SHLVL": "5"},
    {"IFS": "x"},
    {"OPTIND": "5"},
    {"PPID": "77"},
    {"UID": "77"},
    {"POSIXLY_CORRECT": "1"},
    {"_": "mine"},
    {"LINES": "5", "COLUMNS": "77"},
    {"BASH_VERSION": "5"},
    dict.fromkeys(("directory", "file", "first", "mine", "started", "stat"), "1"),
]


def entries(environ):
    return sorted(f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in environ.items())


def received(shell, env, fit="", **kwargs):
    """What a command receives whose shell is given ``env``; None if it isn't started."""
    argv = under(shell, introduced(ENVIRON, fit))
    done = subprocess.run(argv, env=env, capture_output=not kwargs, timeout=30, check=False, **kwargs)
    if done.returncode == 3:
        assert not done.stdout
        return None
    assert (done.returncode, done.stderr or b"") == (0, b"")
    line, environ = done.stdout.split(b"\n", 1)
    assert line.startswith(b"k8s-ws-proxy: process ")
    return sorted(environ.removesuffix(b"\0").split(b"\0"))


@EACH_SHELL
def test_the_environment_arrives_as_it_was(shell):
    env = {"PATH": os.environ["PATH"], **ORDINARY}
    assert received(shell, env) == entries(env)


@EACH_SHELL
@pytest.mark.parametrize("unusual", UNUSUAL, ids=" ".join)
def test_where_the_shell_would_change_the_environment_it_starts_nothing(shell, unusual):
    env = {"PATH": os.environ["PATH"], **ORDINARY, **unusual}
    assert received(shell, env) in (None, entries(env))


@EACH_SHELL
def test_the_size_of_the_terminal_changes_nothing_in_the_environment(shell):
    """bash sets LINES and COLUMNS after a child has ended."""
    env = {"PATH": os.environ["PATH"], "LINES": "5", "COLUMNS": "77"}
    ours, theirs = os.openpty()
    termios.tcsetwinsize(ours, (33, 111))
    try:
        seen = received(shell, env, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE)
    finally:
        os.close(ours)
        os.close(theirs)
    assert seen in (None, entries(env))


NEEDED = ["tr", "sort", "env", "head", "cat"]


@EACH_SHELL
@pytest.mark.parametrize("missing", NEEDED[:4])
def test_where_what_it_takes_to_know_is_not_there_nothing_is_started(shell, missing, tmp_path):
    env = {"PATH": path_of(tmp_path, *(name for name in NEEDED if name != missing))}
    shell = [shutil.which(shell[0]), *shell[1:]]
    assert received(shell, env) == (entries(env) if brings(shell, missing) else None)


@EACH_SHELL
@pytest.mark.parametrize(("of_a_container", "looks"), [("of this one", False), ("of another", True)])
def test_the_environment_is_looked_at_once_in_a_container(shell, of_a_container, looks, tmp_path):
    fit = {"of this one": started(1), "of another": str(int(started(1)) + 1)}[of_a_container]
    env = {"PATH": path_of(tmp_path, "env", "head", "cat")}  # and nothing to look with
    shell = [shutil.which(shell[0]), *shell[1:]]
    seen = received(shell, env, fit)
    assert (seen is None) is (looks and not brings(shell, "tr", "sort"))
    assert seen in (None, entries(env))


@EACH_SHELL
@pytest.mark.parametrize("status", [0, 1, 42, 127])
def test_its_exit_status_is_the_command_s(shell, status):
    assert run(shell, ["sh", "-c", f"exit {status}"]).returncode == status


@EACH_SHELL
@pytest.mark.parametrize(
    "command", ["no-such-command", "/etc/passwd", "/etc", "", "cd", "/nope/nope", ".", "-x", "a=b", "/a=b"]
)
def test_what_can_not_be_started_is_left_to_the_runtime(shell, command):
    done = run(shell, [command])
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 127)


NOT_TO_BE_STARTED = {
    "an interpreter that isn't there": b"#!/nope/sh\n",
    "an interpreter with a carriage return": b"#!/bin/sh\r\ntrue\r\n",
    "an interpreter that is a directory": b"#! /etc\n",
    "no interpreter's name": b"#!",
    "no interpreter": b"true\n",
    "nothing": b"",
    "a program of nobody's": b"\x7fELF of no kind\n",
    "a program of the other byte order": b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16\n",
    "a program's first bytes": b"\x7fELF",
}


@EACH_SHELL
@pytest.mark.parametrize("content", NOT_TO_BE_STARTED.values(), ids=NOT_TO_BE_STARTED)
@pytest.mark.parametrize("by", ["name", "path"])
def test_what_the_runtime_could_not_start_is_left_to_it(shell, content, by, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    command = "program" if by == "name" else str(program)
    done = run(shell, [command], PATH=f"/nope:{tmp_path}:{os.environ['PATH']}")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 127)


@EACH_SHELL
@pytest.mark.parametrize("first", ["#!/bin/sh", "#! /bin/sh -e", "#!\t/bin/sh ", "#!/usr/bin/env sh"])
def test_a_script_is_started(shell, first, tmp_path):
    program = tmp_path / "a program"
    program.write_text(f'{first}\necho "$@"')
    program.chmod(0o755)
    assert run(shell, [str(program), "a b"]).stdout.partition(b"\n")[2] == b"a b\n"


def group(number):
    """The processes of a group that run; those that have ended and are still to be collected don't."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _parent, its_group = fields(directory.name)[:3]
            if its_group == str(number) and state != "Z":
                found.append(directory.name)
    return found


def killed(number):
    """Wait until a group that was sent a SIGKILL is gone: that takes as long as the kernel lets it wait for a core."""
    while group(number):
        time.sleep(0.01)


@pytest.fixture
def victim():
    """Starts a process in a session of its own, as a runtime does, and says when it is ready."""
    running = []

    def start(text):
        process = subprocess.Popen(["sh", "-c", text], start_new_session=True, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process, Process(str(process.pid), started(process.pid))

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def hang_up_by(shell, process, monkeypatch, grace=5):
    monkeypatch.setattr(orphans, "GRACE", grace)
    env = {"PATH": os.environ["PATH"]}
    return subprocess.Popen(under(shell, hang_up([process])), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def said(hanging):
    out, err = hanging.communicate(timeout=30)
    assert hanging.returncode == 0
    return out, err


@EACH_SHELL
def test_a_hang_up(shell, victim, monkeypatch):
    process, name = victim("echo ready; exec sleep 1000")
    hanging = hang_up_by(shell, name, monkeypatch)
    assert process.wait(30) == -signal.SIGHUP
    assert said(hanging) == (b"hung up\n", b"")


@EACH_SHELL
def test_who_may_not_be_signalled_is_said_not_to_have_been(shell, victim):
    process, name = victim("echo ready; exec sleep 1000")
    argv = under(shell, hang_up([name]))
    argv[argv.index("-c") + 1] = "kill() { return 1; }\n" + argv[argv.index("-c") + 1]
    done = subprocess.run(argv, env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == (b"failed\n", b"")
    assert process.poll() is None


@EACH_SHELL
def test_a_stopped_one_is_continued(shell, victim, monkeypatch):
    process, name = victim("trap 'exit 9' HUP; echo ready; while :; do sleep 0.1; done")
    os.kill(process.pid, signal.SIGSTOP)
    hanging = hang_up_by(shell, name, monkeypatch)
    assert process.wait(30) == 9
    said(hanging)


@EACH_SHELL
def test_one_that_does_not_mind_is_killed_after_the_grace(shell, victim, monkeypatch):
    process, name = victim("trap '' HUP; echo ready; sleep 1000; sleep 1000")
    hanging = hang_up_by(shell, name, monkeypatch, grace=1)
    assert process.wait(30) == -signal.SIGKILL
    said(hanging)
    killed(process.pid)


@EACH_SHELL
def test_its_group_is_killed_when_it_has_gone(shell, victim, monkeypatch):
    process, name = victim("(trap '' HUP; echo ready; exec sleep 1000) & wait")
    hanging = hang_up_by(shell, name, monkeypatch, grace=1)
    assert process.wait(30) == -signal.SIGHUP
    assert len(group(process.pid)) == 1
    said(hanging)
    killed(process.pid)


@EACH_SHELL
def test_another_process_of_the_same_number_is_not_touched(shell, victim, monkeypatch):
    process, name = victim("echo ready; exec sleep 1000")
    hanging = hang_up_by(shell, Process(name.pid, str(int(name.started) - 1)), monkeypatch)
    assert said(hanging) == (b"gone\n", b"")
    assert process.poll() is None


@EACH_SHELL
def test_one_that_has_gone_is_gone(shell, monkeypatch):
    assert said(hang_up_by(shell, Process("4194304", "1"), monkeypatch)) == (b"gone\n", b"")


@EACH_SHELL
def test_several_are_hung_up_together_and_each_is_told_of(shell, victim, monkeypatch):
    stubborn, its_name = victim("trap '' HUP; echo ready; sleep 1000; sleep 1000")
    process, name = victim("echo ready; exec sleep 1000")
    group_of, led = victim("(trap '' HUP; echo ready; exec sleep 1000) & wait")
    monkeypatch.setattr(orphans, "GRACE", 1)
    command = hang_up([its_name, Process("4194304", "1"), name, led])
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(under(shell, command), env=env, capture_output=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == (b"hung up\ngone\nhung up\nhung up\n", b"")
    assert [each.wait(30) for each in (stubborn, process, group_of)] == [-9, -1, -1]
    killed(stubborn.pid)
    killed(group_of.pid)


@EACH_SHELL
def test_one_that_has_ended_and_was_not_collected_is_gone(shell, victim, monkeypatch):
    process, name = victim("echo ready")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert said(hang_up_by(shell, name, monkeypatch)) == (b"gone\n", b"")


@EACH_SHELL
def test_a_process_may_have_any_name(shell, victim, monkeypatch, tmp_path):
    program = tmp_path / "a) S 1 (b) c"
    shutil.copy(shutil.which("sleep"), program)
    process, name = victim(f"echo ready; exec '{program}' 1000")
    while "a) S" not in Path(f"/proc/{process.pid}/stat").read_text():
        pass
    hanging = hang_up_by(shell, name, monkeypatch)
    assert process.wait(30) == -signal.SIGHUP
    said(hanging)


def test_no_part_of_the_command_is_in_the_script():
    wrapped = introduced(["rm", "-rf", "$(x)"])
    assert wrapped[:2] == ("sh", "-c")
    assert wrapped[3:] == ("sh", "-", "rm", "-rf", "$(x)")
    assert not re.search(r"rm|x\)", wrapped[2].replace("exit", ""))


LINE_PATTERN = readers._LINE


def failure(message):
    """A command that couldn't be started, as the apiserver tells it."""
    return channels.failure(message, reason="InternalError", code=500)


def exited(code):
    """A command's end, as the apiserver tells it."""
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}).encode()


def greet(*parts):
    greeting = Greeting()
    return greeting, [greeting.take(part) for part in parts]


def test_the_line_is_taken_out_wherever_it_is_cut():
    stream = server(1, b"") + Frame(PING, b"?").encode() + LINE + server(1, b"$ ") + server(2, b"x")[:3]
    for offset in range(1, len(stream)):
        greeting, taken, over = Greeting(), b"", False
        for part in cut_at(stream, [offset]):
            if not over:
                taken += part
                over = greeting.take(part)
        assert over
        assert (greeting.process, greeting.fit) == (IT, "9")
        assert greeting.rest == taken.replace(LINE, b"")


def test_the_line_may_come_in_pieces_and_with_more():
    greeting, over = greet(server(1, b"k8s-ws-pro"), server(1, b"xy: process 17 47"), server(1, b"11 \n$ "))
    assert over == [False, False, True]
    assert (greeting.process, greeting.rest, greeting.fit) == (IT, server(1, b"$ "), "")


def test_what_the_shell_says_before_it_is_left_out():
    greeting, over = greet(server(1, b""), server(1, b"warning: "), server(1, b"setlocale\r\n" + LINE[2 + 1 :] + b"$ "))
    assert (greeting.process, greeting.rest) == (IT, server(1, b"") + server(1, b"$ "))
    assert over == [False, False, True]


def test_a_shell_that_talks_on_is_let_alone():
    greeting, over = greet(*[server(1, b"x" * 30_000)] * 3)
    assert over == [False, False, True]
    assert greeting.process is None
    assert greeting.rest.count(b"x") == 90_000 > LONGEST_GREETING


@pytest.mark.parametrize(
    ("end", "unfit"),
    [
        (failure('OCI runtime exec failed: exec: "sh": executable file not found in $PATH: unknown'), True),
        (failure("executable file `sh` not found in $PATH: No such file or directory"), True),
        (failure('exec: "/bin/sh": stat /bin/sh: no such file or directory'), True),
        (failure("cannot join cgroup: device or resource busy"), False),
        (failure("context deadline exceeded"), False),
        (exited(127), False),
        (exited(3), True),
        (b"what", False),
        (b'{"status":"Success"}', False),
        (None, False),
    ],
)
def test_an_end_before_the_line(end, unfit):
    """Only what is certain is told as such: a runtime may be busy, a connection may be lost."""
    with pytest.raises(NotStarted) as error:
        greet(server(1, b""), closing(1000) if end is None else server(3, end))
    assert error.value.unfit is unfit


def test_what_the_shell_says_is_looked_at_once_however_it_comes(monkeypatch):
    """A container decides how many messages it takes for 64 KiB."""
    looked = []

    class Recorder:
        def search(self, line, begin):
            looked.append(len(line) - begin)
            return LINE_PATTERN.search(line, begin)

    monkeypatch.setattr(readers, "_LINE", Recorder())
    greeting, _ = greet(server(1, b"\n") * 20_000)
    assert greeting.strange
    assert sum(looked) <= 20_000 * 100


def answers(*parts, count=1):
    """What has been said when the parts have come, and whether that was all."""
    hanging = Answers(count)
    taken = [hanging.take(part) for part in parts]
    return any(taken), hanging.outcomes


def test_what_hanging_up_said():
    assert answers(b"") == (False, [])
    assert answers(server(1, b"") + server(1, b"hung")) == (False, [])
    hung_up = server(1, b"") + server(1, b"hung") + Frame(PONG, b"").encode() + server(1, b" up\n")
    assert answers(hung_up) == (True, ["hung_up"])
    assert answers(*[hung_up[at : at + 1] for at in range(len(hung_up))]) == (True, ["hung_up"])
    assert answers(server(1, b"gone\n")) == (True, ["gone"])
    assert answers(server(1, b"failed\n")) == (True, ["failed"])
    for end in (server(3, b"{}"), closing(1000)):
        with pytest.raises(NotStarted):
            answers(end)


def test_what_hanging_up_said_of_several():
    said = server(1, b"gone\nhu") + server(1, b"ng up\nfailed\n") + server(1, b"gone\n")
    assert answers(said, count=4) == (True, ["gone", "hung_up", "failed", "gone"])
    assert answers(said, count=5) == (False, ["gone", "hung_up", "failed", "gone"])
    assert answers(said + server(1, b"more"), count=4) == (True, ["gone", "hung_up", "failed", "gone"])
    half = Answers(2)
    with pytest.raises(NotStarted):
        half.take(server(1, b"gone\n") + closing(1000))
    assert half.outcomes == ["gone"], "what was said counts"


@pytest.mark.parametrize(
    "part",
    [server(1, b"x"), server(1, b"x" * 200), server(1, b"x\n"), server(2, b"x" * 30_000), Frame(PONG, b"").encode()],
)
def test_of_what_talks_on_instead_so_much_is_read_and_no_more(part):
    hanging, parts = Answers(MOST_AT_ONCE), itertools.repeat(part, 10 * LONGEST_ANSWER)
    with pytest.raises(Nonsense):
        list(map(hanging.take, parts))
    assert len(list(parts)) * len(part) > 8 * LONGEST_ANSWER
    assert len(hanging._line) + len(hanging._buffer) <= LONGEST_ANSWER


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_whatever_comes_only_what_is_documented_is_raised(parts):
    greeting = Greeting()
    try:
        for part in parts:
            if greeting.take(part):
                break
        answers(b"".join(parts))
    except (NotStarted, Nonsense, FrameViolation):
        pass
