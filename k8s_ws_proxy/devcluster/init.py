"""Process 1 of a container: starts what exec asks for, reaps it, and takes everything down with itself.

It runs as a program of its own (`python -I -S init.py`), for three reasons. It has one thread and little
memory, so it may fork, where a test process with threads may not. As a child subreaper it inherits whatever
loses its parent, a tmux server for example, so that nothing outlives the container. And when the cluster's
process dies, however it dies, the control socket ends and the container goes too.

Standard input is a Unix stream socket with one JSON object a line. `{"id", "argv", "env", "cwd", "tty"}`
starts a process on three file descriptors that come with it (standard input, output, error); `{"id",
"signal"}` sends a signal to the process group. Standard output says what became of it: `{"id", "pid"}` or
`{"id", "errno"}`, later `{"id", "exit"}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
from collections import deque
from typing import Any, NoReturn

_PR_SET_CHILD_SUBREAPER = 36
_FDS_EACH = 3
# What CPython changes at its start, or what this program changes: a new process gets the defaults back.
_CHANGED_SIGNALS = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)


class Init:
    """The children of one container."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._buffer = bytearray()
        self._fds: deque[int] = deque()
        self._ids: dict[int, int] = {}  # pid -> id, for those not yet reaped

    def run(self) -> None:
        """Serve until the control socket ends, then leave no process behind."""
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if wake in ready:
                os.read(wake, 4096)
                self._reap(os.WNOHANG)
            if self._control.fileno() in ready and not self._receive():
                break
        self._end_all()

    def _receive(self) -> bool:
        """Take what has come; False at the end."""
        data, fds, _, _ = socket.recv_fds(self._control, 65536, 64)
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds takes a flag for this, and forgets it
        self._fds.extend(fds)
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._handle(json.loads(line))
        return bool(data)

    def _handle(self, request: dict[str, Any]) -> None:
        if "signal" in request:
            for pid, each in self._ids.items():
                if each == request["id"]:
                    os.killpg(pid, request["signal"])
            return
        fds = [self._fds.popleft() for _ in range(_FDS_EACH)]
        pid, errno = _spawn(request, fds)
        for fd in fds:
            os.close(fd)
        if errno:
            _say({"id": request["id"], "errno": errno})
        else:
            self._ids[pid] = request["id"]
            _say({"id": request["id"], "pid": pid})

    def _reap(self, flags: int) -> bool:
        """Collect the dead, and tell of those that were started by exec. False when there are no children at
        all.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, flags)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self._ids:
                code = os.waitstatus_to_exitcode(status)
                _say({"id": self._ids.pop(pid), "exit": code if code >= 0 else 128 - code})
            if not flags:
                return True

    def _end_all(self) -> None:
        """Kill and collect until there are no children: orphans of the killed become ours, hence the loop."""
        me = os.getpid()
        while True:
            for pid in (children := _children(me)):
                os.kill(pid, signal.SIGKILL)
            for _ in children:  # each is waited for: the list is too dear to be made anew for every one
                self._reap(0)
            if not children and not self._reap(os.WNOHANG):
                return


def _children(parent: int) -> list[int]:
    children = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - as below
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - pathlib would double the start-up time
                    stat = file.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.rpartition(b")")[2].split()[1]) == parent:
                children.append(int(name))
    return children


def _spawn(request: dict[str, Any], fds: list[int]) -> tuple[int, int]:
    """Fork and exec: the pid, and 0 or the errno with which it failed before it was the wanted program."""
    failed_r, failed_w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(request, fds, failed_w)
    os.close(failed_w)
    with os.fdopen(failed_r, "rb") as failed:
        errno = failed.read()
    if errno:
        os.waitpid(pid, 0)
    return pid, int(errno or 0)


def _become(request: dict[str, Any], fds: list[int], failed: int) -> NoReturn:
    """In the child: a session of its own, the terminal as its controlling terminal, and then the program."""
    try:
        for number in _CHANGED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        if request["tty"]:
            fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        os.chdir(request["cwd"])
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    except OSError as exc:
        os.write(failed, str(exc.errno).encode())
    finally:
        os._exit(127)


def _say(reply: dict[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it; the control socket's end follows
        os.write(sys.stdout.fileno(), json.dumps(reply).encode() + b"\n")


def main() -> None:
    """The program."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Init(socket.socket(fileno=sys.stdin.fileno())).run()


if __name__ == "__main__":
    main()
