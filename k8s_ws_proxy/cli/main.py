"""``k8s-ws-proxy``: finds the command, runs it, and says what to do where it can't."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from k8s_ws_proxy import __version__
from k8s_ws_proxy.cli import attach, dev, keys, kubeconfig, logs, port_forward, serve, sessions, sign, uninstall
from k8s_ws_proxy.cli import exec as exec_
from k8s_ws_proxy.cli.parser import CommandParser
from k8s_ws_proxy.errors import ProxyError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2
FAILURE = 1


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands; each command's module adds its own."""
    parser = argparse.ArgumentParser(
        prog="k8s-ws-proxy",
        description="Carries signed WebSocket terminal sessions to the Kubernetes apiserver.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    for command in (serve, exec_, attach, logs, port_forward, sessions, sign, kubeconfig, keys, uninstall, dev):
        command.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 2 for wrong settings or usage, 1 for other failures."""
    arguments = build_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except SettingsError as error:
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        return USAGE_ERROR
    except ProxyError as error:
        print(f"k8s-ws-proxy: {error}", file=sys.stderr)
        return FAILURE
    return status
