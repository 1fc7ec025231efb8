"""docs/guides/identity.md against the chart and the code: its commands, its rights, and what it says is to be seen."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.chart import CHART, helm
from support.operations import shown
from support.rights import NEW, granted

from k8s_ws_proxy.auth.impersonator import CALLER_PREFIX, CALLERS_GROUP
from k8s_ws_proxy.cli.main import build_parser
from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics

JQ = shutil.which("jq")
GUIDE = (Path(__file__).parents[2] / "docs/guides/identity.md").read_text("utf-8")
COMMANDS = [line.removeprefix("$ ") for line in shown(GUIDE)]
UPGRADES = [line for line in COMMANDS if line.startswith("helm upgrade ")]
DOCUMENTS = [
    document
    for block in re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    for document in yaml.safe_load_all(block)
]


def rendered(line):
    """What the chart makes of an upgrade's values."""
    words = shlex.split(line)
    values = [word for flag, word in itertools.pairwise(words) if flag == "--set"]
    sets = [
        part
        for value in ["k8sWsProxy.enabled=true", "k8sWsProxy.image.tag=0.2.0", *values]
        for part in ("--set", value)
    ]
    out = helm("template", "k8s-ws-proxy", str(CHART), "--namespace", "catalyst-system", "--kube-version", NEW, *sets)
    return [document for document in yaml.safe_load_all(out) if document]


def environ(documents):
    (daemonset,) = [document for document in documents if document["kind"] == "DaemonSet"]
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_each_upgrade_sets_what_its_step_says():
    made = [environ(rendered(line)) for line in UPGRADES]
    told = [(one["ACCEPTED_SIGNATURES"], one["SIGNATURE_MAX_AGE"], one["IDENTITY"]) for one in made]
    assert told == [
        ("v1,v2", "60s", "proxy"),
        ("v1,v2", "300s", "proxy"),
        ("v2", "60s", "proxy"),
        ("v1,v2", "60s", "caller"),
        ("v1,v2", "60s", "user"),
    ]


(KEEP,) = [line for line in COMMANDS if line.startswith("kubectl get clusterrole ")]


def test_what_is_kept_are_the_roles_of_the_release():
    label, release = re.search(r"-l (\S+)=(\S+) ", KEEP).groups()
    roles = [one for one in rendered(UPGRADES[-1]) if one["kind"] == "ClusterRole"]
    assert {role["metadata"]["labels"][label] for role in roles} == {release}


def by_jq(words, data):
    """What the program in a command's words makes of it: where jq isn't installed, nothing is known of that."""
    done = subprocess.run([JQ, *words], input=data, check=True, capture_output=True, text=True)
    return done.stdout


def kept():
    roles = [one for one in rendered(UPGRADES[-1]) if one["kind"] == "ClusterRole"]
    wanted = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "k8s-ws-proxy-before"},
        "rules": [rule for role in roles for rule in role["rules"]],
    }
    program = shlex.split(KEEP.split(" | ")[1])[1:]
    return json.loads(by_jq(program, json.dumps({"items": roles}))), wanted


def logged():
    lines = [
        {"event": "session opened", "mode": "hmac", "key_id": "secret", "peer": "10.0.0.1"},
        {"event": "session opened", "mode": "rfc9421", "key_id": "secret", "peer": "10.0.0.2"},
        {"event": "session opened", "mode": "rfc9421", "key_id": "secret", "peer": "10.0.0.3", "user": "alice"},
        {"event": "session ended", "mode": "hmac", "key_id": "secret", "peer": "10.0.0.4"},
    ]
    log = "no JSON\n" + "\n".join(map(json.dumps, lines))
    programs = [shlex.split(line[line.index("jq") :])[1:3] for line in COMMANDS if " logs " in line]
    found = [[json.loads(each)["peer"] for each in by_jq(one, log).splitlines()] for one in programs]
    return found, [["10.0.0.1"], ["10.0.0.1", "10.0.0.2"]]


@pytest.mark.parametrize("made", [kept, logged])
def test_a_program_of_jq_does_what_it_says(made):
    found, wanted = made() if JQ else (None, None)
    assert found == wanted


def test_what_a_session_needs_is_what_the_proxy_is_granted_as_itself():
    (role,) = [one for one in DOCUMENTS if one["kind"] == "ClusterRole"]
    (of_chart,) = [one for one in rendered(UPGRADES[0]) if one["kind"] == "ClusterRole"]
    assert granted(role) == granted(of_chart)


def test_whom_it_is_granted_to_is_whom_the_apiserver_sees():
    bindings = [one for one in DOCUMENTS if one["kind"] == "RoleBinding"]
    assert {one["roleRef"]["name"] for one in bindings} == {"pod-sessions"}
    names = {(subject["kind"], subject["name"]) for one in bindings for subject in one["subjects"]}
    assert {("Group", CALLERS_GROUP), ("User", f"{CALLER_PREFIX}billing")} < names
    asked = {
        word.partition("=")[2] for line in COMMANDS if " can-i " in line for word in line.split() if "--as" in word
    }
    assert asked == {f"{CALLER_PREFIX}secret", CALLERS_GROUP, "alice@example.com", "oidc:ops"}


def test_the_metrics_and_reasons_asked_for_are_there():
    served = set(re.findall(r"^# TYPE (\S+) ", metrics.exposition().decode(), re.MULTILINE))
    asked = set(re.findall(r"k8s_ws_proxy_[a-z_]+", GUIDE))
    assert len(asked) == 3
    assert asked <= served
    reasons = {name for found in re.findall(r'reason=~?"([^"]+)"', GUIDE) for name in found.split("|")}
    assert len(reasons) == 4
    assert reasons <= {reason.value for reason in Reason}


@pytest.mark.parametrize("line", [line for line in COMMANDS if "k8s-ws-proxy keys" in line])
def test_a_command_of_ours_is_one(line):
    (words,) = re.findall(r"\$\((k8s-ws-proxy [^)]*)\)", line)
    assert build_parser().parse_args(words.split()[1:]).run
