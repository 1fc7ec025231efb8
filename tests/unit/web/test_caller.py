"""What a request says of its caller."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from k8s_ws_proxy.web.caller import body_of
from k8s_ws_proxy.web.transport import StreamTransport


class Transport(StreamTransport):
    """Nothing but what is asked of it."""

    def __init__(self, told):
        self.told = told

    def ask_for_body(self):
        self.told.append("100")


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
        transport=Transport(told),
        read=read,
    )
    for _ in range(2):
        assert await body_of(request, asyncio.get_running_loop().time() + 60) == b"{}"
    assert len(told) == asked
