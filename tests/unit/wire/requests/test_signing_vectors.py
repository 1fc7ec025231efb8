"""The reference: 120 signatures made with OpenSSL, 27 requests with their verdicts, and 26 signatures by RFC 9421."""

from __future__ import annotations

from typing import Any

import pytest
from support.vectors import COPY, SIBLING, load

from k8s_ws_proxy.errors import CredentialRefused
from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER, Key, sign, verify

COUNTS = {"hmac_v1.json": 120, "hmac_v1_verdicts.json": 27, "rfc9421.json": 26}
SIGNATURES = load("hmac_v1.json")
VERDICTS = load("hmac_v1_verdicts.json")


@pytest.mark.parametrize(
    "directory", [found for found in (COPY, SIBLING) if found.is_dir()], ids=lambda d: d.parent.name
)
def test_each_directory_holds_the_same_rows_and_all_of_them(directory):
    assert {file.name for file in directory.iterdir()} == set(COUNTS)
    for name, count in COUNTS.items():
        assert (directory / name).read_bytes() == (COPY / name).read_bytes()
        assert len(load(name, directory)) == count


def test_no_row_is_there_twice():
    assert len({(row["secret_hex"], row["timestamp"], row["path"]) for row in SIGNATURES}) == 120
    assert len({row["name"] for row in VERDICTS}) == 27


def _row(row: dict[str, Any]) -> str:
    return f"{row['secret_name']} {row['timestamp']} {row['path']}"


@pytest.mark.parametrize("row", SIGNATURES, ids=_row)
def test_signature(row):
    assert sign(bytes.fromhex(row["secret_hex"]), row["timestamp"], row["path"]) == row["hmac"]


@pytest.mark.parametrize("row", VERDICTS, ids=lambda row: row["name"])
def test_verdict(row):
    def values(name: str) -> list[str]:
        return [row["headers"][name]] if name in row["headers"] else []

    try:
        key = verify(
            values(TIMESTAMP_HEADER),
            values(HMAC_HEADER),
            path=row["path"],
            keys=[Key("it", bytes.fromhex(row["secret_hex"]))],
            now=row["now"],
            skew=row["skew_seconds"],
        )
    except CredentialRefused as refused:
        verdict = refused.reason.value
    else:
        assert key.id == "it"
        verdict = "ok"
    assert verdict == row["expect"]
