"""What a request says of its caller."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from k8s_ws_proxy.web.caller import address_of, body_of


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("10.0.0.7", 4711), "10.0.0.7"),
        (("::ffff:10.0.0.7", 4711, 0, 0), "10.0.0.7"),
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
        (None, "?"),
    ],
)
def test_an_ipv4_peer_on_a_socket_for_both_is_told_as_such(name, address):
    assert address_of(name) == address


@pytest.mark.parametrize(
    ("expect", "version", "come", "asked"),
    [
        (["100-continue"], (1, 1), False, 1),
        (["100-Continue "], (1, 1), False, 1),
        (["100-continue", "100-continue"], (1, 1), False, 1),
        (["100-continue"], (1, 1), True, 0),
        (["100-continue"], (1, 0), False, 0),
        (["200-maybe"], (1, 1), False, 0),
        ([], (1, 1), False, 0),
    ],
)
async def test_who_waits_until_it_may_send_its_body_is_asked_for_it_once(expect, version, come, asked):
    told = []
    content = SimpleNamespace(is_eof=lambda: come or bool(told))

    async def read():
        return b"{}"

    request = SimpleNamespace(
        version=version,
        headers=CIMultiDict([("Expect", value) for value in expect]),
        content=content,
        transport=SimpleNamespace(ask_for_body=lambda: told.append("100")),
        read=read,
    )
    for _ in range(2):
        assert await body_of(request, asyncio.get_running_loop().time() + 60) == b"{}"
    assert len(told) == asked
