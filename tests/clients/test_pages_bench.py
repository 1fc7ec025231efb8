"""`make bench-pages` in its quick form, in a real Chromium: there is a figure for all that it is asked."""

from __future__ import annotations

from benchmarks.medians import Table
from benchmarks.pages import musts, run
from benchmarks.pages.report import write_page
from benchmarks.pages.rows import QUICK


def test_a_quick_run_has_all_figures(tmp_path):
    results = run.measure(QUICK)
    assert results["failures"] == []
    assert {must.met for must in musts.all_of(Table(results["rounds"]))} <= {True, False}
    write_page(results, tmp_path)
    assert "| - |" not in (tmp_path / "pages.md").read_text("utf-8")
