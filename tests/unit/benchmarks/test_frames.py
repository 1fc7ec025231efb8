from __future__ import annotations

from benchmarks import frames

RECORD = 16 * 1024  # bytes of plain text, at most (RFC 8446 §5.1)


def test_a_burst_is_what_a_real_apiserver_was_seen_to_write():
    burst = frames.burst(frames.stdout_frame)
    assert all(8 * 1024 <= len(frame) <= 33 * 1024 for frame in burst)
    assert 100_000 < sum(map(len, burst)) < 110_000
    records = sum(-(-len(frame) // RECORD) for frame in burst)
    assert 8_000 < sum(map(len, burst)) / records < 12_000


def test_its_messages_are_whole():
    for frame_of, opcode in ((frames.stdout_frame, frames.BINARY), (frames.stdin_frame, frames.BINARY)):
        buffer = bytearray(b"".join(frames.burst(frame_of)))
        taken = list(frames.take(buffer))
        assert [len(payload) for _, payload in taken] == [kib * 1024 for kib in frames.MIXED_KIB]
        assert {opcode for opcode, _ in taken} == {opcode}
        assert not buffer
