"""The workflows: what others wrote is pinned by commit, and each job may do no more than it has to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").iterdir())
# Who may write what. Anything else is a reason to look twice, and then to add it here.
MAY_WRITE = {("release.yaml", "image"): {"packages", "id-token", "attestations"}}


def parsed(path):
    return yaml.safe_load(path.read_text("utf-8"))


def jobs():
    return [
        pytest.param(path, name, job, id=f"{path.name}-{name}")
        for path in FILES
        for name, job in parsed(path)["jobs"].items()
    ]


def steps(job):
    return job.get("steps", [])


def test_there_is_one_for_every_change_and_one_for_releases():
    assert [path.name for path in FILES] == ["ci.yaml", "release.yaml"]
    (run,) = [step for step in steps(parsed(FILES[0])["jobs"]["test"]) if step.get("run") == ".ci/run"]
    assert run == {"run": ".ci/run"}
    assert parsed(FILES[1])["jobs"]["ci"]["uses"] == "./.github/workflows/ci.yaml"
    assert parsed(FILES[1])["jobs"]["image"]["needs"] == "ci"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_and_says_its_version(path):
    lines = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.search(r"uses: (\./\.github/workflows/\S+|[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$", line), (
            line
        )


def test_an_action_has_one_version_in_all_of_them():
    used = [re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", path.read_text("utf-8")) for path in FILES]
    pairs = {pair for found in used for pair in found}
    assert len(pairs) == len({action for action, _ in pairs})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_may_read_at_most(path):
    assert parsed(path)["permissions"] in ({}, {"contents": "read"})
    assert "pull_request_target" not in path.read_text("utf-8")


@pytest.mark.parametrize(("path", "name", "job"), jobs())
def test_a_job_may_do_no_more_than_it_has_to(path, name, job):
    permissions = job.get("permissions", {})
    assert isinstance(permissions, dict)
    assert set(permissions.values()) <= {"read", "write"}
    assert {each for each, may in permissions.items() if may == "write"} == MAY_WRITE.get((path.name, name), set())
    assert {each for each, may in permissions.items() if may == "read"} <= {"contents"}


@pytest.mark.parametrize(("path", "name", "job"), jobs())
def test_a_job_is_bounded_and_leaves_no_credential_behind(path, name, job):
    del path, name
    if "uses" in job:
        return
    assert job["timeout-minutes"] <= 90
    assert not job["runs-on"].endswith("latest")
    for step in steps(job):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # What somebody else may have written reaches a script as a variable, never as text of the script.
        assert "${{" not in step.get("run", "")


def test_a_release_goes_where_the_chart_looks():
    (what,) = [step for step in steps(parsed(FILES[1])["jobs"]["image"]) if step.get("id") == "what"]
    (path,) = re.findall(r"yq (\S+) chart/values.yaml", what["run"])
    value = parsed(ROOT / "chart/values.yaml")
    for key in path.strip(".").split("."):
        value = value[key]
    assert value.endswith("/k8s-ws-proxy")


def test_a_release_is_signed_and_tells_what_is_in_it_and_how_it_was_made():
    done = steps(parsed(FILES[1])["jobs"]["image"])
    (build,) = [step["with"] for step in done if step.get("uses", "").startswith("docker/build-push-action@")]
    assert build["sbom"] is True
    assert build["provenance"] == "mode=max"
    assert build["platforms"] == "linux/amd64,linux/arm64"
    scripts = "\n".join(step.get("run", "") for step in done)
    for command in ("cosign sign --yes", "cosign attest --yes --type spdxjson", "cosign verify"):
        assert command in scripts
    assert [step for step in done if step.get("uses", "").startswith("actions/attest-build-provenance@")]
