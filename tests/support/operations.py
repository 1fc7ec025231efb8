"""docs/operations.md, as tests read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/operations.md").read_text("utf-8")


def _shell_lines(block: str) -> Iterator[str]:
    """A line goes on after a backslash or a pipe, and while a quote is open."""
    begun = ""
    for line in block.replace("\\\n", " ").replace("|\n", "| ").splitlines():
        begun += line
        if begun.count("'") % 2 == 0:
            yield begun
            begun = ""


def shown(text: str) -> list[str]:
    """Every line that is typed in a document's blocks, with its ``$``."""
    blocks = re.findall(r"^( *)```console\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix(indent) for indent, block in blocks for line in _shell_lines(block)]
    return [line for line in lines if line.startswith("$ ")]


def kubectl_run() -> str:
    """The line that starts a rotation within the cluster."""
    (line,) = [line for line in shown(TEXT) if " run rotate " in line]
    return line.removeprefix("$ ")


def commands() -> list[str]:
    """Every command line of ours that the document shows, in blocks and in tables."""
    lines = shown(TEXT)
    found = [part.strip() for line in lines for part in line[2:].split("|")]
    found += [f"k8s-ws-proxy {line.split(' -- ')[1]}" for line in lines if " -- keys " in line]
    found += re.findall(r"`(k8s-ws-proxy [^`]*)`", TEXT)
    return sorted({line.removesuffix(" &") for line in found if line.startswith("k8s-ws-proxy ")})
