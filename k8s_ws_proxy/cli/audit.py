"""``k8s-ws-proxy audit verify``: whether an audit trail is whole."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from k8s_ws_proxy.wire.audit.chain import Chains, Spot
from k8s_ws_proxy.wire.audit.line import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELP = """\
Say whether an audit trail is whole: whether a line was removed, changed, moved, or cut.

Give the files in their order, the oldest first; - is standard input. Other lines of a log may stand between. Lines of
several daemons are told apart. docs/audit.md says what a chain of hashes can't show: whoever may write the file may
write it anew from some line on, or take its last lines away. Keep a copy elsewhere.

  k8s-ws-proxy audit verify audit.log.2 audit.log.1 audit.log
  kubectl logs -n catalyst-system k8s-ws-proxy-x7k2p | k8s-ws-proxy audit verify -

Exit status: 0 it is whole, 1 it isn't, 2 a file can't be read or the command is wrong.
"""
_WHOLE: Final = 0
_BROKEN: Final = 1
_UNREADABLE: Final = 2


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser("audit", help="look at an audit trail")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    verify = verbs.add_parser(
        "verify",
        help="say whether it is whole",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("files", metavar="FILE", nargs="+", help="files of audit lines, the oldest first; - for stdin")
    verify.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    chains = Chains()
    for name in arguments.files:
        try:
            _read(chains, name)
        except OSError as error:
            print(f"k8s-ws-proxy: {name} can't be read: {error.strerror or error}", file=sys.stderr)
            return _UNREADABLE
    print(_told(chains))
    for run in chains.runs.values():
        if run.first > 1:
            print(f"the run {run.daemon} begins with its line {run.first}: what was before isn't here")
    if (fault := chains.fault) is not None:
        print(f"not whole: {fault}")
        return _BROKEN
    print("whole")
    return _WHOLE


def _told(chains: Chains) -> str:
    lines = "1 line" if chains.lines == 1 else f"{chains.lines} lines"
    runs = "1 run" if len(chains.runs) == 1 else f"{len(chains.runs)} runs"
    when = f", from {chains.began} to {chains.ended}" if chains.lines else ""
    return f"{lines} of {runs} of daemons{when}"


def _read(chains: Chains, name: str) -> None:
    if name == "-":
        _feed(chains, sys.stdin.buffer, "standard input")
        return
    with Path(name).open("rb") as file:
        _feed(chains, file, name)


def _feed(chains: Chains, file: IO[bytes], name: str) -> None:
    for number, line in enumerate(_lines(file), 1):
        chains.feed(line.removesuffix(b"\n"), Spot(name, number), whole=line.endswith(b"\n"))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Its lines, of which those that are longer than any of a trail are told by their beginning."""
    most = 2 * LONGEST
    while line := file.readline(most):
        rest = line
        while len(rest) == most and not rest.endswith(b"\n"):
            rest = file.readline(most)
        yield line if rest is line else line + b"\n"
