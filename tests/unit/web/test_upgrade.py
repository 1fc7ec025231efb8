"""What an upgrade offers."""

from __future__ import annotations

from multidict import CIMultiDict, CIMultiDictProxy

from k8s_ws_proxy.web.upgrade import offered_subprotocols


def test_subprotocols_are_those_of_all_headers_in_order():
    offered = CIMultiDict([("Sec-WebSocket-Protocol", "a , b"), ("sec-websocket-protocol", ",c")])
    assert offered_subprotocols(CIMultiDictProxy(offered)) == ["a", "b", "c"]
