"""Dates: there and back, and what is none."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.rfc3339 import rfc3339, unix


def test_a_date_has_milliseconds_and_says_utc():
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert unix(rfc3339(1_700_000_000.25)) == 1_700_000_000.25
    assert unix("2023-11-15T00:13:20.25+02:00") == 1_700_000_000.25


@pytest.mark.parametrize(
    "text", [None, 1_700_000_000, "", "yesterday", "2023-11-14T22:13:20", "2023-11-14T22:13:20+25:00"]
)
def test_what_is_no_date_or_lacks_its_zone_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        unix(text)
