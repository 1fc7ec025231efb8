"""The tree of errors."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from k8s_ws_proxy import errors
from k8s_ws_proxy.errors import ProxyError, Reason, SettingsError, UpstreamRefused, UpstreamTimeout


def test_the_tree_in_the_docstring_is_the_tree():
    drawn, path = {}, []
    for line in inspect.getdoc(errors).splitlines():
        if found := re.match(r"^( *[│├└─ ]*)([A-Z]\w+)(?:\s|$)", line.removeprefix("    ")):
            depth = len(found[1]) // 4
            if not depth and found[2] != "ProxyError":
                continue
            path = [*path[:depth], found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    real = {
        name: one.__mro__[1].__name__
        for name, one in vars(errors).items()
        if inspect.isclass(one) and issubclass(one, ProxyError)
    }
    assert drawn == real


def test_what_the_peer_may_read_and_what_goes_to_the_log_are_two_texts():
    error = ProxyError("for the peer", detail="for the log")
    assert (str(error), error.detail) == ("for the peer", "for the log")
    assert ProxyError("for the peer").detail == ""


def test_settings_errors_show_every_mistake():
    error = SettingsError(["a is wrong", "b is wrong"])
    assert str(error) == "the settings are wrong:\n  - a is wrong\n  - b is wrong"
    assert error.mistakes == ["a is wrong", "b is wrong"]


def test_an_upstream_error_carries_the_status_for_the_apiservers_own_path():
    assert UpstreamTimeout("late").status == 504
    refused = UpstreamRefused("no", status=403, content_type="application/json", body=b"{}")
    assert (refused.status, refused.content_type, refused.body) == (403, "application/json", b"{}")
    assert refused.reason is Reason.UPSTREAM_REFUSED


def test_errors_that_are_caught_within_stand_beside_the_tree():
    package = Path(errors.__file__).parent
    raised = set()
    for path in package.rglob("*.py"):
        if "devcluster" not in path.parts and path.name != "errors.py":
            raised |= set(re.findall(r"^class (\w+)\((?:Exception|\w*Error)\):", path.read_text("utf-8"), re.MULTILINE))
    assert len(raised) >= 8
    assert {name for name in raised if name not in (errors.__doc__ or "")} == set()
