"""Which objects of a list are wanted: label and field selectors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import status
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    Wanted = Callable[[dict[str, Any]], bool]

_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_TERM = re.compile(
    rf"\s*(?:(?P<not>!)\s*)?(?P<key>{_KEY})\s*"
    r"(?:(?P<op>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)|(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?\s*(?:,|$)"
)
_FIELDS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "spec.nodeName": ("spec", "nodeName"),
    "status.phase": ("status", "phase"),
    "status.podIP": ("status", "podIP"),
    "type": ("type",),
}
_ALLOWED = {
    "pods": {"metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "status.podIP"},
    "secrets": {"metadata.name", "metadata.namespace", "type"},
}


def by_labels(text: str) -> Wanted:
    """A label selector: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, joined by commas.

    Raises Failed.
    """
    tests: list[Callable[[dict[str, str]], bool]] = []
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None or (term["not"] and (term["op"] or term["set"])):
            raise Failed(status.bad_request(f"unable to parse requirement: found '{text[position:]}'"))
        tests.append(_label_test(term))
        position = term.end()
    return lambda item: all(test(item["metadata"].get("labels", {})) for test in tests)


def _label_test(term: re.Match[str]) -> Callable[[dict[str, str]], bool]:
    key = term["key"]
    if term["set"]:
        values = {each.strip() for each in term["values"].split(",")}
        wanted = term["set"] == "in"
        return lambda labels: (key in labels and labels[key] in values) is wanted
    if term["op"]:
        equal = term["op"] != "!="
        return lambda labels: (labels.get(key) == term["value"]) is equal
    present = not term["not"]
    return lambda labels: (key in labels) is present


def by_fields(text: str, resource: str) -> Wanted:
    """A field selector: `a=b`, `a==b`, `a!=b`, joined by commas, on the few fields a resource offers.

    Raises Failed.
    """
    tests: list[tuple[tuple[str, ...], str, bool]] = []
    for term in filter(None, text.split(",")):
        parsed = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if parsed is None:
            raise Failed(status.bad_request(f"invalid selector: '{text}'; can't understand '{term}'"))
        field, sign, value = parsed.groups()
        if field not in _ALLOWED.get(resource, {"metadata.name", "metadata.namespace"}):
            raise Failed(status.bad_request(f"field label not supported: {field}"))
        tests.append((_FIELDS[field], value, sign != "!="))
    return lambda item: all((_at(item, path) == value) is equal for path, value, equal in tests)


def _at(item: dict[str, Any], path: tuple[str, ...]) -> str:
    value: Any = item
    for part in path:
        value = value.get(part, {})
    return value if isinstance(value, str) else ""
