"""What a request says of its caller."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.web.caller import address_of


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
