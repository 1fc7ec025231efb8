from __future__ import annotations

import pytest

from benchmarks.checkout import CheckoutError, build_of, pins, resolve

LOCK = """\
# made by a tool
aiohttp==3.14.5 ; python_version >= "3.11"    # via k8s-ws-proxy (pyproject.toml)
    --hash=sha256:00
a-b.c==1.0 \\
    --hash=sha256:11
"""


def test_a_lock_s_versions_are_kept_without_its_hashes():
    assert pins(LOCK) == "aiohttp==3.14.5\na-b.c==1.0\n"


@pytest.mark.parametrize("revision", ["no-such-revision", "--help", ""])
def test_what_is_no_revision_is_told_before_anything_is_measured(revision):
    with pytest.raises(CheckoutError):
        resolve(revision)


def test_what_was_compiled_is_told_from_what_was_not(tmp_path):
    for name in ("uvloop/loop.so", "k8s_ws_proxy/relay/leg.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert build_of(tmp_path) == "plain Python"
    (tmp_path / "k8s_ws_proxy/relay/leg.cpython-311-x86_64-linux-gnu.so").touch()
    assert build_of(tmp_path) == build_of(tmp_path / "k8s_ws_proxy") == "compiled"
