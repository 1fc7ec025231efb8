"""``k8s-ws-proxy exec NAMESPACE/POD -- COMMAND``: a terminal client of the proxy."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from k8s_ws_proxy.cli.connection import add_connection_options, connection
from k8s_ws_proxy.cli.descriptors import keep_standard_descriptors
from k8s_ws_proxy.cli.pods import pod_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.cli.session import Ending

_HELP = """\
Run a command in a pod, through the proxy.

  k8s-ws-proxy exec default/web -- cat /etc/hostname
  k8s-ws-proxy exec default/web -c side -it -- sh
  tar c . | k8s-ws-proxy exec default/web -i -- tar x -C /tmp
  k8s-ws-proxy exec default/web --as jane --as-group ops --reason 'ticket 42' -it -- sh

Without a COMMAND the proxy's default shell is started. The request is signed with the shared secret, or
comes in by a client certificate.

Exit status: the command's own. 1 where the session couldn't be opened or was lost, with the reason on
stderr; 2 for a wrong use of this program.
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "exec",
        help="run a command in a pod, through the proxy",
        description=_HELP,
        usage="%(prog)s NAMESPACE/POD [-c CONTAINER] [-i] [-t] [--url URL] [--cacert FILE] "
        "[--secret-file FILE | --cert FILE --key FILE] [--as USER] [--as-group GROUP] [--reason TEXT] "
        "[--sign {v1,v2}] [-- COMMAND [ARG...]]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.takes_command_line = True
    add_session_options(parser, whom="the command")
    parser.set_defaults(run=run)


def add_session_options(parser: argparse.ArgumentParser, *, whom: str) -> None:
    """Add the pod, its container and the streams: what exec and attach have in common."""
    parser.add_argument("target", metavar="NAMESPACE/POD", help="the pod")
    parser.add_argument("-c", "--container", metavar="CONTAINER", help="the container; the pod's default one if absent")
    parser.add_argument("-i", "--stdin", action="store_true", help=f"pass standard input to {whom}")
    parser.add_argument("-t", "--tty", action="store_true", help=f"give {whom} a terminal")
    add_connection_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the session; the command's exit status. Raises ProxyError."""
    return run_session("exec", arguments, arguments.command_line)


def run_session(kind: str, arguments: argparse.Namespace, command: Sequence[str] = ()) -> int:
    """A session of this kind on our standard streams; its exit status. Raises ProxyError."""
    keep_standard_descriptors()  # before anything else takes their numbers
    import asyncio  # noqa: PLC0415 - what follows takes its time, and the other commands don't need it

    from k8s_ws_proxy.cli.session import converse  # noqa: PLC0415
    from k8s_ws_proxy.cli.signing import signing  # noqa: PLC0415

    to = connection(arguments, signing(arguments, say))
    path = pod_path(kind, arguments.target, arguments.container)
    tty = arguments.tty
    if tty and not os.isatty(0):
        tty = False
        say("standard input isn't a terminal, so there is none in the pod: going on without -t")
    query = urlencode(
        [
            *(("command", argument) for argument in command),
            ("stdin", _bool(arguments.stdin)),
            ("stdout", "true"),
            ("stderr", _bool(not tty)),
            ("tty", _bool(tty)),
        ],
        errors="surrogateescape",
    )
    ending = asyncio.run(converse(to, path, query, stdin=arguments.stdin, tty=tty))
    return finish(ending)


def say(message: str) -> None:
    """Tell the person at the keyboard, who may have closed even that."""
    try:
        print(f"k8s-ws-proxy: {message}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def finish(ending: Ending) -> int:
    """The exit status, once what is to be said has been."""
    if ending.signal is not None:
        # Die of it, as whoever sent it expects: a shell's loop goes on after an exit status, but not after a SIGINT.
        signal.signal(ending.signal, signal.SIG_DFL)
        signal.raise_signal(ending.signal)
    if ending.message:
        say(ending.message)
    return ending.status


def _bool(value: bool) -> str:
    return "true" if value else "false"
