"""A key rotated in earnest: real proxies, Secrets mounted late, callers who never pause, operators who stop."""

from __future__ import annotations

import pytest
from support.site import OLD, proxies, site


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path) as one:
        yield one
        one.assert_nothing_secret_was_told()


@pytest.fixture
async def three(at):
    """Three proxies whose kubelets are late by different times."""
    at.make_secret()
    async with proxies(at, [0.0, 0.4, 1.2]):
        yield at


async def test_a_rotation_runs_through(three):
    ran = await three.rotate()
    assert ran.status == 0, ran
    assert ran.names() == ["begin", "staged", "promoted", "removed", "done"]
    assert set(three.keys) == {"secret"}
    assert three.keys["secret"] != OLD
