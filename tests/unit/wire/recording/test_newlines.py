"""Ends of lines where no terminal made them."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.wire.recording.newlines import Newlines


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\nb\n", "\n", "c"], "a\r\nb\r\n\r\nc"),
        (["a\r\nb\nc\n"], "a\r\nb\nc\n"),
        (["a\r", "\nb\n"], "a\r\nb\n"),
        (["a\r", "", "\nb\n"], "a\r\nb\n"),
        (["10%\r20%\r", "done\n"], "10%\r20%\rdone\r\n"),
        (["a\n", "b\r\n", "c\n"], "a\r\nb\r\nc\n"),
    ],
)
def test_one_alone_is_a_whole_one_until_a_whole_one_has_come(pieces, expected):
    newlines = Newlines()
    assert "".join(map(newlines.pass_on, pieces)) == expected
