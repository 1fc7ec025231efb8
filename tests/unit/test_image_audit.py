"""`make audit`: a known vulnerability fails it, and so does anything that couldn't be looked up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/image/audit.py"
LOCK = f"h11==0.16.0 \\\n    --hash=sha256:{'0' * 64}\n    # via us\npyyaml==6.0.3 \\\n    --hash=sha256:{'1' * 64}\n"

# In the form of the Python Packaging Advisory Database.
ADVISORY = """\
id: PYSEC-0000-1
details: made up
affected:
- package:
    name: {name}
    ecosystem: {ecosystem}
    purl: pkg:pypi/{name}
  ranges:
  - type: GIT
    repo: https://example.invalid/{name}
    events:
    - introduced: "0"
    - fixed: 0123456789abcdef0123456789abcdef01234567
  - type: ECOSYSTEM
    events:
{events}
  versions: {versions}
modified: "2026-02-03T04:05:06Z"
"""


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "vulns" / "some"
    path.mkdir(parents=True)
    return path


def audit(*arguments, **environ):
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def write(directory, events, *, name="h11", ecosystem="PyPI", versions="[]", extra=""):
    lines = "\n".join(f'    - {kind}: "{version}"' for kind, version in events)
    text = ADVISORY.format(name=name, ecosystem=ecosystem, events=lines, versions=versions) + extra
    (directory / "PYSEC-0000-1.yaml").write_text(text)


@pytest.mark.parametrize(
    "events",
    [
        [("introduced", "0")],
        [("introduced", "0"), ("fixed", "0.16.1")],
        [("introduced", "0.16.0"), ("fixed", "1")],
        [("introduced", "0"), ("last_affected", "0.16.0")],
        [("introduced", "0"), ("fixed", "0.2"), ("introduced", "0.10"), ("fixed", "0.17")],
    ],
)
def test_a_version_in_an_advisory_s_range_is_found(lock, directory, events):
    write(directory, events)
    status, stdout, stderr = audit(lock, "--advisories", directory.parent)
    assert status == 1
    assert "h11 0.16.0: PYSEC-0000-1" in stdout
    fixed = [version for kind, version in events if kind == "fixed"]
    assert (f"fixed in {', '.join(fixed)}" if fixed else "no fix yet") in stdout
    assert "make lock LOCK_ARGS=--upgrade" in stderr


@pytest.mark.parametrize(
    "events",
    [
        [("introduced", "0"), ("fixed", "0.16.0")],
        [("introduced", "0.16.1")],
        [("introduced", "0"), ("last_affected", "0.15.9")],
        [("introduced", "0"), ("fixed", "0.2"), ("introduced", "0.17")],
    ],
)
def test_a_version_outside_of_it_is_not(lock, directory, events):
    write(directory, events)
    status, stdout, _ = audit(lock, "--advisories", directory.parent)
    assert status == 0
    assert stdout == (
        "1 advisories, the newest of 2026-02-03: what became known later isn't among them.\n"
        "Nothing is known of 2 packages.\n"
    )


def test_a_listed_version_is_found_and_a_name_is_compared_as_the_index_does(lock, directory):
    write(directory, [("introduced", "9")], name="PyYAML", versions='["6.0.3"]')
    assert audit(lock, "--advisories", directory)[:2][0] == 1


def test_another_ecosystem_and_a_withdrawn_advisory_don_t_count(lock, directory):
    write(directory, [("introduced", "0")], ecosystem="npm")
    assert audit(lock, "--advisories", directory)[0] == 0
    write(directory, [("introduced", "0")], extra='withdrawn: "2026-03-01T00:00:00Z"\n')
    assert audit(lock, "--advisories", directory)[0] == 0


def test_json_is_read_too(lock, directory):
    affected = {
        "package": {"ecosystem": "PyPI", "name": "h11"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.17"}]}],
    }
    advisory = {"id": "GHSA-x", "modified": "2026-01-01T00:00:00Z", "affected": [affected]}
    (directory / "GHSA-x.json").write_text(json.dumps(advisory))
    status, stdout, _ = audit(lock, "--advisories", directory)
    assert (status, "h11 0.16.0: GHSA-x, fixed in 0.17" in stdout) == (1, True)


@pytest.mark.parametrize("text", [None, "{", "just: text"], ids=["none", "broken", "another file"])
def test_no_advisory_is_no_pass(lock, directory, text):
    if text is not None:
        (directory / "x.json").write_text(text)
    status, _, stderr = audit(lock, "--advisories", directory)
    assert status == 2
    assert stderr.startswith("NOT AUDITED. ")


def pip_audit_says(tmp_path, stdout, status=0):
    """A pip-audit in the place of the real one: what that prints was seen, its network isn't here."""
    package = tmp_path / "stand-in" / "pip_audit"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(f"import sys\nprint({stdout!r})\nsys.exit({status})\n")
    return {"PYTHONPATH": str(package.parent)}


def answers(*dependencies):
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


CLEAN = [{"name": "h11", "version": "0.16.0", "vulns": []}, {"name": "PyYAML", "version": "6.0.3", "vulns": []}]


def test_an_index_that_knows_all_of_them_and_nothing_against_them_passes(lock, tmp_path):
    status, stdout, _ = audit(lock, **pip_audit_says(tmp_path, answers(*CLEAN)))
    assert (status, stdout) == (0, "Nothing is known of 2 packages.\n")


def test_a_vulnerability_that_the_index_knows_fails(lock, tmp_path):
    found = {"id": "PYSEC-0000-1", "fix_versions": ["0.16.1"], "aliases": [], "description": ""}
    environ = pip_audit_says(tmp_path, answers({**CLEAN[0], "vulns": [found]}, CLEAN[1]), status=1)
    status, stdout, _ = audit(lock, **environ)
    assert (status, stdout) == (1, "h11 0.16.0: PYSEC-0000-1, fixed in 0.16.1\n")


@pytest.mark.parametrize(
    "said",
    [
        answers({"name": "h11", "skip_reason": "Dependency not found on PyPI"}, CLEAN[1]),
        answers(CLEAN[0]),
        answers(),
        "",
        "[]",
    ],
    ids=["skipped", "one left out", "none", "nothing", "something else"],
)
def test_what_the_index_doesn_t_answer_is_no_pass(lock, tmp_path, said):
    status, stdout, stderr = audit(lock, **pip_audit_says(tmp_path, said))
    assert (status, stdout) == (2, "")
    assert stderr.startswith("NOT AUDITED. ")
    assert "make audit ADVISORIES=" in stderr
