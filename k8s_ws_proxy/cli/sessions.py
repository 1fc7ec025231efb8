"""``k8s-ws-proxy sessions``: who is connected, on one node or on all of them, and how to end it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.cluster import FAILED, UNFINISHED, USAGE, add_kubeconfig
from k8s_ws_proxy.cli.connection import URL_VARIABLE, add_certificate_options, add_user_options
from k8s_ws_proxy.cli.descriptors import keep_standard_descriptors
from k8s_ws_proxy.cli.parser import CommandParser, port_number, whole_number
from k8s_ws_proxy.cli.sign import add_secret_file
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.settings import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.cli.sessions_ask import Work

STATES: Final = ("issued", "opening", "open", "ending")
_WORKLOAD: Final = "k8s-ws-proxy"
_HELP: Final = f"""\
The sessions that are open now: who has them, where, since when; and how to end one.

One proxy is asked where --url or {URL_VARIABLE} names it. Else every proxy of a cluster is: each pod of
the DaemonSet, through the apiserver's pod proxy, with the credentials of a kubeconfig. Either way the
requests are signed with the shared secret (RFC 9421).
"""
_STATUSES: Final = f"""\
exit status:
  0  done
  {FAILED}  failed, or refused: the message says why and what to do
  {USAGE}  wrong usage
  {UNFINISHED}  not every node has answered; those that haven't are named on stderr
"""


def add_to(commands: Any) -> None:
    """Add this command and its own to the parser."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "sessions", help="list, show and end the sessions that are open", description=_HELP, formatter_class=raw
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str, more: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = own.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.\n\n{more}",
            epilog=_STATUSES,
            formatter_class=raw,
        )
        made.set_defaults(run=run, sign=None, reason=None, watch=False)
        return made

    _add_list(add("list", _list, "list sessions", _LIST))
    parser = add("show", _show, "show all that is known of a session", _SHOW)
    parser.add_argument("session", metavar="ID", type=_id, help="its id, or the end of it")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a machine")
    add_whom_to_ask(parser)
    add_reason(parser)
    parser = add("end", _end, "end a session", _END)
    parser.add_argument("session", metavar="ID", type=_id, help="its id, or the end of it")
    parser.add_argument(
        "--reason", dest="why", metavar="TEXT", default="", help="why: it is told on the terminal, and in the log"
    )
    add_whom_to_ask(parser)
    for name, text, more in (
        ("watch", "look at somebody's terminal", _WATCH),
        ("join", "type into somebody's terminal", _JOIN),
    ):
        parser = add(name, _look_on, text, more)
        parser.set_defaults(mode=name)
        parser.add_argument("session", metavar="ID", type=_id, help="its id, or the end of it")
        add_whom_to_ask(parser)
        add_reason(parser)


_LIST: Final = """\
  k8s-ws-proxy sessions list
  k8s-ws-proxy sessions list -n default --user jane -o wide
  k8s-ws-proxy sessions list -w

An ID is shown by its end, as much of it as tells it apart; -o wide and -o json have the whole. Ids begin
with the time, so their beginnings are alike."""
_SHOW: Final = """\
  k8s-ws-proxy sessions show 5f0c3b1a"""
_END: Final = """\
  k8s-ws-proxy sessions end 5f0c3b1a --reason 'maintenance of the database'

Its terminal is told who ends it and why, and what ran in it is hung up."""


_WATCH: Final = """\
  k8s-ws-proxy sessions watch 5f0c3b1a

What is on the screen is shown, and what comes. Nothing that you type goes there; Ctrl-C or Ctrl-] leaves it.
The terminal is told that you watch, unless its proxy says otherwise."""
_JOIN: Final = """\
  k8s-ws-proxy sessions join 5f0c3b1a

As watch, and what you type goes there. Ctrl-] leaves it, and the session goes on.
Your terminal's size counts where the session's own client has said none."""


def _add_list(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NAMESPACE", help="of their pods; all namespaces by default")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="those of all namespaces, as by default")
    parser.add_argument("--user", metavar="USER", help="only this user's")
    parser.add_argument("--state", choices=STATES, help="only those that are so far")
    parser.add_argument("-w", "--watch", action="store_true", help="go on with what changes, until Ctrl-C")
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "json"),
        default="table",
        help="wide has whole ids and more columns",
    )
    add_whom_to_ask(parser)
    add_reason(parser)


def _add_one_proxy(parser: argparse.ArgumentParser) -> None:
    add_user_options(parser)
    one = parser.add_argument_group("one proxy")
    one.add_argument("--url", help=f"where it listens; {URL_VARIABLE} by default")
    add_certificate_options(one)


def add_whom_to_ask(
    parser: argparse.ArgumentParser, *, secret_file: bool = True, node: str = "one node has 5s"
) -> None:
    """Add the options for one proxy and for all of a cluster; ``secret_file`` among them, unless it has one already.

    ``node`` says how long one may take.
    """
    if secret_file:
        add_secret_file(parser)
    _add_one_proxy(parser)
    every = parser.add_argument_group("every proxy of a cluster")
    add_kubeconfig(every)
    every.add_argument(
        "--workload",
        metavar="[NAMESPACE/]NAME",
        type=_workload,
        help=f"the proxies' DaemonSet; {_WORKLOAD} in the context's namespace by default",
    )
    every.add_argument(
        "--port", type=port_number, metavar="PORT", help="the proxies' for callers; else as the DaemonSet says, or 8080"
    )
    every.add_argument(
        "--concurrency", type=whole_number, default=32, metavar="N", help="nodes that are asked at once, 32 by default"
    )
    every.add_argument(
        "--timeout",
        type=_duration,
        default=120.0,
        metavar="DURATION",
        help=f"for all nodes, 2m by default; {node}",
    )


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Add ``--reason``."""
    parser.add_argument("--reason", metavar="TEXT", help="why this is asked, for the proxy's log")


def _list(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.sessions_ask import listed, watched  # noqa: PLC0415 - what it imports takes its time

    wanted = {name: value for name in ("namespace", "user", "state") if (value := getattr(arguments, name))}
    if arguments.watch:
        return _run(arguments, watched(wanted, arguments.output))
    return _run(arguments, listed(wanted, arguments.output))


def _show(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.sessions_ask import shown  # noqa: PLC0415 - see _list

    return _run(arguments, shown(arguments.session, arguments.output))


def _end(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.sessions_ask import ended  # noqa: PLC0415 - see _list

    return _run(arguments, ended(arguments.session, arguments.why))


def _look_on(arguments: argparse.Namespace) -> int:
    keep_standard_descriptors()  # before anything else takes their numbers
    from k8s_ws_proxy.cli.sessions_ask import joined  # noqa: PLC0415 - see _list

    return _run(arguments, joined(arguments.session, peer=arguments.mode == "join"))


def _run(arguments: argparse.Namespace, work: Work) -> int:
    from k8s_ws_proxy.cli.sessions_ask import run  # noqa: PLC0415 - see _list

    settle_whom_to_ask(arguments)
    return run(arguments, work)


def settle_whom_to_ask(arguments: argparse.Namespace) -> None:
    """One proxy, if ``url`` is set then, or all of a cluster. Raises ProxyError."""
    named = [f"--{name}" for name in ("kubeconfig", "context", "workload") if getattr(arguments, name)]
    if arguments.url and named:
        raise ProxyError(f"--url asks one proxy and {named[0]} all of a cluster: leave one of them out")
    if not arguments.url and not named:
        arguments.url = os.environ.get(URL_VARIABLE)
    if not arguments.url and (arguments.cert or arguments.key):
        raise ProxyError(
            "a certificate can't be shown through the apiserver: name one proxy with an https:// --url, or sign with "
            "--secret-file"
        )
    arguments.workload = arguments.workload or (None, _WORKLOAD)


def _id(text: str) -> str:
    text = text.lower()
    if not 4 <= len(text) <= 36 or set(text) - set("0123456789abcdef-"):
        raise argparse.ArgumentTypeError(f"{text!r} is no session's id, nor four characters or more of the end of one")
    return text


def _workload(text: str) -> tuple[str | None, str]:
    namespace, slash, name = text.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise argparse.ArgumentTypeError(f"{text!r} is no DaemonSet: write NAME or NAMESPACE/NAME")
    return namespace or None, name


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds is None or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 30s or 2m")
    return seconds
