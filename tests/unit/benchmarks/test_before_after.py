from __future__ import annotations

from benchmarks.before_after import page
from benchmarks.medians import Table


def rounds(*figures, name="cpu_ms_per_session"):
    return [{name: figure, "cpu_system_share": 0.5, "quantiles_ms": [figure]} for figure in figures]


def test_both_states_stand_beside_each_other_with_the_ratio_of_their_rounds():
    table = Table({"echo-hi": {"ours": rounds(3.0, 2.0, 2.2), "before": rounds(6.0, 4.0, 4.0)}})
    assert page(table).splitlines()[2:] == ["| echo-hi | cpu ms per session | 4.00 | 2.20 | 0.50 |  |"]


def test_what_can_t_be_told_is_marked():
    table = Table({"echo-hi": {"ours": rounds(3.0, 5.0), "before": rounds(4.0, 4.0)}})
    assert page(table).endswith("| 4.00 | 4.00 | 1.00 | ~ |")


def test_what_only_one_of_them_has_is_no_line():
    table = Table({"echo-hi": {"ours": rounds(3.0), "before": [None]}, "old": {"before": rounds(1.0)}})
    assert page(table) == ""


def test_without_a_before_there_is_no_table():
    assert page(Table({"echo-hi": {"ours": rounds(3.0)}})) == ""
