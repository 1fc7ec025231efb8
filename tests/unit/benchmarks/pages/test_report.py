from __future__ import annotations

from dataclasses import asdict

from benchmarks.pages.report import write_page
from benchmarks.pages.rows import FULL


def page(tmp_path, **more):
    results = {
        "begin": "2026-01-02T00:00:00+00:00",
        "quick": False,
        "plan": asdict(FULL),
        "load_before": 0.1,
        "load_after": 2.04,
        "minutes": 3.2,
        "versions": {"Chromium": "156.0.1.2"},
        "rounds": {},
        "failures": [],
    } | more
    write_page(results, tmp_path)
    return (tmp_path / "pages.md").read_text("utf-8")


def test_a_run_in_which_nothing_was_measured_has_a_page_too(tmp_path):
    text = page(tmp_path, failures=["paint, round 1: OSError()"])
    assert "- Went wrong: paint, round 1: OSError()" in text
    assert "| first paint | at most 300 ms | not measured | ? |" in text
    assert "5 rounds on 2026-01-02" in text
    assert "Load average when it began: 0.1" in text
    assert "$" not in text


def test_figures_are_of_all_rounds(tmp_path):
    keystrokes = {
        "ours": [{"took_ms": [8.0, 12.0], "median_ms": 12.0}, {"took_ms": [10.0, 20.0], "median_ms": 20.0}],
        "bare": [{"took_ms": [0.5, 1.0], "median_ms": 1.0}, {"took_ms": [2.0, 2.0], "median_ms": 2.0}],
    }
    text = page(tmp_path, rounds={"keystroke": keystrokes, "task": {"ours": [{"task_ms": 12.0}, None]}})
    assert "| keystroke to glyph | 12.0 | 20.0 | 20.0 | 20.0 |" in text
    assert "| a byte there and back by a bare WebSocket | 2.00 | 2.00 | 2.00 | 2.00 |" in text
    assert "12.0 (10.0 to 12.0), by round" in text
    assert "| longest task, of each flood | 12.0 | 12.0 | 12.0 |" in text


def test_what_is_not_met_is_said_in_words(tmp_path):
    late = {"flood": {"ours": [{"ctrl_c_ms": [700.0], "frame_ms": [17.0]}]}}
    assert "Not met:\n\n- Ctrl-C in a flood" in page(tmp_path, rounds=late)
    assert "Not met" not in page(tmp_path)


def test_a_quick_run_and_a_busy_machine_are_told(tmp_path):
    assert "A quick run" in page(tmp_path, quick=True)
    assert "load 3.2" in page(tmp_path, load_before=3.21)
    assert "upper bounds" not in page(tmp_path)
