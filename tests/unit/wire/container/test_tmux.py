"""The wrapped command, run for real: by /bin/sh without tmux, and by tmux on a terminal."""

from __future__ import annotations

import ast
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from k8s_ws_proxy.wire.container import tmux

ARGUMENTS = {
    "plain": "plain",
    "spaces": "two  words ",
    "empty": "",
    "single quotes": "it's",
    "double quotes": 'say "hi"',
    "command substitution": "$(touch /tmp/never) `id`",
    "variables": "$HOME ${PATH} $$ $1",
    "tmux formats": "#{pane_id} #S #(id) %H",
    "backslash": "a\\b\\",
    "two backslashes": "a\\\\",
    "semicolon": ";",
    "semicolon at the end": "a;",
    "two semicolons": "a;;",
    "escaped semicolon": "\\;",
    "escaped semicolon at the end": "a\\;",
    "two backslashes and a semicolon": "a\\\\;",
    "semicolon inside": "a;b",
    "brace": "{",
    "an option": "-i",
    "the end of options": "--",
    "an assignment": "a=b",
    "a glob": "*",
    "a tilde": "~",
    "a comment": "# no",
    "a new line": "two\nlines",
    "a new line at the end": "line\n",
    "a new line and a semicolon": "line\n;",
    "a tab": "a\tb",
    "an escape": "\x1b[31m",
    "non-ASCII": "é✓😀",
    "bytes that aren't UTF-8": "\udcff\udcfe",
    "redirections": ">&2 </dev/null | cat & wait",
    "long": "x" * 5000,
}
# Writes what it was given, NUL-separated, to its first argument. Python, so that no shell has a say in it.
REPORT = "import os,sys; open(sys.argv[1],'wb').write(b'\\0'.join(map(os.fsencode,sys.argv[2:])))"


def reporting(report, arguments):
    return [sys.executable, "-c", REPORT, str(report), *arguments]


@pytest.fixture
def without_tmux(tmp_path):
    """An environment with nothing on PATH but a shell."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    return {"PATH": str(tmp_path / "bin")}


def run(command, env, **options):
    return subprocess.run(tmux.wrap(command), env=env, capture_output=True, check=False, timeout=60, **options)


def test_without_tmux_every_argument_arrives_as_it_was_sent(without_tmux, tmp_path):
    done = run(reporting(tmp_path / "report", ARGUMENTS.values()), without_tmux)
    assert done.returncode == 0
    assert (tmp_path / "report").read_bytes().split(b"\0") == [os.fsencode(one) for one in ARGUMENTS.values()]


def test_without_tmux_it_is_said_on_stderr_in_one_line(without_tmux):
    done = run(["sh", "-c", "echo out; echo err >&2; exit 7"], without_tmux)
    line, err = done.stderr.splitlines()
    assert line == b"k8s-ws-proxy: there is no tmux in this container; the session is not shared"
    assert (done.stdout, err, done.returncode) == (b"out\n", b"err", 7)


def test_without_tmux_stdin_is_the_commands(without_tmux):
    assert run(["sh", "-c", 'read line; echo "$line"'], without_tmux, input=b"typed\nmore\n").stdout == b"typed\n"


def test_without_tmux_the_command_takes_the_shells_place(without_tmux):
    with subprocess.Popen(
        tmux.wrap(["sh", "-c", "echo $$"]), env=without_tmux, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert int(process.communicate()[0]) == process.pid


@pytest.mark.parametrize(("command", "code"), [(["/nowhere/at/all"], 127), (["not-a-command"], 127), (["/"], 126)])
def test_a_command_that_cannot_be_run(without_tmux, command, code):
    assert run(command, without_tmux).returncode == code


def test_the_command_is_never_part_of_the_script():
    script = tmux.wrap(["a"])[:4]
    assert script[:2] == ("sh", "-c")
    assert tmux.wrap(["$(id)", "'"]) == (*script, "$(id)", "'")


class Terminal:
    """A process on a terminal of its own, its output drained for as long as somebody waits."""

    def __init__(self, command, env, *, rows=24, columns=80):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.shown = b""

    def wait_for(self, fd):
        """One chunk from ``fd``, or its end; meanwhile the terminal is read, so that nobody waits for us."""
        while True:
            ready, _, _ = select.select([fd, self.master], [], [], 60)
            assert ready, f"nothing for a minute; the terminal shows {self.shown!r}"
            if fd in ready:
                return os.read(fd, 1 << 16)
            self._drain()

    def shows(self, text):
        """Wait until it does."""
        while text not in self.shown:
            ready, _, _ = select.select([self.master], [], [], 60)
            assert ready, f"nothing for a minute; the terminal shows {self.shown!r}"
            assert self._drain(), f"it ended: {self.shown!r}"

    def finish(self):
        """Wait for the end of the process."""
        while self._drain():
            pass
        return self.process.wait(60)

    def _drain(self):
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: nobody has the other end open any more
            data = b""
        self.shown += data
        return data

    def type(self, keys):
        """Once tmux's status line is there: what is typed before a client has its terminal may be lost."""
        self.shows(b"[catalyst")
        os.write(self.master, keys)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


class Fifo:
    """Where a command in a pane leaves word, and we wait for it."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDWR)  # read and write: no end is seen between two writers

    def close(self):
        os.close(self.fd)


@pytest.fixture
def server(tmp_path_factory):
    """The environment of a tmux server of its own."""
    found = shutil.which("tmux")
    assert found, "tmux isn't installed: these tests run the real one"
    directory = tmp_path_factory.mktemp("t")
    env = {"PATH": os.environ["PATH"], "TMUX_TMPDIR": str(directory), "HOME": str(directory), "TERM": "xterm"}
    yield env
    subprocess.run([found, "kill-server"], env=env, capture_output=True, check=False, timeout=60)


@pytest.fixture
def terminals():
    opened = []
    yield lambda *arguments, **options: opened.append(Terminal(*arguments, **options)) or opened[-1]
    for terminal in opened:
        terminal.close()


@pytest.fixture
def fifo(tmp_path):
    one = Fifo(tmp_path / "fifo")
    yield one
    one.close()


def ask(env, *arguments):
    done = subprocess.run(["tmux", *arguments], env=env, capture_output=True, check=True, timeout=60)
    return done.stdout.decode().strip()


def test_in_tmux_every_argument_arrives_as_it_was_sent(server, terminals, tmp_path):
    terminal = terminals(tmux.wrap(reporting(tmp_path / "report", ARGUMENTS.values())), server)
    terminal.finish()
    assert (tmp_path / "report").read_bytes().split(b"\0") == [os.fsencode(one) for one in ARGUMENTS.values()]


@pytest.mark.parametrize("argument", [";", "\\;", "a;", "", "-i", "a=b", "two\nlines\n", "$(id)"])
def test_in_tmux_an_argument_that_comes_last_arrives_as_it_was_sent(server, terminals, tmp_path, argument):
    terminals(tmux.wrap(reporting(tmp_path / "report", [argument])), server).finish()
    assert (tmp_path / "report").read_bytes() == argument.encode()


@pytest.mark.parametrize("command", [["sh"], ["sh", "-i"]], ids=" ".join)
def test_a_shell_in_tmux_is_typed_to(server, terminals, fifo, command):
    terminal = terminals(tmux.wrap(command), {**server, "FIFO": str(fifo.path)})
    terminal.type(b'printf "%s %s" "$TMUX_PANE" "$TERM" >"$FIFO"\r')
    pane, term = terminal.wait_for(fifo.fd).decode().split()
    assert pane.startswith("%")
    assert term
    terminal.type(b"exit\r")
    terminal.finish()


WAITING = 'printf "%s " "$1" >"$2"; read -r line; printf "%s" "$line" >"$2"'


def test_the_second_caller_joins_and_its_command_is_not_started(server, terminals, fifo):
    first = terminals(tmux.wrap(["sh", "-c", WAITING, "sh", "first", str(fifo.path)]), server)
    assert first.wait_for(fifo.fd) == b"first "
    second = terminals(tmux.wrap(["sh", "-c", WAITING, "sh", "second", str(fifo.path)]), server)
    second.type(b"typed by the second\r")
    assert second.wait_for(fifo.fd) == b"typed by the second"
    assert first.finish() == second.finish() == 0
    assert b"typed by the second" in first.shown
    assert b"typed by the second" in second.shown


def test_the_session_has_its_name_and_the_windows_size_follows_the_latest_client(server, terminals, fifo):
    command = tmux.wrap(
        ["sh", "-c", 'trap "stty size >$1" WINCH; stty size >"$1"; while :; do read -r x; done', "sh", str(fifo.path)]
    )
    small = terminals(command, server, rows=20, columns=70)
    assert small.wait_for(fifo.fd) == b"19 70\n"  # the last line is tmux's
    assert ask(server, "list-sessions", "-F", "#{session_name}") == "catalyst-ops"
    assert ask(server, "show-options", "-w", "-t", "catalyst-ops:", "window-size") == "window-size latest"
    large = terminals(command, server, rows=40, columns=120)
    assert large.wait_for(fifo.fd) == b"39 120\n"
    small.type(b"x")
    assert small.wait_for(fifo.fd) == b"19 70\n"


def test_no_mistake_is_told_by_tmux(server, terminals, tmp_path):
    terminal = terminals(tmux.wrap(["true"]), server)
    assert terminal.finish() == 0
    for word in (b"unknown", b"invalid", b"no such", b"not found", b"ambiguous", b"usage"):
        assert word not in terminal.shown.lower()


def test_a_container_without_a_terminal_type_has_one(server, terminals, fifo):
    env = {name: value for name, value in server.items() if name != "TERM"}
    terminal = terminals(tmux.wrap(["sh", "-c", 'printf up >"$1"', "sh", str(fifo.path)]), env)
    assert terminal.wait_for(fifo.fd) == b"up"


SHELLS = [
    *([shell] for shell in ("dash", "bash", "mksh") if shutil.which(shell)),
    *([["busybox", "sh"]] if shutil.which("busybox") else []),
]


@pytest.fixture(params=SHELLS, ids=" ".join)
def shell_server(request, server, tmp_path):
    """As ``server``, where sh is this one."""
    (tmp_path / "sh").symlink_to(shutil.which(request.param[0]))
    return {**server, "PATH": f"{tmp_path}:{server['PATH']}"}


def saying(fifo, script, *, first=":"):
    """A command that says it is there before it goes on, in a shell that isn't under test."""
    return ["/bin/sh", "-c", f'{first}; echo there >"$0"; {script}', str(fifo.path)]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["false"], 1),
        (["/bin/sh", "-c", "exit 7"], 7),
        (["/bin/sh", "-c", "exit 255"], 255),
        (["/bin/sh", "-c", "kill -KILL $$"], 137),
        (["/bin/sh", "-c", "kill -TERM $$"], 143),
        (["/nowhere/at/all"], 127),
        (["exit", "3"], 127),
        (["/"], 126),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_who_started_the_session_has_the_commands_exit_status(shell_server, terminals, command, status):
    terminal = terminals(tmux.wrap(command), shell_server)
    assert terminal.finish() == status
    assert terminal.shown.endswith(b"[exited]\r\n")


@pytest.mark.parametrize(
    ("keys", "first", "script", "status"),
    [
        (b"\x03", ":", "exec cat", 130),
        (b"\x1c", "ulimit -c 0", "exec cat", 131),
        (b"\x03", "trap 'exit 5' INT", "while :; do read -r x; done", 5),
        (b"\x1aon\r", ":", "read -r x; exit 6", 6),
        (b"\x04", ":", "exec cat", 0),
    ],
    ids=["^C", "^\\", "^C trapped", "^Z", "^D"],
)
def test_a_key_that_signals_is_the_commands(shell_server, terminals, fifo, keys, first, script, status):
    terminal = terminals(tmux.wrap(saying(fifo, script, first=first)), shell_server)
    assert terminal.wait_for(fifo.fd) == b"there\n"
    terminal.type(keys)
    assert terminal.finish() == status


def test_a_shell_that_controls_jobs_is_one_as_before(shell_server, terminals, fifo):
    terminal = terminals(tmux.wrap(["bash", "--norc", "-i"]), {**shell_server, "FIFO": str(fifo.path)})
    terminal.type(b"sh -c 'echo there >\"$FIFO\"; exec cat'\r")
    assert terminal.wait_for(fifo.fd) == b"there\n"
    terminal.type(b"\x1a")
    terminal.shows(b"Stopped")
    terminal.type(b"kill -KILL $$\r")
    assert terminal.finish() == 137


def test_the_commands_environment_is_as_it_was(shell_server, terminals, tmp_path):
    """Here: but for what tmux sets, what a shell has that starts it and does nothing else."""
    env = {**shell_server, "status": "mine", "client": "mine", "SHLVL": "4", "a": "b"}
    write = "import os,sys; open(sys.argv[1],'w').write(repr(dict(os.environ)))"
    report, plain = tmp_path / "report", tmp_path / "plain"
    terminals(tmux.wrap([sys.executable, "-c", write, str(report)]), env).finish()
    run_by_tmux = ["sh", "-c", 'exec "$@"', "sh", sys.executable, "-c", write, str(plain)]
    terminals(["sh", "-c", 'exec "$@"', "sh", "tmux", "-L", "other", "new-session", *run_by_tmux], env).finish()
    got, expected = ({**ast.literal_eval(each.read_text()), "TMUX": ""} for each in (report, plain))
    assert got == expected
    assert got["status"] == got["client"] == "mine"


def test_who_joined_has_the_clients_exit_status(shell_server, terminals, fifo):
    first = terminals(tmux.wrap(saying(fifo, "read -r x; exit 7")), shell_server)
    assert first.wait_for(fifo.fd) == b"there\n"
    second = terminals(tmux.wrap(["true"]), shell_server)
    second.type(b"\r")
    assert (first.finish(), second.finish()) == (7, 0)
    assert second.shown.endswith(b"[exited]\r\n")


def test_who_started_it_and_detached_has_the_clients_exit_status(server, terminals, fifo):
    first = terminals(tmux.wrap(saying(fifo, "read -r x; exit 7")), server)
    assert first.wait_for(fifo.fd) == b"there\n"
    # Not by keys: two that come within a millisecond are a paste to tmux (its option assume-paste-time).
    ask(server, "detach-client", "-s", "catalyst-ops")
    assert first.finish() == 0
    assert b"[detached (from session catalyst-ops)]" in first.shown
    second = terminals(tmux.wrap(["true"]), server)
    second.type(b"\r")
    assert second.finish() == 0


def test_who_started_it_and_was_killed_leaves_nothing(server, terminals, fifo):
    first = terminals(tmux.wrap(saying(fifo, "read -r x; exit 7")), server)
    assert first.wait_for(fifo.fd) == b"there\n"
    first.process.kill()
    first.process.wait(60)
    second = terminals(tmux.wrap(["true"]), server)
    second.type(b"\r")
    assert second.finish() == 0
    left = {path.name for path in Path(server["TMUX_TMPDIR"]).rglob("*")}
    assert left <= {f"tmux-{os.geteuid()}", "default"}  # tmux's own directory, and its socket


def configured(server, line):
    """tmux reads it when it starts, and says when a pane has ended."""
    (Path(server["HOME"]) / ".tmux.conf").write_text(f"{line}\nset-hook -g pane-exited 'wait-for -S ended'\n")


def test_while_the_session_goes_on_nobody_is_detached(server, terminals, fifo):
    configured(server, "")
    terminal = terminals(tmux.wrap(saying(fifo, "read -r x; exit 7")), server)
    assert terminal.wait_for(fifo.fd) == b"there\n"
    ask(server, "new-window", "-d", "-t", "catalyst-ops:", f"exec cat >{fifo.path}")
    terminal.type(b"\r")
    ask(server, "wait-for", "ended")
    terminal.type(b"typed in the second window\r")
    assert terminal.wait_for(fifo.fd) == b"typed in the second window\n"
    terminal.type(b"\x04")
    assert terminal.finish() == 0


def test_clients_that_go_on_to_another_session_do(server, terminals, fifo):
    configured(server, "set-option -g detach-on-destroy off")
    terminal = terminals(tmux.wrap(saying(fifo, "read -r x; exit 7")), server)
    assert terminal.wait_for(fifo.fd) == b"there\n"
    ask(server, "new-session", "-d", "-s", "other", f"exec cat >{fifo.path}")
    terminal.type(b"\r")
    ask(server, "wait-for", "ended")
    terminal.type(b"typed in the other session\r")
    assert terminal.wait_for(fifo.fd) == b"typed in the other session\n"
    terminal.type(b"\x04")
    assert terminal.finish() == 0


def test_a_pane_that_is_to_remain_remains(server, terminals, fifo):
    configured(server, "set-option -g remain-on-exit on")
    terminal = terminals(tmux.wrap(saying(fifo, "read -r x; exit 7")), server)
    assert terminal.wait_for(fifo.fd) == b"there\n"
    terminal.type(b"\r")
    dead = "tmux display-message -p -t catalyst-ops: '#{pane_dead} #{session_attached}'"
    waiting = ["sh", "-c", f'until said=$({dead}); [ "${{said% *}}" = 1 ]; do sleep 0.02; done; echo $said']
    assert subprocess.run(waiting, env=server, stdout=subprocess.PIPE, check=True, timeout=60).stdout == b"1 1\n"
    ask(server, "kill-session", "-t", "catalyst-ops")
    assert terminal.finish() == 0


@pytest.mark.parametrize("shell", ["/bin/false", "/bin/bash"])
def test_whatever_the_users_shell_is(server, terminals, shell):
    """Most users of a container have one that only ends."""
    assert terminals(tmux.wrap(["sh", "-c", "exit 7"]), {**server, "SHELL": shell}).finish() == 7


@pytest.mark.parametrize("size", [14_500, 14_999], ids=["well below", "just below"])
def test_in_tmux_a_long_command_arrives_as_it_was_sent(server, terminals, tmp_path, size):
    words = reporting(tmp_path / "report", [""])
    words[-1] = "x" * (size - sum(len(word) + 2 for word in words))
    terminals(tmux.wrap(words), server).finish()
    assert (tmp_path / "report").read_bytes() == words[-1].encode()


def test_a_command_too_long_for_tmux_runs_plainly_and_it_is_said(server, tmp_path):
    done = run(reporting(tmp_path / "report", ["é" * 10_000, ";"]), server)
    assert done.stderr == b"k8s-ws-proxy: the command is too long for tmux; the session is not shared\n"
    assert done.returncode == 0
    assert (tmp_path / "report").read_bytes() == ("é" * 10_000).encode() + b"\0;"


READ_ONLY = 'mount -t tmpfs none {0} && {1} mount -o remount,ro {0} && exec env TMUX_TMPDIR={0} "$@"'


@pytest.mark.skipif(shutil.which("tmux") is None or os.geteuid() != 0, reason="needs tmux, and a mount of its own")
@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("", "couldn't create directory"),
        ("mkdir -m 700 {0}/tmux-0 &&", "can't be written"),
    ],
    ids=["without its directory", "with its directory"],
)
def test_where_tmux_has_no_place_for_its_socket_the_command_runs_plainly(tmp_path, before, told):
    mount = READ_ONLY.format(tmp_path, before.format(tmp_path))
    wrapped = tmux.wrap(["sh", "-c", "echo mine; exit 3"])
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *wrapped], capture_output=True, text=True, check=False
    )
    if "unshare" in ran.stderr:
        pytest.skip(ran.stderr)
    assert (ran.returncode, ran.stdout) == (3, "mine\n")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("k8s-ws-proxy: tmux has no place for its socket (")
    assert line.endswith("); the session is not shared")
    assert told in line


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_place_that_is_none_is_told_as_tmux_tells_it(tmp_path):
    (tmp_path / f"tmux-{os.geteuid()}").write_bytes(b"")
    environ = {**os.environ, "TMUX_TMPDIR": str(tmp_path)}
    ran = subprocess.run(tmux.wrap(["echo", "mine"]), capture_output=True, text=True, check=False, env=environ)
    assert (ran.returncode, ran.stdout) == (0, "mine\n")
    assert "is not a directory); the session is not shared" in ran.stderr
