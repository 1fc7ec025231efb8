"""The parser that the commands share."""

from __future__ import annotations

import argparse
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that can leave what stands after ``--`` alone.

    argparse takes the first ``--`` out of the arguments of each positional, so a ``--`` that belongs to the command in
    a container would be lost. Where ``takes_command_line`` is set, the rest of the line goes to ``command_line``.
    """

    takes_command_line = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse has it, but for the command line."""
        if not self.takes_command_line:
            return super().parse_known_args(args, namespace)
        before, command_line = split_command_line(args)
        namespace, rest = super().parse_known_args(before, namespace)
        if rest and not command_line and not any(word.startswith("-") for word in rest):
            self.error(f"put the command after two dashes: -- {' '.join(rest)}")
        namespace.command_line = command_line
        return namespace, rest


def whole_number(text: str) -> int:
    """An option's value, 1 or more. Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def port_number(text: str) -> int:
    """An option's value, 1 to 65535. Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return int(text)


def split_command_line(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What stands before the first ``--``, and what stands after it."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]
