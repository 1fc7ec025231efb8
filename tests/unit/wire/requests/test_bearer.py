"""Where a ticket stands in a request, and whose page sent it."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.wire.requests.bearer import SUBPROTOCOL_PREFIX, same_origin, ticket_in, ticket_meant

TICKET = "A" * 43


@pytest.mark.parametrize(
    ("authorization", "subprotocols", "expected"),
    [
        ([f"Bearer {TICKET}"], [], TICKET),
        ([f"bearer  {TICKET}"], [], TICKET),
        ([], ["v5.channel.k8s.io", SUBPROTOCOL_PREFIX + TICKET], TICKET),
        ([], [], None),
        ([], ["v5.channel.k8s.io"], None),
        ([f"Basic {TICKET}"], [], None),
        ([TICKET], [], None),
        ([f"Bearer {TICKET}x"], [], None),
        (["Bearer "], [], None),
        ([f"Bearer {TICKET}", f"Bearer {TICKET}"], [], None),
        ([f"Bearer {TICKET}"], [SUBPROTOCOL_PREFIX + TICKET], None),
        ([], [SUBPROTOCOL_PREFIX + TICKET] * 2, None),
        ([], [SUBPROTOCOL_PREFIX], None),
        ([], [SUBPROTOCOL_PREFIX + "é" * 43], None),
        (["Bearer"], [SUBPROTOCOL_PREFIX + TICKET], None),
        (["Basic YWxpY2U6"], ["v5.channel.k8s.io", SUBPROTOCOL_PREFIX + TICKET], TICKET),
        (["Basic YWxpY2U6", f"BEARER {TICKET}"], [], TICKET),
    ],
)
def test_where_a_ticket_stands(authorization, subprotocols, expected):
    assert ticket_in(authorization, subprotocols) == expected


@pytest.mark.parametrize(
    ("authorization", "subprotocols", "expected"),
    [
        ([f"Bearer {TICKET}"], [], True),
        (["bEARER x"], [], True),
        (["Bearer"], [], True),
        ([], [SUBPROTOCOL_PREFIX + TICKET], True),
        ([], ["base64.bearer.authorization.k8s.io.x"], True),
        (["Basic YWxpY2U6"], ["v5.channel.k8s.io"], False),
        (["Negotiate YII=", f"Bearerish {TICKET}", ""], [], False),
        ([], [], False),
    ],
)
def test_what_is_meant_as_a_ticket(authorization, subprotocols, expected):
    assert ticket_meant(authorization, subprotocols) is expected


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("https://node.example", "node.example", True),
        ("https://node.example", "node.example:443", True),
        ("https://Node.Example:443", "node.example", True),
        ("http://node.example:8080", "node.example:8080", True),
        ("https://node.example:8443", "node.example", False),
        ("http://node.example", "node.example:443", False),
        ("https://evil.example", "node.example", False),
        ("https://node.example.evil", "node.example", False),
        ("https://user@node.example", "node.example", False),
        ("null", "node.example", False),
        ("", "", False),
        ("file://", "", False),
        ("https://", "", False),
        ("https://[::1", "x", False),
        ("chrome-extension://node.example", "node.example", False),
    ],
)
def test_whose_page_it_is(origin, host, expected):
    assert same_origin(origin, host) is expected
