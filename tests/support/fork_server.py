"""A process that has imported our command line, and becomes it in a fork for each daemon or command of a test.

Nine tenths of what it takes to start a daemon, or a command, are imports. A fork is a process as any other: it has its
own arguments, environment, descriptors and end. What differs is how it came to be, so tests of the start, of the end of
the process or of its memory start it as an operator does (`daemon.SERVE`, `command.PROGRAM`); so do those that put
another program around it.

Run as a script, with the number of a socket. Each message on that is one request: JSON (ForkServer.start), and five
descriptors: stdin, stdout, stderr, a pipe for the exit status, and a network namespace. The answer is the process's id.
It ends with the socket.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import termios
import time
import warnings

# All that a daemon with a kubeconfig imports.
import kubernetes.aio.config
import kubernetes.client
import kubernetes.config
import yaml  # noqa: F401

import k8s_ws_proxy.cli
import k8s_ws_proxy.web.app
from k8s_ws_proxy.cli.main import build_parser, script

MESSAGE = 1 << 17  # bytes of a request, at most
CLONE_NEWNET = 0x40000000  # of setns(2), which Python 3.11 doesn't have


def become_one(requests: socket.socket) -> None:
    """Fork for each request; comes back in the fork only. In this process it exits."""
    running: dict[int, tuple[int, int]] = {}  # by its pidfd: the process and the pipe for its status
    with selectors.DefaultSelector() as ready:
        ready.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not requests:
                    pid, status = running.pop(key.fd)
                    ready.unregister(key.fd)
                    os.close(key.fd)
                    os.write(status, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    os.close(status)
                    continue
                data, fds, _, _ = socket.recv_fds(requests, MESSAGE, 5)
                if not data:
                    requests.close()
                    sys.exit()
                pid = os.fork()
                if not pid:
                    ready.close()
                    requests.close()
                    for pidfd, (_, other) in running.items():
                        os.close(pidfd)
                        os.close(other)
                    take_over(json.loads(data), fds)
                    return
                for fd in (*fds[:3], fds[4]):
                    os.close(fd)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = pid, fds[3]
                ready.register(pidfd, selectors.EVENT_READ)
                requests.send(b"%d" % pid)


def take_over(request: dict, fds: list[int]) -> None:
    """Be what was asked for."""
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    # As Python makes them; ours were made for what our own descriptors are.
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    if os.fstat(fds[4]).st_ino != os.stat("/proc/self/ns/net").st_ino:  # noqa: PTH116
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fds[4], CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    for fd in fds:
        os.close(fd)
    if request["terminal"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if not request["strict"]:
        warnings.simplefilter("ignore")
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    for module in (kubernetes.config, kubernetes.aio.config):  # which read the variable when they are imported
        module.kube_config.KUBE_CONFIG_DEFAULT_LOCATION = os.environ.get("KUBECONFIG", "~/.kube/config")
    os.chdir(request["directory"])
    sys.argv[1:] = request["arguments"]
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which end this
    for module in pkgutil.iter_modules(k8s_ws_proxy.cli.__path__, "k8s_ws_proxy.cli."):
        importlib.import_module(module.name)
    build_parser("serve")
    kubernetes.client.Configuration()
    gc.collect()
    gc.freeze()  # what is there is never looked at again, and so stays shared
    become_one(socket.socket(fileno=int(sys.argv[1])))
    script()
