"""How a request of the session API is written."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from k8s_ws_proxy.cli.sessions_source import target_of


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_a_target_is_one_that_nobody_writes_otherwise(text):
    target = target_of("/proxy/sessions/x", {"reason": text})
    assert URL(f"https://apiserver/a/b:8080/proxy{target}").raw_path_qs == f"/a/b:8080/proxy{target}"
    assert parse_qsl(urlsplit(target).query, keep_blank_values=True) == [("reason", text)]
