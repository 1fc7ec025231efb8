"""What holds for every test: nothing blocks the event loop, and hypothesis tries the same examples each time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest
from blockbuster import blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("ci", derandomize=True, max_examples=60, deadline=None)
hypothesis.settings.register_profile("deep", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _nothing_blocks() -> Iterator[None]:
    """A blocking call below this package's code on a thread with a running event loop raises BlockingError.

    Only below this package's: what a test or pytest itself does to files is nobody's latency.
    """
    with blockbuster_ctx("k8s_ws_proxy"):
        yield
