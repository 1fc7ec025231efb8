"""What ``k8s-ws-proxy sessions`` takes on its command line."""

from __future__ import annotations

import pytest

from k8s_ws_proxy.cli.main import build_parser
from k8s_ws_proxy.cli.sessions import STATES
from k8s_ws_proxy.sessions.registry import State


def test_the_states_that_can_be_asked_for_are_the_ones_there_are():
    assert set(STATES) == {state.value for state in State}


@pytest.mark.parametrize(
    "words",
    [
        ("list", "-A", "-n", "default"),
        ("list", "--state", "gone"),
        ("list", "--workload", "/x"),
        ("list", "--workload", "a/b/c"),
        ("list", "--concurrency", "0"),
        ("list", "--timeout", "0s"),
        ("list", "--port", "0"),
        ("show",),
        ("show", "abc"),
        ("end", "../keys"),
    ],
)
def test_what_is_written_wrongly(words, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(["sessions", *words])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
