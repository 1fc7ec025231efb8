"""audit.md from audit.md.in and the records in k8s_ws_proxy/wire/audit/events.py: ``make docs`` writes it."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.wire.audit import events
from k8s_ws_proxy.wire.audit.line import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def rows(record: Any, before: str = "") -> Iterator[str]:
    """The rows of a record's own fields, and of the records in it."""
    hints = typing.get_type_hints(record, include_extras=True)
    for field in dataclasses.fields(record):
        if field.name == "subject":
            continue
        kind, text = typing.get_args(hints[field.name])
        name = before + key_of(field.name)
        yield f"| `{name}` | {_named(kind)} | {text} |"
        for inner in (kind, *typing.get_args(kind)):
            if dataclasses.is_dataclass(inner):
                yield from rows(inner, f"{name}.")


def _named(kind: Any) -> str:
    if isinstance(kind, types.UnionType):
        return " or ".join(_named(each) for each in typing.get_args(kind))
    if kind is type(None):
        return "null"
    if typing.get_origin(kind) is tuple:
        return f"list of {_named(typing.get_args(kind)[0])}s"
    return "object" if dataclasses.is_dataclass(kind) else _TYPES[kind]


def event(kind: type[events.Event]) -> str:
    """What is said of an event."""
    own = list(rows(kind))
    table = ["", "| field | type | what it says |", "|---|---|---|", *own] if own else []
    return "\n".join([f"### `{kind.name}`", "", f"{kind.text[0].upper()}{kind.text[1:]}.", *table])


def page() -> str:
    """The whole audit.md."""
    text = (HERE / "audit.md.in").read_text("utf-8")
    filled = text.replace("@common@", "\n".join(rows(events.Subject)))
    return filled.replace("@events@", "\n\n".join(map(event, events.EVENTS)))


if __name__ == "__main__":
    (HERE / "audit.md").write_text(page(), "utf-8")
