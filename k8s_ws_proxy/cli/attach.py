"""``k8s-ws-proxy attach NAMESPACE/POD``: a container's own process on this terminal."""

from __future__ import annotations

import argparse
import os
from typing import Any

from k8s_ws_proxy.cli.exec import add_session_options, run_session, say

_HELP = """\
Join a container's own process, through the proxy: see what it writes from now on, and type to it.

  k8s-ws-proxy attach default/web
  k8s-ws-proxy attach default/web -c side -it

-i and -t are for containers that were started with stdin and tty. Ctrl-C ends it; with -t it goes to the
container's process, as every other key does.

Exit status: 0 when the process has ended, however it did: that isn't told. 1 where the session couldn't
be opened or was lost, with the reason on stderr; 2 for a wrong use of this program.
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "attach",
        help="join a container's own process, through the proxy",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_session_options(parser, whom="the process")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stay attached; the process's exit status. Raises ProxyError."""
    if arguments.tty and os.isatty(0):
        say("what is already on its screen isn't shown again; press enter for a prompt")
    return run_session("attach", arguments)
