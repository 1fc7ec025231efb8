from __future__ import annotations

import pytest

from benchmarks.checkout import CheckoutError, pins, resolve

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
