"""NATS credentials files."""

from __future__ import annotations

import base64

import pytest
from nacl.signing import VerifyKey
from support.nats import Operator

from k8s_ws_proxy.audit.credentials import read
from k8s_ws_proxy.errors import AuditError


def test_a_nonce_is_signed_by_the_user_s_key(tmp_path):
    operator, file = Operator(), tmp_path / "nats.creds"
    file.write_text(operator.credentials())
    found = read(file)
    assert found.jwt == operator.user_jwt
    key = VerifyKey(bytes(operator._user.verify_key))
    assert key.verify(b"nonce", base64.b64decode(found.signed("nonce"))) == b"nonce"


def test_nothing_of_it_is_shown(tmp_path):
    operator, file = Operator(), tmp_path / "nats.creds"
    file.write_text(operator.credentials())
    assert repr(read(file)) == "Credentials()"


@pytest.mark.parametrize("change", ["a letter", "an account's", "no seed", "empty", "no base32", "not there"])
def test_what_is_no_credentials_file_is_told_without_what_stands_in_it(tmp_path, change):
    operator, file = Operator(), tmp_path / "nats.creds"
    text, seed = operator.credentials(), operator.seed
    other = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
    changed = {
        "a letter": text.replace(seed, other),
        "an account's": text.replace(seed, f"SA{seed[2:]}"),
        "no seed": text.partition("***")[0],
        "empty": "",
        "no base32": text.replace(seed, "1" * 58),
    }
    if change != "not there":
        file.write_text(changed[change])
    with pytest.raises(AuditError) as error:
        read(file)
    assert seed not in str(error.value)
    assert operator.user_jwt not in str(error.value)
    assert str(file) in str(error.value)
