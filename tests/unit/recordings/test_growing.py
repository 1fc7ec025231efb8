"""What of a file that grows are whole lines."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.recordings.growing import whole_lines


@pytest.fixture
def ends(tmp_path):
    """Where the whole lines of a file with these bytes end."""

    def ends_(data, since=0):
        path = tmp_path / "x.cast"
        path.write_bytes(data)
        with path.open("rb") as file:
            return whole_lines(file.fileno(), since)

    return ends_


@pytest.mark.parametrize("torn", [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000])
@pytest.mark.parametrize("whole", [b"", b"\n", b"one\n", b"one\ntwo\n", b"x" * 65_535 + b"\n", b"x" * 65_536 + b"\n"])
def test_it_is_what_ends_with_a_newline(ends, whole, torn):
    assert ends(whole + b"y" * torn) == len(whole)


@pytest.mark.parametrize("torn", [0, 1, 100_000])
def test_only_what_has_come_since_is_looked_at(ends, torn):
    assert ends(b"one\ntwo\n" + b"y" * torn, 4) == 8
    assert ends(b"one\n" + b"y" * torn, 4) == 4
    assert ends(b"one\ntwo\n" + b"y" * torn, 6) == 8


def test_of_what_was_cut_back_it_is_told(ends):
    """Who has sent more by then can't take that back."""
    assert ends(b"one\n", 100) == 4
