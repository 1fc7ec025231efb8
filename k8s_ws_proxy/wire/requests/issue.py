"""The bodies of the session API: JSON -> what is wanted (docs/reference/sessions.md).

A session that is issued is the one that its equivalent path would open: it is made into that, and looked at by the
same rules.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlencode

from k8s_ws_proxy.errors import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS: Final = {"exec": "exec", "attach": "attach", "log": "logs"}
DEFAULT_TIME: Final = 60
LONGEST_TIME: Final = 600
_TYPES: Final[Mapping[str, str]] = {
    "subresource": "text",
    "namespace": "text",
    "pod": "text",
    "container": "text",
    "command": "texts",
    "tty": "flag",
    "stdin": "flag",
    "record": "flag",
    "expiresIn": "seconds",
}
_TOLD: Final = {
    "text": "a string",
    "texts": "a list of strings, at least one",
    "flag": "true or false",
    "seconds": f"a whole number of seconds from 1 to {LONGEST_TIME}",
}


@dataclass(frozen=True, slots=True)
class Order:
    """A session to be issued. ``target`` is the request target of the equivalent path; ``expires_in`` in seconds."""

    target: str
    record: bool
    expires_in: int


def parse_order(body: bytes) -> Order:
    """The session that a body of ``POST /proxy/sessions`` asks for. Raises Refusal(``bad_body``)."""
    wanted = _fields(body, _TYPES)
    for name in ("subresource", "namespace", "pod"):
        if name not in wanted:
            raise _bad(f"{name} is missing.")
    if wanted["subresource"] not in _KINDS:
        raise _bad(f"subresource must be one of {', '.join(_KINDS)}.")
    log = wanted["subresource"] == "log"
    not_for = ("command", "tty", "stdin", "record") if log else () if wanted["subresource"] == "exec" else ("command",)
    if odd := [name for name in not_for if name in wanted]:
        raise _bad(f"{odd[0]} is not for {wanted['subresource']}.")
    segments = ["proxy", _KINDS[wanted["subresource"]], wanted["namespace"], wanted["pod"]]
    if wanted.get("container"):  # a client may send what it has nothing for as ""
        segments.append(wanted["container"])
    pairs = [("command", argument) for argument in wanted.get("command", ())]
    pairs += [(name, "true" if wanted[name] else "false") for name in ("tty", "stdin") if name in wanted]
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    query = urlencode(pairs, quote_via=quote)
    target = f"{path}?{query}" if query else path
    return Order(target, wanted.get("record", False), wanted.get("expiresIn", DEFAULT_TIME))


def parse_join(body: bytes) -> tuple[Literal["observe", "peer"], int]:
    """Mode and seconds in a body of ``POST /proxy/sessions/{id}/ticket``. Raises Refusal(``bad_body``)."""
    wanted = _fields(body, {"mode": "text", "expiresIn": "seconds"})
    mode = wanted.get("mode")
    if mode not in ("observe", "peer"):
        raise _bad("mode must be observe or peer.")
    return mode, wanted.get("expiresIn", DEFAULT_TIME)


def parse_replay(body: bytes) -> int:
    """Seconds in a body of ``POST /proxy/recordings/{id}/ticket``: it may be empty. Raises Refusal(``bad_body``)."""
    wanted: int = _fields(body, {"expiresIn": "seconds"}).get("expiresIn", DEFAULT_TIME) if body else DEFAULT_TIME
    return wanted


def _fields(body: bytes, types: Mapping[str, str]) -> dict[str, Any]:
    try:
        wanted = json.loads(body, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError):
        raise _bad("The body must be a JSON object, in UTF-8, each name once.") from None
    if not isinstance(wanted, dict):
        raise _bad("The body must be a JSON object.")
    if unknown := sorted(wanted.keys() - types.keys()):
        raise _bad(f"There is no field {unknown[0][:40]!a}: there is {', '.join(types)}.")
    for name, value in wanted.items():
        if not _is(types[name], value):
            raise _bad(f"{name} must be {_TOLD[types[name]]}.")
    return wanted


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "text":
            return _is_text(value)
        case "texts":
            return isinstance(value, list) and bool(value) and all(map(_is_text, value))
        case "flag":
            return isinstance(value, bool)
    return type(value) is int and 1 <= value <= LONGEST_TIME


def _is_text(value: Any) -> bool:
    """Text that can be sent on: JSON may hold halves of characters."""
    return isinstance(value, str) and re.search("[\ud800-\udfff]", value) is None


def _bad(text: str) -> Refusal:
    return Refusal(Reason.BAD_BODY, text)
