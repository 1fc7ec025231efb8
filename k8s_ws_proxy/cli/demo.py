"""``k8s-ws-proxy dev --demo``: a command through the proxy, checked, then a shell for whoever sits there."""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.playground import program

if TYPE_CHECKING:
    from pathlib import Path

    from k8s_ws_proxy.cli.playground import Playground

_SCRIPT: Final = 'echo "hello from the pod $HOSTNAME"; echo "and this is stderr" >&2; exit 3'
_STATUS: Final = 3


async def show(ground: Playground, log: Path) -> int:
    """The demo; 0 if all was as it should be."""
    print("The proxy runs, in front of an embedded cluster. A signed command through it:\n")
    words = ground.exec_line("default/web", "--", "sh", "-c", _SCRIPT)
    print(f"$ {shlex.join(program() + words)}", flush=True)
    stdout, stderr, status = await _captured(words)
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        for line in text.splitlines():
            print(f"{name}: {line}")
    print(f"exit code: {status}\n", flush=True)
    if not stdout.startswith("hello from the pod web") or stderr != "and this is stderr\n" or status != _STATUS:
        print("That isn't as it should be. The proxy's log:\n", file=sys.stderr)
        print(await asyncio.to_thread(log.read_text), file=sys.stderr)
        return 1
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("Output, stderr and exit code came through. On a terminal, a shell would follow.")
        return 0
    words = ground.exec_line("default/web", "-it", "--", "sh")
    if ground.browser:
        print(f"A shell in the pod, in a browser, for as long as the demo runs:\n\n  {ground.browser}\n")
    print("Now one here, through the proxy; `exit` ends the demo.\n")
    print(f"$ {shlex.join(program() + words)}", flush=True)
    shell = await asyncio.create_subprocess_exec(*_ours(), *words)
    try:
        await shell.wait()
    finally:
        if shell.returncode is None:  # it gives the terminal back before it goes
            shell.terminate()
            await asyncio.shield(shell.wait())
    print("\nThat was it: `k8s-ws-proxy dev` starts the same for as long as you like.")
    return 0


async def _captured(words: list[str]) -> tuple[str, str, int]:
    process = await asyncio.create_subprocess_exec(
        *_ours(),
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    assert process.returncode is not None
    return stdout.decode(errors="replace"), stderr.decode(errors="replace"), process.returncode


def _ours() -> list[str]:
    """This program, run by this interpreter."""
    return [sys.executable, "-m", "k8s_ws_proxy"]
