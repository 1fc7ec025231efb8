"""Which handler a path has."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.web.router import Router, check_method

ROUTER = Router([("/healthz", "probe"), ("/proxy/sessions/{}", "one"), ("/proxy/{}/{}", "any")], otherwise="otherwise")


@pytest.mark.parametrize(
    ("target", "handler"),
    [
        ("/healthz", "probe"),
        ("/healthz?verbose", "probe"),
        ("/%68ealthz", "otherwise"),
        ("/healthz/", "otherwise"),
        ("/proxy/sessions/5e55", "one"),
        ("/proxy/exec/5e55", "any"),
        ("/proxy/a%2Fb/c", "any"),
        ("/proxy/exec", "otherwise"),
        ("/proxy/\udcff/x", "any"),
        ("/proxy/%ff/x", "any"),
        ("", "otherwise"),
        ("*", "otherwise"),
    ],
)
def test_the_first_row_that_fits(target, handler):
    assert ROUTER.handler(target) == handler


def test_another_method():
    request = make_mocked_request("POST", "/healthz")
    check_method(request, "POST", text="Only by POST.")
    with pytest.raises(Refusal) as refusal:
        check_method(request, "GET", "HEAD", text="Only by GET.")
    assert (refusal.value.reason, str(refusal.value)) == (Reason.METHOD_NOT_ALLOWED, "Only by GET.")
