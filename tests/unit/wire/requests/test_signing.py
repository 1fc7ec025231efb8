"""Signing v1 beyond the reference rows: precedence, doubled headers, the window, and what may not be seen."""

from __future__ import annotations

import hashlib
import hmac
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.errors import CredentialRefused, Reason
from k8s_ws_proxy.wire.requests import signing
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER, Key, sign, signed_headers, verify

NOW = 1_735_689_600
PATH = "/proxy/exec/default/web/web"
SECRET = b"topsecret-should-be-32+char-min!"
KEY = Key("current", SECRET)
GOOD = sign(SECRET, str(NOW), PATH)


def check(timestamps, hmacs, *, keys=(KEY,), now=NOW, skew=300, path=PATH):
    """The id of the key that signed, or the reason."""
    try:
        return verify(timestamps, hmacs, path=path, keys=keys, now=now, skew=skew).id
    except CredentialRefused as refused:
        return refused.reason


# Each fault with its rank: of two that come together, the lower one is told.
TIMESTAMP_FAULTS = [
    (0, [], Reason.MISSING_TIMESTAMP),
    (0, ["  "], Reason.MISSING_TIMESTAMP),
    (0, [str(NOW), str(NOW)], Reason.MALFORMED_TIMESTAMP),
    (2, ["soon"], Reason.MALFORMED_TIMESTAMP),
    (4, [str(NOW - 301)], Reason.EXPIRED),
    (9, [str(NOW)], "current"),
]
HMAC_FAULTS = [
    (1, [], Reason.MISSING_HMAC),
    (1, ["\t"], Reason.MISSING_HMAC),
    (1, [GOOD, GOOD], Reason.MALFORMED_HMAC),
    (3, ["xyz"], Reason.MALFORMED_HMAC),
    (5, ["0" * 64], Reason.BAD_SIGNATURE),
    (9, [GOOD], "current"),
]


@pytest.mark.parametrize(
    ("timestamp", "signature"),
    list(itertools.product(TIMESTAMP_FAULTS, HMAC_FAULTS)),
    ids=lambda fault: f"{fault[1]} {getattr(fault[2], 'value', 'fine')}",
)
def test_of_two_faults_the_one_of_the_higher_precedence_is_told(timestamp, signature):
    expected = min(timestamp, signature, key=lambda fault: fault[0])[2]
    assert check(timestamp[1], signature[1]) == expected


@pytest.mark.parametrize(
    ("timestamps", "hmacs", "expected"),
    [
        ([str(NOW), str(NOW)], [GOOD], Reason.MALFORMED_TIMESTAMP),
        ([str(NOW), ""], [GOOD], Reason.MALFORMED_TIMESTAMP),
        ([str(NOW)], [GOOD, GOOD], Reason.MALFORMED_HMAC),
        ([str(NOW)], ["0" * 64, GOOD], Reason.MALFORMED_HMAC),
        ([str(NOW)], [GOOD, ""], Reason.MALFORMED_HMAC),
    ],
)
def test_a_header_that_comes_twice_is_malformed_even_if_both_are_right(timestamps, hmacs, expected):
    assert check(timestamps, hmacs) == expected


@pytest.mark.parametrize("skew", [0, 1, 300])
@pytest.mark.parametrize("direction", [-1, 1])
def test_both_ends_of_the_window_belong_to_it(skew, direction):
    inside = str(NOW + direction * skew)
    outside = str(NOW + direction * (skew + 1))
    assert check([inside], [sign(SECRET, inside, PATH)], skew=skew) == "current"
    assert check([outside], [sign(SECRET, outside, PATH)], skew=skew) == Reason.EXPIRED


def test_the_window_counts_whole_seconds():
    assert check([str(NOW - 300)], [sign(SECRET, str(NOW - 300), PATH)], now=NOW + 0.999) == "current"


@pytest.mark.parametrize(
    "timestamp",
    ["+1735689600", "-1735689600", "1735689600s", "0x67748580", "1_735_689_600", "1735689600\n", "1e9", "٣", "²"],
)
def test_a_timestamp_is_decimal_digits(timestamp):
    assert check([timestamp], [sign(SECRET, timestamp, PATH)]) == Reason.MALFORMED_TIMESTAMP


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (str(2**63 - 1), Reason.EXPIRED),
        (str(2**63), Reason.MALFORMED_TIMESTAMP),
        ("9" * 19, Reason.MALFORMED_TIMESTAMP),
        ("9" * 5000, Reason.MALFORMED_TIMESTAMP),
        ("0", Reason.EXPIRED),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_timestamp_fits_into_64_bits(timestamp, expected):
    assert check([timestamp], [sign(SECRET, timestamp, PATH)]) == expected


def test_leading_zeros_are_signed_as_they_came():
    assert check([f"00{NOW}"], [sign(SECRET, f"00{NOW}", PATH)]) == "current"
    assert check([f"00{NOW}"], [GOOD]) == Reason.BAD_SIGNATURE


@pytest.mark.parametrize("around", [" ", "\t", " \t  "])
def test_blanks_around_a_value_are_trimmed(around):
    assert check([around + str(NOW) + around], [around + GOOD.upper() + around]) == "current"


@pytest.mark.parametrize("value", [f"\n{GOOD}", f"{GOOD}\r", f"\xa0{GOOD}", f"{GOOD[:-1]}\uff10"])
def test_nothing_else_is_trimmed(value):
    assert check([str(NOW)], [value]) == Reason.MALFORMED_HMAC


@pytest.mark.parametrize("signer", range(5))
def test_every_key_is_compared_whichever_signed(monkeypatch, signer):
    keys = [Key(f"k{n}", bytes([n]) * 32) for n in range(5)]
    compared = []
    original = hmac.compare_digest

    def counting(left, right):
        compared.append(left)
        return original(left, right)

    monkeypatch.setattr(signing.hmac, "compare_digest", counting)
    assert check([str(NOW)], [sign(keys[signer].secret, str(NOW), PATH)], keys=keys) == f"k{signer}"
    assert compared == [sign(key.secret, str(NOW), PATH) for key in keys]
    compared.clear()
    assert check([str(NOW)], ["0" * 64], keys=keys) == Reason.BAD_SIGNATURE
    assert len(compared) == 5


def test_without_keys_nobody_is_let_in():
    assert check([str(NOW)], [GOOD], keys=()) == Reason.BAD_SIGNATURE


def test_a_key_shows_its_id_and_not_its_secret():
    for shown in (repr(KEY), str(KEY), f"{[KEY]}", f"{(KEY,)!r}"):
        assert "current" in shown
        assert SECRET.decode() not in shown
        assert "secret" not in shown


@pytest.mark.parametrize("hmacs", [["0" * 64], ["xyz"], [], [GOOD[:-1] + "g"]])
@pytest.mark.parametrize("timestamp", [NOW, NOW - 10_000])
def test_a_refusal_holds_neither_the_secret_nor_the_expected_signature(timestamp, hmacs):
    expected = sign(SECRET, str(timestamp), PATH)
    with pytest.raises(CredentialRefused) as refused:
        verify([str(timestamp)], hmacs, path=PATH, keys=[KEY], now=NOW, skew=300)
    said = f"{refused.value} {refused.value.detail} {refused.value!r}"
    assert expected not in said
    assert SECRET.decode() not in said


def test_an_expired_timestamps_distance_goes_to_the_log():
    with pytest.raises(CredentialRefused) as refused:
        verify([str(NOW - 3600)], [GOOD], path=PATH, keys=[KEY], now=NOW, skew=300)
    assert refused.value.detail == "timestamp -3600 s"


def test_signed_headers_are_those_that_verify_takes():
    headers = signed_headers(SECRET, PATH, NOW)
    assert headers == {TIMESTAMP_HEADER: str(NOW), HMAC_HEADER: GOOD}
    assert check([headers[TIMESTAMP_HEADER]], [headers[HMAC_HEADER]]) == "current"


@given(st.binary(min_size=1, max_size=200), st.integers(0, 2**63 - 1), st.text())
def test_sign_is_hmac_sha256_of_timestamp_colon_path(secret, now, path):
    path = path.encode("utf-8", "replace").decode()
    expected = hmac.new(secret, str(now).encode() + b":" + path.encode(), hashlib.sha256).hexdigest()
    assert sign(secret, str(now), path) == expected


@given(st.lists(st.text(), max_size=2), st.lists(st.text(), max_size=2))
def test_any_text_in_the_headers_is_refused_with_a_reason_of_the_contract(timestamps, hmacs):
    assert check(timestamps, hmacs) in {
        Reason.MISSING_TIMESTAMP,
        Reason.MALFORMED_TIMESTAMP,
        Reason.MISSING_HMAC,
        Reason.MALFORMED_HMAC,
        Reason.EXPIRED,
    }
