"""The threat model against the repository: what it names is there, and no component is left out."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/threat-model.md").read_text("utf-8")


def rows():
    """The threats: boundary, id, and the cells after it."""
    found, boundary = [], ""
    for line in PAGE.splitlines():
        if heading := re.match(r"## (B\d|Accepted)", line):
            boundary = heading[1]
        elif re.match(r"\| [STRIDEA]\d+ \|", line):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found.append((boundary, name, cells))
    return found


THREATS = [row for row in rows() if row[0] != "Accepted"]
ACCEPTED = {name for boundary, name, _ in rows() if boundary == "Accepted"}


@functools.cache
def names_in(path):
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_boundary_has_every_kind_of_threat():
    boundaries = re.findall(r"^## (B\d)", PAGE, re.MULTILINE)
    assert len(boundaries) >= 6
    for boundary in boundaries:
        kinds = [name[0] for where, name, _ in THREATS if where == boundary]
        assert set(kinds) == set("STRIDE"), boundary
        assert kinds == sorted(kinds, key="STRIDE".index), "in STRIDE's order"


def test_no_two_rows_have_one_name():
    names = [name for _, name, _ in rows()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("boundary", "name", "cells"), THREATS, ids=[name for _, name, _ in THREATS])
def test_what_stands_against_a_threat_is_there_and_shown(boundary, name, cells):
    del boundary
    _, against, where, shown = cells
    files, nodes = re.findall(r"`([^`]+)`", where), re.findall(r"`([^`]+)`", shown)
    assert (files and nodes) or "[A" in against, f"{name} is neither mitigated nor accepted"
    for file in files:
        assert (ROOT / file).exists(), file
    for node in nodes:
        path, _, test = node.partition("::")
        assert test.startswith("test_")
        assert test in names_in(path), node


def test_what_is_accepted_is_named_where_it_matters():
    named = set(re.findall(r"\[(A\d+)\]\(#accepted\)", PAGE))
    assert named <= ACCEPTED
    assert len(named) >= 5


@pytest.mark.parametrize("document", ["SECURITY.md", "CONTRIBUTING.md"])
def test_others_count_what_is_accepted_as_it_is(document):
    (last,) = set(re.findall(r"A1 to (A\d+)", (ROOT / document).read_text("utf-8")))
    assert {f"A{number}" for number in range(1, int(last[1:]) + 1)} == ACCEPTED
