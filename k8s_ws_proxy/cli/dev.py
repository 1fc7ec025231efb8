"""``k8s-ws-proxy dev``: the proxy in front of an embedded cluster, for trying things out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from k8s_ws_proxy.cli.demo import show
from k8s_ws_proxy.cli.playground import Playground, embedded_cluster, playground, program
from k8s_ws_proxy.errors import ProxyError

_HELP = """\
Run the proxy in front of an embedded cluster, on loopback, and print a command to paste into another
terminal, and an address for a browser. The cluster's pods are directories and processes on this
machine: nothing is isolated.

The settings of `serve` that are in the environment hold here, too, for example TMUX_CASCADE=true; the
secret, the address and the apiserver are dev's own. Everything is gone when it ends, at Ctrl-C.
"""

DEFAULT_PORT: Final = 8080


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "dev",
        help="run the proxy in front of an embedded cluster",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"the proxy's port on 127.0.0.1, {DEFAULT_PORT} by default; 0 takes any that is free",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="run a command through the proxy, check what comes of it, then give you a shell if this is a terminal",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it until a signal. Raises ProxyError."""
    if not 0 <= arguments.port <= 65535:
        raise ProxyError(f"--port must be between 0 and 65535, and is {arguments.port}")
    embedded_cluster()  # before anything is made: where it isn't, there may be no place for temporary files, either
    with tempfile.TemporaryDirectory(prefix="k8s-ws-proxy-dev-") as directory:
        return asyncio.run(_run(arguments.port, Path(directory), demo=arguments.demo))


async def _run(port: int, directory: Path, *, demo: bool) -> int:
    from k8s_ws_proxy.observe import log  # noqa: PLC0415 - the other commands don't need what this one starts

    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    assert me is not None
    caught: list[int] = []

    def on_signal(number: int) -> None:
        if not caught:
            me.cancel()
        caught.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        with _log_file(directory, demo=demo) as stream:
            log.configure(os.environ.get("LOG_LEVEL", "info").lower() if not demo else "debug", stream)
            async with playground(port, directory, os.environ) as ground:
                if demo:
                    return await show(ground, directory / "log")
                _introduce(ground)
                await loop.create_future()
    except asyncio.CancelledError:
        if not caught:
            raise
    return 128 + caught[0] if demo else 0


@contextlib.contextmanager
def _log_file(directory: Path, *, demo: bool) -> Any:
    """In a demo the log would be in the way of a shell: it goes to a file, and is shown if something is wrong."""
    if not demo:
        yield sys.stderr
        return
    with (directory / "log").open("w", encoding="utf-8", buffering=1) as file:
        yield file


def _introduce(ground: Playground) -> None:
    line = shlex.join(program() + ground.exec_line("default/web", "-it", "--", "sh"))
    print(f"The proxy listens on {ground.url}, before an embedded cluster with the pods shell, web, term and plain.")
    print()
    print("A shell through the proxy, from another terminal:")
    print()
    print(f"  {line}")
    print()
    if ground.browser:
        print("The same in a browser, and another shell each time that it is opened:")
        print()
        print(f"  {ground.browser}")
        print()
    print("A port of the pod web on this machine, for a browser or curl:")
    print()
    print(f"  {shlex.join(program() + ground.port_forward_line('default/web', ':8080'))}")
    print()
    print(f"The same cluster without the proxy ({ground.cluster_url}):")
    print()
    print(f"  KUBECONFIG={shlex.quote(str(ground.kubeconfig))} kubectl exec -it web -- sh")
    print()
    print("Ctrl-C ends it.", flush=True)
