"""docs/operations.md against the code: its tables are whole, its commands are ones, its Role is enough."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from support.operations import ROOT, TEXT, commands
from support.site import OPERATOR

from k8s_ws_proxy.cli.main import build_parser
from k8s_ws_proxy.observe import metrics


def test_there_are_commands():
    assert len(commands()) >= 12


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one(line):
    assert build_parser().parse_args(shlex.split(line)[1:]).run


def test_the_events_of_a_machine_s_output_are_told():
    sources = [
        ROOT / "k8s_ws_proxy" / path
        for path in ("rotation/run.py", "cli/cluster.py", "cli/keys.py", "cli/keys_output.py")
    ]
    code = "".join(path.read_text("utf-8") for path in sources)
    made = set(re.findall(r'(?:\bstep|\btell)\(\s*"(\w+)"|"event": "(\w+)"', code))
    told = re.search(r"the events are\s+(.*?)\.", TEXT, re.DOTALL)
    assert {one or other for one, other in made} == set(re.findall(r"`(\w+)`", told[1]))


def test_the_metrics_asked_for_are_there():
    served = set(re.findall(r"^# TYPE (\S+) ", metrics.exposition().decode(), re.MULTILINE))
    asked = {name.removesuffix("_bucket") for name in re.findall(r"k8s_ws_proxy_[a-z_]+", TEXT)}
    assert len(asked) >= 9
    assert asked <= served


def test_the_role_is_the_one_that_the_tests_rotate_with():
    (block,) = re.findall(r"^```yaml\n(rules:.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    told = {
        (resource + (f".{group}" if group else ""), frozenset(one["verbs"]), frozenset(one.get("resourceNames", ())))
        for one in yaml.safe_load(block)["rules"]
        for group in one["apiGroups"]
        for resource in one["resources"]
    }
    assert told == {(resource, one.verbs, one.names) for one in OPERATOR.grants for resource in one.resources}


@pytest.mark.parametrize("document", ["docs/operations.md", "docs/metrics.md"])
def test_what_it_points_to_is_there(document):
    text = (ROOT / document).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        page = (ROOT / document).parent / path if path else ROOT / document
        assert page.is_file(), target
        titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in titles}, target
