"""``k8s-ws-proxy logs NAMESPACE/POD``: a container's log on standard output."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from k8s_ws_proxy.cli.connection import add_connection_options, connection
from k8s_ws_proxy.cli.descriptors import keep_standard_descriptors
from k8s_ws_proxy.cli.exec import finish, say
from k8s_ws_proxy.cli.pods import pod_path
from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.settings import seconds_of
from k8s_ws_proxy.wire.requests.log_options import TAIL_DEFAULT, TAIL_MOST, of_proxy

_HELP = f"""\
Show a container's log, through the proxy: its last {TAIL_DEFAULT} lines, or as many as --tail says.

  k8s-ws-proxy logs default/web
  k8s-ws-proxy logs -f --tail 0 default/web
  k8s-ws-proxy logs default/web -c side --since 5m --tail {TAIL_MOST}
  k8s-ws-proxy logs --previous default/web

Bytes are written as the container wrote them. With -f it goes on until the container ends, or Ctrl-C.

Exit status: 0 at the end of the log. 1 where it couldn't be opened or was cut off, with the reason on
stderr; 2 for a wrong use of this program.
"""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "logs",
        help="show a container's log, through the proxy",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="NAMESPACE/POD", help="the pod")
    parser.add_argument("-c", "--container", metavar="CONTAINER", help="the container; the pod's default one if absent")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument(
        "--tail",
        type=_tail,
        metavar="LINES",
        default=TAIL_DEFAULT,
        help=f"begin so many lines before the end, {TAIL_DEFAULT} by default, {TAIL_MOST} at most",
    )
    parser.add_argument(
        "--since", type=_since, metavar="TIME", help="leave out what is older: 5m, 2h30m, or 2006-01-02T15:04:05Z"
    )
    parser.add_argument("-p", "--previous", action="store_true", help="the log of the run before this one")
    parser.add_argument("--timestamps", action="store_true", help="begin each line with its time")
    add_connection_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show it; the exit status. Raises ProxyError."""
    keep_standard_descriptors()  # before anything else takes their numbers
    import asyncio  # noqa: PLC0415 - what follows takes its time, and the other commands don't need it

    from k8s_ws_proxy.cli.log_output import show  # noqa: PLC0415
    from k8s_ws_proxy.cli.signing import signing  # noqa: PLC0415

    to = connection(arguments, signing(arguments, say))
    path = pod_path("logs", arguments.target, arguments.container)
    query = {"follow": _bool(arguments.follow), "tailLines": arguments.tail}
    query |= {name: "true" for name in ("previous", "timestamps") if getattr(arguments, name)}
    if arguments.since:
        query["since"] = arguments.since
    return finish(asyncio.run(show(to, path, urlencode(query))))


def _tail(text: str) -> str:
    return _checked("tailLines", text)


def _since(text: str) -> str:
    """A moment, or how long ago it was (in Go's syntax, as kubectl takes it)."""
    seconds = seconds_of(text)
    if seconds is not None and seconds >= 0:
        return f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    return _checked("since", text)


def _checked(name: str, text: str) -> str:
    try:
        of_proxy({name: [text]})
    except Refusal:
        what = (
            f"a number from 0 to {TAIL_MOST}" if name == "tailLines" else "a time, such as 5m or 2006-01-02T15:04:05Z"
        )
        raise argparse.ArgumentTypeError(f"{text!r} isn't {what}") from None
    return text


def _bool(value: bool) -> str:
    return "true" if value else "false"
