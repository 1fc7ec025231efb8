"""What is known of a session."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.sessions.record import shorten


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["sh", ""], ["sh", ""]),
        (["x" * 80], ["x" * 80]),
        (["x" * 81], ["x" * 80 + "…"]),
        (["x" * 100_000], ["x" * 80 + "…"]),
        (["a"] * 16, ["a"] * 16),
        (["a"] * 18, [*["a"] * 16, "… 2 more"]),
        (["\udcff", "é"], ["\\udcff", "é"]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_command_is_cut_to_a_bound(command, shown):
    assert shorten(command) == shown
