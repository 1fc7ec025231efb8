from __future__ import annotations

from benchmarks.cells import Cells


def steady(figure):
    return [{"ms": figure, "cpu_system_share": 0.4}, {"ms": figure, "cpu_system_share": 0.6}]


CELLS = Cells(
    {
        "rounds": {
            "row": {
                "ours": steady(2.0),
                "haproxy": steady(1.0),
                "nginx": [{"ms": 1.0}, {"ms": 4.0}],
                "messages": [None, None],
                "direct": [{}, {}],
            }
        },
        "failures": ["row, messages, round 1: OSError()"],
        "left_out": {"envoy": "not here"},
    }
)


def test_a_peer_that_can_t_be_told_from_ours_is_marked():
    figures = {name: CELLS.figure("row", name, "ms") for name in ("ours", "haproxy", "nginx")}
    assert figures == {"ours": "2.00", "haproxy": "1.00", "nginx": "2.50 ~"}


def test_where_there_is_no_figure_the_cell_says_why():
    figures = {name: CELLS.figure("row", name, "ms") for name in ("messages", "direct", "envoy", "kubectl")}
    assert figures == {"messages": "failed", "direct": "-", "envoy": "left out", "kubectl": "-"}
    assert [CELLS.is_there(name) for name in ("messages", "envoy", "kubectl")] == [True, True, False]


def test_a_cost_has_the_kernel_s_share_beside_it_where_it_is_known():
    costs = [CELLS.cost("row", name, "ms") for name in ("ours", "nginx", "messages")]
    assert costs == ["2.00 (50%)", "2.50 ~", "failed"]
