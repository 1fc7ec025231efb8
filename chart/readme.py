"""README.md from README.md.in and the comments in values.yaml: ``python chart/readme.py`` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHART = Path(__file__).parent
_MARK = "# -- "


class Row(NamedTuple):
    """One value: its path, its default as JSON, and what its comment says."""

    name: str
    default: str
    text: str


class UndocumentedError(Exception):
    """A value without a comment above it that begins with two dashes."""


def rows(values: str) -> list[Row]:
    """A row for each value of ``values``, a YAML text, in its order.

    A mapping with a comment of its own is one value. Raises UndocumentedError.
    """
    node = yaml.compose(values, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    return list(_walk(node, (), values.splitlines()))


def _walk(mapping: yaml.MappingNode, path: tuple[str, ...], lines: Sequence[str]) -> Iterator[Row]:
    for key, value in mapping.value:
        name = (*path, key.value)
        text = _comment(lines, key.start_mark.line)
        if text is not None:
            yield Row(".".join(name).removeprefix("k8sWsProxy."), _default(value), text)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk(value, name, lines)
        else:
            raise UndocumentedError(f"values.yaml, line {key.start_mark.line + 1}: {'.'.join(name)} has no comment")


def _comment(lines: Sequence[str], key: int) -> str | None:
    """What the comment right above line ``key`` says; None if there is none that begins with the mark."""
    start = key
    while start and lines[start - 1].strip().startswith("#"):
        start -= 1
        if lines[start].strip().startswith(_MARK):
            return " ".join(line.strip().lstrip("#").strip() for line in lines[start:key]).removeprefix("-- ")
    return None


def _default(node: yaml.Node) -> str:
    value: Any = yaml.safe_load(yaml.serialize(node))
    return "" if value is None else f"`{json.dumps(value)}`"


def readme() -> str:
    """The whole README.md."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    table = ["| value | default | |", "|---|---|---|"]
    table += [
        f"| `{row.name}` | {row.default} | {row.text.replace('|', chr(92) + '|')} |"
        for row in rows((CHART / "values.yaml").read_text("utf-8"))
    ]
    filled = (CHART / "README.md.in").read_text("utf-8")
    for name, text in {
        "kubeVersion": chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0") + " or newer",
        "version": chart["version"],
        "values": "\n".join(table),
    }.items():
        filled = filled.replace(f"@{name}@", text)
    return filled


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme(), "utf-8")
