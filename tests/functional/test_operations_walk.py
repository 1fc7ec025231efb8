"""The commands of docs/operations.md that have to do with keys, run as they stand there."""

from __future__ import annotations

import re
import shlex

import pytest
from support.operations import commands
from support.site import OLD, site

from k8s_ws_proxy.wire.requests.key_names import PREVIOUS, rotated


@pytest.fixture
async def at(tmp_path):
    async with site(tmp_path) as one:
        one.make_secret({"secret": OLD, "billing": "b" * 44})
        one.add_stand_in("node-1")
        yield one
        one.assert_nothing_secret_was_told()


KEYS = [line for line in commands() if line.startswith("k8s-ws-proxy keys ") and "generate" not in line]


@pytest.mark.parametrize("line", KEYS)
async def test_it_does_what_it_is_shown_for(at, line):
    words = [word.replace("catalyst-system", "default") for word in shlex.split(line)[2:]]
    if words[0] == "retire" or "--force" in words:  # these are for what another one has left behind
        assert (await at.rotate("--until", "promoted")).status == 0
    for nodes in re.findall(r"--waive (\S+)", line):
        for node in nodes.split(","):
            at.add_node(node)
    entry = words[words.index("--key") + 1] if "--key" in words else "secret"
    before = at.keys[entry]
    if words[0] in {"rotate", "retire"}:
        words += ["--overlap", "0s"]  # nobody wants to wait for ten minutes here
    ran = await at.keys_command(*words)
    assert (ran.status, ran.stderr) == (0, "")
    new = words[0] == "rotate" and "--dry-run" not in words
    assert (at.keys[entry] != before) == new
    assert (rotated(entry, PREVIOUS) in at.keys) == ("promoted" in words)


def test_all_of_them_are_here():
    assert {line.split()[2] for line in KEYS} == {"status", "rotate", "retire"}
