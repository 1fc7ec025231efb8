"""The embedded cluster's protobuf reader."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.devcluster import protobuf


@given(st.binary())
def test_any_protobuf_is_read_or_a_value_error(body):
    for data in (body, b"k8s\0" + body, b"k8s\0\x12" + bytes((len(body) & 0x7F,)) + body):
        with contextlib.suppress(ValueError):
            assert protobuf.read(data).keys() >= {"kind", "apiVersion"}
