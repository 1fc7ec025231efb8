"""The target that the command line signs: as it is sent."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.cli.sign import request_target
from k8s_ws_proxy.errors import ProxyError


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/proxy/exec/default/web", "/proxy/exec/default/web"),
        ("/a%2fb?x=%41+c&&=", "/a%2fb?x=%41+c&&="),
        ("/a?", "/a?"),
        ("/a?b#c?d", "/a?b"),
        ("//a/../b", "//a/../b"),
        ("/a://b", "/a://b"),
        ("https://node-1:8443/proxy/logs/a/b?tailLines=1", "/proxy/logs/a/b?tailLines=1"),
        ("HTTP://user@[::1]", "/"),
        ("http://host?q", "/?q"),
        ("http://host#f", "/"),
    ],
)
def test_the_target_is_what_is_sent_and_nothing_in_it_is_decoded(given, sent):
    assert request_target(given) == sent


@pytest.mark.parametrize("given", ["", "proxy/exec", "/a b", "/a\n", "/ü", "\t/a", "?x", "http:/a", "/a\udcff"])
def test_what_no_request_line_could_hold(given):
    with pytest.raises(ProxyError, match="can't be sent as it stands"):
        request_target(given)
