"""``k8s-ws-proxy port-forward NAMESPACE/POD [LOCAL:]REMOTE...``: a pod's ports on this machine."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from k8s_ws_proxy.cli.connection import add_connection_options, connection
from k8s_ws_proxy.cli.descriptors import keep_standard_descriptors
from k8s_ws_proxy.cli.exec import say
from k8s_ws_proxy.cli.pods import pod_path
from k8s_ws_proxy.cli.ports import parse_addresses, parse_forward
from k8s_ws_proxy.errors import ProxyError

_HELP = """\
Listen on this machine, and carry each connection to a port of a pod, through the proxy.

  k8s-ws-proxy port-forward default/web 8080         127.0.0.1:8080 and [::1]:8080 to the pod's 8080
  k8s-ws-proxy port-forward default/web 9000:8080    another port here
  k8s-ws-proxy port-forward default/web :8080 :8443  any that are free here

Each connection is a session of its own at the proxy, signed when it begins. A connection that fails is told
on stderr, and the others go on. Ctrl-C ends it, with all its connections.

Exit status: 0 after Ctrl-C or SIGTERM; 1 where the proxy refuses or a local port can't be had, with the
reason on stderr; 2 for a wrong use of this program.
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "port-forward",
        help="carry local connections to ports of a pod, through the proxy",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="NAMESPACE/POD", help="the pod")
    parser.add_argument("ports", metavar="[LOCAL:]REMOTE", nargs="+", help="a port here, and the pod's")
    parser.add_argument(
        "--address",
        action="append",
        metavar="ADDRESS",
        help="an IP address of this machine to listen on, or localhost; may be repeated. localhost by default: "
        "127.0.0.1, and ::1 where there is one",
    )
    add_connection_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Forward until a signal. Raises ProxyError."""
    keep_standard_descriptors()  # before anything else takes their numbers
    forwards = [parse_forward(text) for text in arguments.ports]
    taken = [each.local for each in forwards if each.local]
    if twice := next((port for port in taken if taken.count(port) > 1), None):
        raise ProxyError(f"the local port {twice} is named twice: name each once")
    addresses = parse_addresses(arguments.address or ["localhost"])
    path = pod_path("portforward", arguments.target)
    import asyncio  # noqa: PLC0415 - what follows takes its time, and the other commands don't need it

    from k8s_ws_proxy.cli.forwarding import serve  # noqa: PLC0415
    from k8s_ws_proxy.cli.signing import signing  # noqa: PLC0415

    connect = partial(connection, arguments, signing(arguments, say))
    return asyncio.run(serve(connect, path, forwards, addresses))
