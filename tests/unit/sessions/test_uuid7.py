"""Sessions' names: UUIDs of version 7."""

from __future__ import annotations

import time
import uuid

from k8s_ws_proxy.sessions.uuid7 import uuid7


def test_each_is_one_and_says_when_it_was_made():
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == 1000
    for text in made:
        one = uuid.UUID(text)
        assert str(one) == text
        assert (one.version, one.variant) == (7, uuid.RFC_4122)
        assert before <= one.int >> 80 <= after


def test_all_74_bits_are_random():
    seen = [uuid.UUID(uuid7()).int for _ in range(300)]
    fixed = {*range(80, 128), *range(76, 80), 62, 63}
    for bit in set(range(128)) - fixed:
        assert {one >> bit & 1 for one in seen} == {0, 1}
