"""Receipts: one form, a seal, and what is told of each way in which they can be wrong."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from k8s_ws_proxy.wire.recording.receipt import End, File, Verdict, canonical, key_of, parse, sealed, verify
from k8s_ws_proxy.wire.requests.signing import key_fingerprint

SECRET = b"a shared key that is long enough to be one"
OTHER = b"another shared key, as long as it has to be"
SHA = hashlib.sha256(b"recording").hexdigest()
BEGUN = {
    "sessionId": "01890a5d-ac96-774b-bcce-b302099a8057",
    "namespace": "apps",
    "user": "jan@example.com",
    "command": ["sh", "-c", "printf '€\\n'"],
}
END = End("2026-11-30T12:00:00.000Z", "command_ended", 3, 10, 2000, ({"user": "ann", "mode": "observe"},))
FILE = File("2026/11/30/01890a5d-ac96-774b-bcce-b302099a8057.cast", 2048, SHA)


@pytest.fixture
def receipt():
    return sealed(BEGUN, END, FILE, SECRET)


def test_it_says_what_happened(receipt):
    told = json.loads(receipt)
    assert told | BEGUN == told
    assert (told["ending"], told["exitCode"], told["bytesIn"], told["bytesOut"]) == ("command_ended", 3, 10, 2000)
    assert (told["recordingPath"], told["size"], told["sha256"]) == (FILE.path, 2048, SHA)
    assert told["watchers"] == [{"user": "ann", "mode": "observe"}]
    assert told["key"] == key_fingerprint(SECRET)


def test_its_bytes_are_canonical(receipt):
    """RFC 8785: names sorted, no spaces, no escapes that aren't needed; held against the standard library's."""
    told = json.loads(receipt)
    assert receipt == json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def test_the_key_is_hkdfs():
    """RFC 5869, held against an implementation that isn't ours."""
    theirs = HKDF(SHA256(), 32, salt=None, info=b"k8s-ws-proxy receipt v1").derive(SECRET)
    assert key_of(SECRET) == theirs


def test_anybody_can_make_the_seal_again(receipt):
    told = json.loads(receipt)
    seal = told.pop("hmac")
    assert hmac.new(key_of(SECRET), canonical(told), "sha256").hexdigest() == seal


def test_whole(receipt):
    assert verify(receipt, SHA, [OTHER, SECRET]) is Verdict.WHOLE
    assert verify(receipt, None, [SECRET]) is Verdict.WHOLE
    assert verify(json.dumps(json.loads(receipt), indent=2).encode(), SHA, [SECRET]) is Verdict.WHOLE


def test_a_recording_that_was_changed(receipt):
    assert verify(receipt, hashlib.sha256(b"recordinG").hexdigest(), [SECRET]) is Verdict.RECORDING_CHANGED


def test_another_key(receipt):
    assert verify(receipt, SHA, [OTHER]) is Verdict.OTHER_KEY
    assert verify(receipt, SHA, []) is Verdict.OTHER_KEY


@pytest.mark.parametrize("name", sorted(json.loads(sealed(BEGUN, END, FILE, SECRET)).keys() - {"key", "version"}))
def test_a_receipt_of_which_any_field_was_changed(receipt, name):
    told = json.loads(receipt)
    told[name] = "0" * 64 if isinstance(told[name], str) else [told[name]]
    assert verify(json.dumps(told).encode(), SHA, [SECRET]) is Verdict.RECEIPT_CHANGED


def test_a_receipt_with_a_field_more_or_less(receipt):
    told = json.loads(receipt)
    assert verify(json.dumps({**told, "more": 1.5}).encode(), SHA, [SECRET]) is Verdict.RECEIPT_CHANGED
    assert verify(json.dumps({**told, "more": 2**60}).encode(), SHA, [SECRET]) is Verdict.RECEIPT_CHANGED
    del told["user"]
    assert verify(json.dumps(told).encode(), SHA, [SECRET]) is Verdict.RECEIPT_CHANGED


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"nonsense", b'{"version":1}', b"[" * 100_000, b"\xff", b'{"version":1,"hmac":1,"key":2}'],
)
def test_what_is_no_receipt(data):
    assert verify(data, SHA, [SECRET]) is Verdict.NOT_A_RECEIPT


def test_one_of_another_version(receipt):
    assert parse(json.dumps({**json.loads(receipt), "version": 2}).encode()) is None
