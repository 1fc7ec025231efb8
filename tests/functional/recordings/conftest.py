"""A real S3 server, and recordings that wait for it."""

from __future__ import annotations

import pytest
from support.objectstore import s3_server


@pytest.fixture
async def s3(tmp_path):
    async with s3_server(tmp_path) as server:
        yield server
