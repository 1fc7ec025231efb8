"""The metrics' page."""

from __future__ import annotations

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.wire.rules.relay import Ending


def test_every_reason_stands_at_zero_before_the_first_one():
    page = metrics.exposition().decode()
    for reason in Reason:
        assert f'k8s_ws_proxy_refusals_total{{reason="{reason.value}"}} ' in page
    for ending in Ending:
        assert f'k8s_ws_proxy_sessions_ended_total{{reason="{ending.value}"}} ' in page
    assert "_created" not in page
