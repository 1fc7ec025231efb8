"""The headers that say who is asking: each rule of the reference's table."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.claims import GROUPS_HEADER, REASON_HEADER, USER_HEADER, Claims, parse_claims


def parsed(**sent):
    headers = {"user": USER_HEADER, "groups": GROUPS_HEADER, "reason": REASON_HEADER}
    values = {headers[name]: [value] if isinstance(value, str) else value for name, value in sent.items()}
    return parse_claims(lambda name: values.get(name, []))


def refused(**sent):
    with pytest.raises(Refusal) as raised:
        parsed(**sent)
    assert raised.value.reason is Reason.MALFORMED_IDENTITY
    return str(raised.value)


def test_nothing_is_claimed_by_nothing():
    assert parsed() == Claims()


def test_all_of_them():
    assert parsed(
        user="alice@example.com", groups='"oidc:ops", "CN=dev,OU=eng"', reason="incident%2042 \u0021"
    ) == Claims("alice@example.com", ("oidc:ops", "CN=dev,OU=eng"), "incident 42 !")


@pytest.mark.parametrize("user", ["a", "u" * 253, "https://issuer.example#alice", "~!"])
def test_a_user(user):
    assert parsed(user=user).user == user


@pytest.mark.parametrize("user", ["", " ", "u" * 254, "al ice", "älice", "a\x7f", "a\tb", ["a", "b"], "\udcff"])
def test_no_user(user):
    assert USER_HEADER in refused(user=user)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ('"a"', ("a",)),
        (['"a"', '"b, c"'], ("a", "b, c")),
        (r'"say \"hi\" \\ o"', ('say "hi" \\ o',)),
        ("", ()),
        (", ".join(f'"{n}"' for n in range(64)), tuple(map(str, range(64)))),
    ],
)
def test_groups(groups, expected):
    assert parsed(groups=groups).groups == expected


@pytest.mark.parametrize(
    "groups",
    [
        "ops",
        '"a" "b"',
        '"a",',
        '"a',
        '("a" "b")',
        '"a";x=1',
        "1",
        ":YQ==:",
        "?1",
        '""',
        '" system:masters"',
        '"a "',
        '"ä"',
        '"\udcff"',
        ", ".join(f'"{n}"' for n in range(65)),
        '"' + "g" * 4096 + '"',
    ],
)
def test_no_groups(groups):
    assert GROUPS_HEADER in refused(groups=groups)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("INC-42", "INC-42"),
        ("100%25", "100%"),
        ("%E2%9C%93 done", "✓ done"),
        ("%e4%b8%ad" * 256, "中" * 256),
        ("", ""),
        ("a+b", "a+b"),
    ],
)
def test_a_reason(reason, expected):
    assert parsed(reason=reason).reason == expected


@pytest.mark.parametrize(
    "reason",
    [
        "r" * 257,
        "%E2%9C%93" * 257,
        "100%",
        "%zz",
        "%ff",
        "%C3",
        "ü",
        "a\tb",
        "%0A",
        "%1b[31m",
        "%E2%80%AE",
        ["a", "b"],
        "\udcff",
    ],
)
def test_no_reason(reason):
    assert REASON_HEADER in refused(reason=reason)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20), min_size=1, max_size=64))
def test_whatever_groups_are_written_are_read(groups):
    stripped = [group.strip() or "g" for group in groups]
    assert parsed(groups=http_sf.ser([(group, {}) for group in stripped])).groups == tuple(stripped)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_no_header_makes_anything_but_claims_or_a_refusal(user, groups, reason):
    reasons = set()
    try:
        claims = parsed(user=user, groups=groups, reason=reason)
    except Refusal as refusal:
        claims, reasons = Claims("?"), {refusal.reason}
    assert reasons <= {Reason.MALFORMED_IDENTITY}
    assert claims.user is not None
    assert claims.user.isascii()
    assert (claims.reason or "").isprintable()
