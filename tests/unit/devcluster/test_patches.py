"""The embedded cluster's patches, without a cluster."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.devcluster import patches
from k8s_ws_proxy.devcluster.status import Failed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@pytest.mark.parametrize(
    ("document", "patch", "merged"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_as_the_rfc_has_it(document, patch, merged):
    assert patches.merge(document, patch) == merged


@given(DOCUMENTS, VALUES, st.sampled_from([*patches.ACCEPTED, "text/plain"]))
def test_any_patch_is_applied_or_refused_and_leaves_the_document_alone(document, patch, media_type):
    before = json.dumps(document)
    with contextlib.suppress(Failed):
        assert isinstance(patches.apply(document, media_type, json.dumps(patch).encode()), dict)
    assert json.dumps(document) == before


@given(st.sampled_from(patches.ACCEPTED), st.binary())
def test_what_is_no_json_is_a_bad_request(media_type, body):
    with pytest.raises(Failed, match="error decoding patch"):
        patches.apply({}, media_type, b"\xff" + body)
