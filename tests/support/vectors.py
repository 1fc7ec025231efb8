"""Where the reference signatures are: beside the repository where they are laid there, else the repository's copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

COPY: Final = Path(__file__).parents[1] / "vectors"
SIBLING: Final = Path(__file__).parents[3] / "shared" / "vectors"
VECTORS: Final = SIBLING if SIBLING.is_dir() else COPY


def load(name: str, directory: Path = VECTORS) -> list[dict[str, Any]]:
    """The rows of one file."""
    rows = json.loads((directory / name).read_text("utf-8"))
    assert isinstance(rows, list)
    return rows
