"""Who is asking, in headers that the command line signs and the proxy reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.cli.identity_headers import groups_header, node_header, reason_header, user_header, v2_headers
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.wire.requests.claims import LONGEST_REASON, parse_claims
from k8s_ws_proxy.wire.requests.message_signature import Message
from k8s_ws_proxy.wire.requests.signing import Key
from k8s_ws_proxy.wire.requests.signing_v2 import Terms, verify

KEY = Key("secret", b"k" * 44)
NOW = 1_790_000_000
TERMS = Terms(max_age=60, started=NOW - 3600)


def read_back(headers):
    """The claims, as the proxy reads them."""
    return parse_claims(lambda name: [headers[name]] if name in headers else [])


def test_all_that_is_said_is_covered_and_the_proxy_reads_it_back():
    more = {
        **user_header("--user", "oidc:jane@example.org"),
        **groups_header("--group", ["ops", 'CN=dev,OU="eng"', "back\\slash"]),
        **reason_header("--reason", "100% sure, Müller said"),
        **node_header("--node", "node-1.example.org"),
    }
    headers = v2_headers(KEY.secret, "POST", "/a%2Fb?c=%20", more, created=NOW, keyid="mine")
    sent = {name.lower(): [value] for name, value in headers.items()}
    verified = verify(
        Message("POST", "/a%2Fb?c=%20", lambda name: sent.get(name, [])),
        headers,
        has_body=False,
        keys=[KEY],
        now=NOW,
        terms=TERMS,
    )
    assert verified.key is KEY
    assert ';keyid="mine"' in headers["Signature-Input"]
    claims = read_back(headers)
    assert claims.user == "oidc:jane@example.org"
    assert claims.groups == ("ops", 'CN=dev,OU="eng"', "back\\slash")
    assert claims.reason == "100% sure, Müller said"
    assert headers["X-Catalyst-Reason"] == "100%25 sure, M%C3%BCller said"
    assert headers["X-Catalyst-Node"] == "node-1.example.org"


def test_what_isn_t_said_isn_t_sent():
    more = {**user_header("", None), **groups_header("", []), **reason_header("", None), **node_header("", None)}
    assert v2_headers(KEY.secret, "GET", "/", more).keys() == {"Signature-Input", "Signature"}


def test_each_signature_is_another():
    made = [v2_headers(KEY.secret, "GET", "/", {}, created=NOW)["Signature"] for _ in range(3)]
    assert len(set(made)) == 3


@given(st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" "), min_size=1, max_size=LONGEST_REASON))
def test_every_reason_arrives(reason):
    if not reason.strip():
        return
    header = reason_header("--reason", reason)
    assert header["X-Catalyst-Reason"].isascii()
    assert read_back(header).reason == reason.strip()


@given(st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30), max_size=20))
def test_every_group_arrives(groups):
    assert list(read_back(groups_header("--group", groups)).groups) == groups


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: user_header("--as", ""), "--as: X-Catalyst-User must be 1 to 253 visible ASCII characters."),
        (lambda: user_header("--as", "j" * 254), "--as: X-Catalyst-User must be"),
        (lambda: user_header("--as", "jane doe"), "--as: X-Catalyst-User must be"),
        (lambda: user_header("--as", "jürgen"), "--as: X-Catalyst-User must be"),
        (lambda: user_header("--as", "a\r\nb: c"), "--as: X-Catalyst-User must be"),
        (lambda: user_header("--as", " jane"), "--as: ' jane' has spaces around it"),
        (lambda: groups_header("--as-group", ["ö"]), "--as-group: a group's name can hold printable ASCII"),
        (lambda: groups_header("--as-group", ["a\nb"]), "--as-group: a group's name can hold printable ASCII"),
        (lambda: groups_header("--as-group", [""]), "--as-group: In X-Catalyst-Groups a group is empty"),
        (lambda: groups_header("--as-group", ["a", " b"]), "or has spaces around it"),
        (lambda: groups_header("--as-group", ["a"] * 65), "at most 64 groups"),
        (lambda: groups_header("--as-group", ["a" * 4096]), "at most 4096 bytes"),
        (lambda: reason_header("--reason", " "), "--reason: it says nothing"),
        (lambda: reason_header("--reason", "a\nb"), "--reason: X-Catalyst-Reason may hold printable characters only"),
        (lambda: reason_header("--reason", "r" * 257), "at most 256 characters"),
        (lambda: reason_header("--reason", "\udcff"), "--reason: X-Catalyst-Reason must be UTF-8"),
        (lambda: node_header("--node", ""), "--node: '' can't be the name of a node"),
        (lambda: node_header("--node", "a b"), "can't be the name of a node"),
    ],
)
def test_what_the_proxy_would_refuse_is_refused_here(made, told):
    with pytest.raises(ProxyError) as raised:
        made()
    assert told in str(raised.value)
