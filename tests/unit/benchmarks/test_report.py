from __future__ import annotations

from dataclasses import asdict

from benchmarks.report import read, write_figures, write_page
from benchmarks.rows.base import FULL


def results(**more):
    return {
        "begin": "2026-01-01T00:00:00+00:00",
        "quick": False,
        "plan": asdict(FULL) | {"growth": list(FULL.growth)},
        "load_before": 0.1,
        "minutes": 61.2,
        "versions": {"Python": "3.11.7"},
        "rounds": {},
        "failures": [],
        "left_out": {},
        "skipped": 0,
    } | more


def page(tmp_path, **more):
    write_page(results(**more), tmp_path)
    return (tmp_path / "README.md").read_text("utf-8")


def test_figures_are_read_as_they_were_written(tmp_path):
    made = results(rounds={"echo-hi": {"ours": [{"median_ms": 1.0, "quantiles_ms": [1.0, 2.0]}, None], "direct": []}})
    write_figures(made, tmp_path / "new")
    assert read(tmp_path / "new") == made
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["results.json"]


def test_a_run_in_which_nothing_was_measured_has_a_page_too(tmp_path):
    text = page(tmp_path, left_out={"ours": "OSError()"}, failures=["growth, nginx, round 1: OSError()"])
    assert "- k8s-ws-proxy was left out: OSError()" in text
    assert "- Went wrong: growth, nginx, round 1: OSError()" in text
    assert "$" not in text


def test_what_was_measured_before_these_figures_were_there_can_be_drawn(tmp_path):
    old = results()
    for name in ("minutes", "left_out", "skipped"):
        del old[name]
    write_page(old, tmp_path)


def test_a_quick_run_says_so(tmp_path):
    assert "A quick run" in page(tmp_path, quick=True, skipped=3)
    assert "no time for 3 measurements" in page(tmp_path, quick=True, skipped=3)
    assert "A quick run" not in page(tmp_path)


def test_before_and_after_have_their_part_where_both_were_measured(tmp_path):
    column = [{"cpu_ms_per_session": 4.0}, {"cpu_ms_per_session": 4.2}]
    assert "## Before and after" in page(tmp_path, rounds={"echo-hi": {"ours": column, "before": column}})
    assert "## Before and after" not in page(tmp_path, rounds={"echo-hi": {"ours": column}})


def test_a_row_s_cost_is_a_line_and_a_target_a_column(tmp_path):
    column = [{"cpu_ms_per_session": 4.0, "cpu_system_share": 0.25}] * 2
    text = page(tmp_path, rounds={"echo-hi": {"ours": column, "haproxy": column, "direct": [{}, {}]}})
    assert "|  | k8s-ws-proxy | HAProxy |\n|---|---|---|\n| echo-hi, ms per session | 4.00 (25%) | 4.00 (25%) |" in text
