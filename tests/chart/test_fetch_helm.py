"""The script that gets the tests their helm, as far as it can be tried without a download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from support import fetch_helm
from support.chart import helm


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """A program called helm that prints this, and nothing else on PATH but sh."""

    def put(text, status=0):
        program = tmp_path / "helm"
        program.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return program

    return put


def test_the_helm_that_the_tests_run_is_new_enough():
    found = shutil.which("helm", path=Path(sys.executable).parent) or shutil.which("helm")
    assert fetch_helm.version(Path(found)) >= fetch_helm.OLDEST
    assert helm("version", "--short").startswith("v")


def test_one_that_is_installed_is_linked_to(on_path, tmp_path):
    program = on_path("v4.9.1+gabc")
    target = tmp_path / "bin" / "helm"
    fetch_helm.put(target)
    assert target.readlink() == program
    fetch_helm.put(target)
    assert sorted(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("told", "status"), [("v3.17.3+gabc", 0), ("another program", 0), ("v4.9.1", 1)])
def test_what_is_too_old_or_no_helm_is_not(on_path, told, status):
    on_path(told, status)
    assert fetch_helm.installed() is None


def test_none_at_all_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fetch_helm.installed() is None
    assert fetch_helm.version(tmp_path / "helm") is None
