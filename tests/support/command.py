"""Our own client commands as processes: what a person or a script runs."""

from __future__ import annotations

import asyncio
import os
import re
import sys

from support import forks

PROGRAM = [sys.executable, "-W", "error", "-m", "k8s_ws_proxy"]
_NAME = re.compile(r"In the proxy's log this is session [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\n\Z")


async def start_command(*words, environ, program=None, **options):
    """Our command line with these words, from the fork server if no other program is given.

    ``options`` are those of `ForkServer.start`; of a program only the streams.
    """
    if program is None and (server := forks.server()) is not None:
        return await server.start(words, environ, **options)
    for name in ("terminal", "strict"):
        options.pop(name, None)
    return await asyncio.create_subprocess_exec(*(program or PROGRAM), *words, env=environ, **options)


def unnamed(stderr):
    """What is told of a session, without its name, which must stand at the end."""
    told, names = _NAME.subn("", stderr)
    assert names == 1, stderr
    return told


class Client:
    """Runs one command, ``exec`` if it isn't said, against a proxy."""

    strict = True  # a warning is an error

    def __init__(self, url, secret_file, directory, command="exec", **environ):
        self.command = command
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "K8S_WS_PROXY_URL": url, **environ}
        if secret_file is not None:
            self.environ["SHARED_SECRET_FILE"] = str(secret_file)

    async def start(self, *words, program=None, **options):
        """The process, on pipes where no other streams are given."""
        options = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE) | options
        environ, strict = self.environ, self.strict
        return await start_command(self.command, *words, environ=environ, program=program, strict=strict, **options)

    async def run(self, *words, given=b"", **streams):
        """Exit status, stdout, stderr."""
        process = await self.start(*words, **streams)
        stdout, stderr = await process.communicate(given if process.stdin else None)
        return process.returncode, stdout, stderr.decode() if stderr is not None else ""
