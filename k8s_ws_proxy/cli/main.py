"""``k8s-ws-proxy``: finds the command, runs it, and says what to do where it can't."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

from k8s_ws_proxy import __version__
from k8s_ws_proxy.cli.parser import CommandParser
from k8s_ws_proxy.errors import ProxyError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2
FAILURE = 1
# In the order of the help. Each is a module of this package, with a hyphen for the underscore.
COMMANDS: Final = (
    "serve",
    "exec",
    "attach",
    "logs",
    "port-forward",
    "sessions",
    "recordings",
    "sign",
    "kubeconfig",
    "keys",
    "audit",
    "uninstall",
    "dev",
)


def build_parser(word: str | None = None) -> argparse.ArgumentParser:
    """The parser with all commands, or where ``word`` is one of them with that one alone.

    Each command's module adds its own, and what all import together takes longer than most commands run.
    """
    parser = argparse.ArgumentParser(
        prog="k8s-ws-proxy",
        description="Carries signed WebSocket terminal sessions to the Kubernetes apiserver.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    for command in (word,) if word in COMMANDS else COMMANDS:
        import_module(f"k8s_ws_proxy.cli.{command.replace('-', '_')}").add_to(commands)
    return parser


def script() -> NoReturn:
    """Run the command that the process was started with, and end it with the status."""
    _have_stderr()
    status = main()
    # The store's library has threads that come for the interpreter now and then. Before Python 3.14 one that comes
    # while that is taken down is ended by unwinding it (C API, PyEval_RestoreThread). To Rust that is an error, and
    # the end a SIGABRT: in a third of the commands that a store refused. So where it was loaded, nothing is taken down.
    if sys.modules.get("obstore") is None:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it, it is closed, there is none
            stream.flush()
    os._exit(status)


def _have_stderr() -> None:
    """One that goes nowhere, where the process was started with a closed one, of which Python makes None.

    Its number would be that of what is opened first, a peer's connection maybe, and what C code says would go there.
    """
    if not sys.stderr:
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, 2)
        if fd != 2:
            os.close(fd)
        os.set_inheritable(2, True)
        sys.stderr = open(2, "w")  # noqa: SIM115 - it stays open


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 2 for wrong settings or usage, 1 for other failures."""
    words = sys.argv[1:] if argv is None else argv
    arguments = build_parser(words[0] if words else None).parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except SettingsError as error:
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        return USAGE_ERROR
    except ProxyError as error:
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        return FAILURE
    return status
