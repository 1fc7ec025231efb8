"""A process that has imported the daemon, and becomes one in a fork for each that a test starts.

Nine tenths of what it takes to start a daemon are imports. A fork is a process as any other: it has its own arguments,
environment, descriptors and end. What differs is how it came to be, so tests of the start, of the end of the process or
of its memory start it as an operator does (`daemon.SERVE`); so do those that start it in a namespace or under a limit,
which this process hasn't entered.

Run as a script, with the number of a socket. Each message on that is one request: JSON with the arguments, environment
and working directory, and four descriptors: stdin, stdout, stderr, and a pipe for the exit status. The answer is the
process's id. It ends with the socket.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys

# All that a daemon with a kubeconfig imports.
import kubernetes.client
import kubernetes.config
import yaml  # noqa: F401

import k8s_ws_proxy.web.app  # noqa: F401
from k8s_ws_proxy.cli.main import build_parser, script

MESSAGE = 1 << 17  # bytes of a request, at most


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
                data, fds, _, _ = socket.recv_fds(requests, MESSAGE, 4)
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
                for fd in fds[:3]:
                    os.close(fd)
                pidfd = os.pidfd_open(pid)
                running[pidfd] = pid, fds[3]
                ready.register(pidfd, selectors.EVENT_READ)
                requests.send(b"%d" % pid)


def take_over(request: dict, fds: list[int]) -> None:
    """Be what was asked for."""
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])
    sys.argv[1:] = request["arguments"]
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which end this
    build_parser("serve")
    kubernetes.client.Configuration()
    gc.collect()
    gc.freeze()  # what is there is never looked at again, and so stays shared
    become_one(socket.socket(fileno=int(sys.argv[1])))
    script()
