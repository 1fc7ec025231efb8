"""``k8s-ws-proxy recordings``: what was recorded, here, on one node or on all; shown, fetched, checked."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.cli.cluster import FAILED, UNFINISHED, USAGE
from k8s_ws_proxy.cli.connection import URL_VARIABLE
from k8s_ws_proxy.cli.parser import CommandParser, whole_number
from k8s_ws_proxy.cli.sessions import add_reason, add_whom_to_ask, settle_whom_to_ask
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.recordings.paths import is_session
from k8s_ws_proxy.rfc3339 import rfc3339, unix

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.cli.recordings_ask import Work

_HELP: Final = f"""\
Recordings of sessions: which there are, and what is in them.

One proxy is asked where --url or {URL_VARIABLE} names it, else every proxy of a cluster, as by 'sessions'.
With --dir they are read from a directory (RECORDING_DIR) on this machine, with --store from where daemons have
taken them: RECORDING_STORE_ENDPOINT and its like count here, too, and the variables of the store's own tools.
"""
_STATUSES: Final = f"""\
exit status:
  0  done
  {FAILED}  failed, or refused: the message says why and what to do
  {USAGE}  wrong usage
  {UNFINISHED}  not every node has answered; those that haven't are named on stderr
"""
_VERIFIED: Final = """\
exit status:
  0  the recording and its receipt are as the proxy wrote them
  1  one of them was changed: the message says which
  2  that can't be told: no key, not the right one, no receipt, one that can't be read; or wrong usage
"""
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def add_to(commands: Any) -> None:
    """Add this command and its own to the parser."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "recordings", help="list, play and check recordings of sessions", description=_HELP, formatter_class=raw
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, more: str, statuses: str = _STATUSES
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = own.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.\n\n{more}",
            epilog=statuses,
            formatter_class=raw,
        )
        made.set_defaults(run=run, sign=None, reason=None, watch=False)
        return made

    parser = add("list", _list, "list recordings, newest first", _LIST)
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="of their pods; all namespaces by default")
    parser.add_argument("--user", metavar="USER", help="only this user's")
    parser.add_argument("--from", dest="start", metavar="TIME", type=_time, help="that began then or later")
    parser.add_argument("--to", dest="end", metavar="TIME", type=_time, help="... and before that")
    parser.add_argument(
        "--limit", type=whole_number, default=100, metavar="N", help="so many of the newest; 100 by default"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="for a person, or a machine")
    _add_where(parser)
    parser = add("get", _get, "fetch a recording", _GET)
    parser.add_argument("recording", metavar="ID", type=_id, help="its session's id")
    parser.add_argument("-o", "--output", metavar="FILE", help="ID.cast by default; - is standard output")
    parser.add_argument(
        "--receipt", action="store_true", help="its receipt as well, beside it, in FILE's name as .json"
    )
    _add_where(parser)
    parser = add("play", _play, "play a recording on this terminal", _PLAY)
    parser.add_argument("recording", metavar="ID|FILE", help="its session's id, or a file; - is standard input")
    parser.add_argument("-s", "--speed", type=_positive, default=1.0, metavar="N", help="so many times as fast")
    parser.add_argument(
        "-i", "--idle-limit", type=_positive, metavar="SECONDS", help="no pause is longer, in the recording's time"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, while its session goes on")
    parser.add_argument(
        "--raw", action="store_true", help="show all that there is: also what may do more to your terminal than draw"
    )
    _add_where(parser)
    parser = add("verify", _verify, "say whether a recording was changed", _VERIFY, _VERIFIED)
    parser.add_argument("recording", metavar="ID|FILE", help="its session's id, or a file")
    parser.add_argument("--receipt", metavar="FILE", help="a file's receipt; beside it, as .json, by default")
    parser.add_argument(
        "--secret-file",
        dest="secret_files",
        action="append",
        metavar="FILE",
        help="a shared secret; may be repeated, and the first one signs where a proxy is asked. SHARED_SECRET_FILE by "
        "default",
    )
    parser.add_argument(
        "--secret-dir",
        metavar="DIRECTORY",
        default=os.environ.get("SHARED_SECRET_DIR"),
        help="a directory of them; SHARED_SECRET_DIR by default",
    )
    _add_where(parser, secret_file=False)
    parser = add("export", _export, "write a recording in another form", _EXPORT)
    parser.add_argument("recording", metavar="ID|FILE", help="its session's id, or a file; - is standard input")
    parser.add_argument(
        "--format", choices=("v2", "text"), required=True, help="asciicast v2, or what a person would have read"
    )
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="standard output by default")
    _add_where(parser)


_LIST: Final = """\
  k8s-ws-proxy recordings list
  k8s-ws-proxy recordings list -n default --user jane --from 2026-11-30
  k8s-ws-proxy recordings list --dir /var/lib/k8s-ws-proxy/recordings -o json

TIME is a date such as 2026-11-30T14:00:00Z, or 2026-11-30, which is its begin in UTC."""
_GET: Final = """\
  k8s-ws-proxy recordings get 01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e --receipt"""
_PLAY: Final = """\
  k8s-ws-proxy recordings play 01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e -s 2 -i 1

Space stops it and lets it go on, a point goes on by one step, q or Ctrl-C leaves it. What was written to that
terminal is shown as far as it draws; what would set your clipboard or title, or have your terminal answer, isn't."""
_VERIFY: Final = """\
  k8s-ws-proxy recordings verify 01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e --secret-file secret
  k8s-ws-proxy recordings verify 01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e.cast --secret-file secret
  k8s-ws-proxy recordings verify 01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e --store s3://BUCKET/PREFIX

A receipt is sealed with the key that was the proxy's first one then. It can be given when it was rotated out, too."""
_EXPORT: Final = """\
  k8s-ws-proxy recordings export 01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e.cast --format text"""


def _add_where(parser: argparse.ArgumentParser, *, secret_file: bool = True) -> None:
    add_whom_to_ask(parser, secret_file=secret_file, node="one node has 10s, and 60s for the rest of its answer")
    add_reason(parser)
    there = parser.add_argument_group("the store")
    there.add_argument(
        "--store", metavar="URL", help="read them from there, and ask no proxy: s3://BUCKET/PREFIX, as RECORDING_STORE"
    )
    here = parser.add_argument_group("a directory")
    here.add_argument("--dir", dest="directory", metavar="DIRECTORY", help="read them from there, and ask nobody")


def _list(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.recordings_ask import listed  # noqa: PLC0415 - what it imports takes its time

    named = {"namespace": "namespace", "user": "user", "start": "from", "end": "to"}
    wanted = {name: value for given, name in named.items() if (value := getattr(arguments, given)) is not None}
    return _run(arguments, listed(wanted, arguments.limit, as_json=arguments.output == "json"))


def _get(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.recordings_ask import fetched  # noqa: PLC0415 - see _list

    into = arguments.output or f"{arguments.recording}.cast"
    if into == "-" and arguments.receipt:
        raise ProxyError("--receipt goes beside a file: name one with -o")
    return _run(arguments, fetched(arguments.recording, into, receipt=arguments.receipt))


def _play(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.playing import Pace  # noqa: PLC0415 - see _list
    from k8s_ws_proxy.cli.recordings_ask import played  # noqa: PLC0415

    pace = Pace(arguments.speed, arguments.idle_limit)
    return _run(arguments, played(arguments.recording, pace, raw=arguments.raw, follow=arguments.follow))


def _verify(arguments: argparse.Namespace) -> int:
    try:
        return _verify_wherever(arguments)
    except ProxyError as error:  # whose status would be that of one that was changed
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        return USAGE


def _verify_wherever(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.recordings_ask import verified, verified_there  # noqa: PLC0415 - see _list

    files = arguments.secret_files or [each for each in (os.environ.get("SHARED_SECRET_FILE"),) if each]
    arguments.secret_file = files[0] if files else None
    session = arguments.recording.lower()
    if not _is_elsewhere(arguments, session):
        return verified(arguments.recording, arguments.receipt, files, arguments.secret_dir)
    if not is_session(session) or arguments.receipt:
        raise ProxyError("to have it found name a session's id, and no --receipt: both are found by it")
    return _run(arguments, verified_there(session, files, arguments.secret_dir))


def _is_elsewhere(arguments: argparse.Namespace, session: str) -> bool:
    """It isn't a file on this machine: where it is was said, or there is none of that name."""
    if arguments.directory or arguments.store is not None or _asked(arguments):
        return True
    return is_session(session) and not arguments.receipt and not os.path.lexists(arguments.recording)


def _export(arguments: argparse.Namespace) -> int:
    from k8s_ws_proxy.cli.recordings_ask import exported  # noqa: PLC0415 - see _list

    return _run(arguments, exported(arguments.recording, arguments.format, arguments.output))


def _run(arguments: argparse.Namespace, work: Work) -> int:
    from k8s_ws_proxy.cli.recordings_ask import run  # noqa: PLC0415 - see _list

    asking = _asked(arguments)
    if arguments.directory and (asking or arguments.store):
        raise ProxyError("--dir reads from a directory and asks nobody: leave the other options out")
    if arguments.store and asking:
        raise ProxyError("--store reads from the store and asks no proxy: leave the other options out")
    if not arguments.directory and arguments.store is None:
        settle_whom_to_ask(arguments)
    return run(arguments, work)


def _asked(arguments: argparse.Namespace) -> bool:
    """Whom to ask was said."""
    return any((arguments.url, arguments.kubeconfig, arguments.context, arguments.workload))


def _id(text: str) -> str:
    if not is_session(text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r} is no session's id: 'recordings list' shows them whole")
    return text.lower()


def _time(text: str) -> str:
    try:
        return rfc3339(unix(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-11-30T14:00:00Z or 2026-11-30") from None


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number
