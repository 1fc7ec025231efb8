"""answers.md from answers.md.in and the reasons in k8s_ws_proxy/reasons.py: ``make docs`` writes it."""

from __future__ import annotations

from pathlib import Path

from k8s_ws_proxy.reasons import Reason

HERE = Path(__file__).parent


def row(reason: Reason) -> str:
    """One line of the table, as Markdown has it."""
    rule = reason.rule
    retry_after = "" if rule.retry_after is None else f" {rule.retry_after}"
    return f"| `{reason.value}` | {rule.status} | {rule.level} |{retry_after} | {reason.when} | {reason.remedy} |"


def page() -> str:
    """The whole answers.md."""
    return (HERE / "answers.md.in").read_text("utf-8").replace("@reasons@", "\n".join(map(row, Reason)))


if __name__ == "__main__":
    (HERE / "answers.md").write_text(page(), "utf-8")
