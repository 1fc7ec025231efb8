"""The documents' tables against the code: nothing is missing, nothing is invented, and the values are right."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from k8s_ws_proxy import settings
from k8s_ws_proxy.auth import nonces
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.reasons import Reason
from k8s_ws_proxy.web.caller import MAX_BODY
from k8s_ws_proxy.wire.audit.events import EVENTS
from k8s_ws_proxy.wire.requests import claims, message_signature, signing_v2
from k8s_ws_proxy.wire.rules.relay import Ending

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "k8s_ws_proxy"


def table(document, first_column):
    """The rows of the table whose first column is headed so: its cells, by the name in the first one's backticks."""
    lines = (ROOT / document).read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        assert name not in rows
        rows[name.strip("`")] = rest
    return rows


def variables():
    """The environment variables that settings.py reads: the first argument of every call on its reader."""
    calls = (node for node in ast.walk(ast.parse(Path(settings.__file__).read_text("utf-8"))) if type(node) is ast.Call)
    named = (call.args[0] for call in calls if type(call.func) is ast.Attribute and call.args)
    return {
        argument.value
        for argument in named
        if type(argument) is ast.Constant and re.fullmatch(r"[A-Z][A-Z_]+", str(argument.value))
    }


def test_every_setting_stands_in_the_table():
    assert len(variables()) >= len(dataclasses.fields(settings.Settings))
    assert table("docs/reference/settings.md", "variable").keys() == variables() | {"KUBECONFIG"}


def test_the_table_s_defaults_are_the_defaults():
    defaults = {name: cells[0].strip("`") for name, cells in table("docs/reference/settings.md", "variable").items()}
    assert defaults["MAX_SESSIONS"] == "1500"
    assert settings.parse(defaults) == settings.parse({})


def test_only_what_nothing_reads_is_said_to_have_no_effect():
    read = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        if path.name != "settings.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    idle = {
        name.lower()
        for name, cells in table("docs/reference/settings.md", "variable").items()
        if "no effect yet" in cells[1]
    }
    assert idle == {field.name for field in dataclasses.fields(settings.Settings)} - read


def all_metrics():
    return {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}


def test_every_metric_stands_in_the_table_with_its_labels():
    described = {
        family.name + ("_total" if isinstance(metric, Counter) else ""): (family.type, metric._labelnames)
        for metric in all_metrics().values()
        for family in metric.describe()
    }
    rows = table("docs/metrics.md", "metric")
    assert {name: (cells[0], tuple(re.findall(r"`(\w+)`", cells[1]))) for name, cells in rows.items()} == described


def test_the_page_of_metrics_holds_what_the_table_says_and_nothing_else():
    page = metrics.exposition().decode()
    served = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, re.MULTILINE))
    ours = {name: kind for name, kind in served.items() if not name.startswith("process_")}
    assert ours == {name: cells[0] for name, cells in table("docs/metrics.md", "metric").items()}
    for name in served.keys() - ours.keys() - {"process_virtual_memory_bytes"}:
        assert f"`{name}`" in (ROOT / "docs/metrics.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(all_metrics()))
def test_a_metric_is_moved_somewhere(name):
    assert any(f"metrics.{name}." in path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))


def test_the_page_of_answers_is_the_one_that_the_reasons_make():
    spec = importlib.util.spec_from_file_location("answers", ROOT / "docs/reference/answers.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (ROOT / "docs/reference/answers.md").read_text("utf-8") == made.page(), "make docs"


def test_every_reason_has_a_row_of_six_cells_that_say_something():
    rows = table("docs/reference/answers.md", "reason")
    assert list(rows) == [reason.value for reason in Reason]
    for reason in Reason:
        assert rows[reason.value] == [
            str(reason.rule.status),
            reason.rule.level,
            str(reason.rule.retry_after or ""),
            reason.when,
            reason.remedy,
        ]
        assert all(text.strip() and "|" not in text for text in (reason.when, reason.remedy))


def test_the_rules_of_a_signature_name_reasons_and_the_numbers_are_the_code_s():
    page = (ROOT / "docs/reference/signing.md").read_text("utf-8")
    rows = table("docs/reference/signing.md", "what is wrong").values()
    told = re.findall(r"^\|.*\| (`[a-z0-9_]+`) \|$", page, re.MULTILINE) + [cells[-1] for cells in rows]
    reasons = set(re.findall(r"`(\w+)`", " ".join(told)))
    assert len(reasons) == 13
    assert reasons <= {reason.value for reason in Reason}
    shortest, longest = signing_v2.NONCE_LENGTHS[0], signing_v2.NONCE_LENGTHS[-1]
    for said in (
        f"at most {message_signature.LONGEST} bytes and {message_signature._MOST_PIECES} spaces, commas and semicolons",
        f"at most {signing_v2._MOST_COVERED}, names of headers",
        f"{shortest} to {longest} characters: new for each request",
        f'must be `"{signing_v2.TAG}"`',
        f"A body may have {MAX_BODY // 1024} KiB",
        f"up to\n{nonces.CAPACITY:,} of them",
        f"At most {claims.MOST_GROUPS} and {claims.LONGEST_GROUPS} bytes in all",
        f"at most {claims.LONGEST_REASON} characters of UTF-8",
    ):
        assert said in page, said


def test_every_ending_stands_in_the_table():
    assert table("docs/reference/answers.md", "ending").keys() == {ending.value for ending in Ending}


def test_the_log_lines_that_the_answers_name_are_written():
    page = (ROOT / "docs/reference/answers.md").read_text("utf-8")
    named = re.findall(r"(?:log's|logged as) `([a-z]+ [a-z ]+)`", page)
    code = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    assert named == ["request refused", "session ended", "session failed"]
    assert [event for event in named if f'"{event}",' not in code] == []


def anchors(path):
    titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "chart/README.md"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_points_to_is_there(document):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


FOLDERS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_that_a_document_names_is_there(document):
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w/]+\.py)`", document.read_text("utf-8"))
    assert [name for name in named if not (PACKAGE / name).is_file()] == []


@pytest.mark.parametrize("document", ["README.md", "DESIGN.md"])
def test_what_everybody_reads_first_is_short(document):
    assert len((ROOT / document).read_text("utf-8").splitlines()) <= 200


def test_the_page_of_the_audit_trail_is_the_one_that_the_events_make():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "docs/audit.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (ROOT / "docs/audit.md").read_text("utf-8") == made.page(), "make docs"
    for event in EVENTS:
        assert f"### `{event.name}`" in made.page()
