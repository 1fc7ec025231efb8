"""How this package is here: with the session's path as extension modules, or all of it as plain Python."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final


def build_of(source: Path) -> str:
    """``compiled`` or ``plain``: what Python takes where it imports ``source``."""
    return "compiled" if any(source.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES) else "plain"


BUILD: Final = build_of(Path(__file__).parent / "relay/bridge.py")
"""Of the session's path: setup.py compiles all of it or none."""
