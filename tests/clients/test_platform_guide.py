"""The programs of docs/guides/platform.md, run as they stand there, where alice may open sessions and bob may not."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from support import identities
from support.chart import render
from support.daemon import running_daemon
from support.sessions import issue, listed

from k8s_ws_proxy import settings
from k8s_ws_proxy.devcluster import DevCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "guides/platform.md").read_text("utf-8")
SIGNING = (DOCS / "reference/signing.md").read_text("utf-8")
NODE_MODULES = Path(__file__).parent / "node_modules"
GO = shutil.which("go")


def block(page, language):
    """A page's first block in a language; of signing.md that is v2's."""
    return re.search(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory):
    directory = tmp_path_factory.mktemp("daemon")
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as cluster:
        kubeconfig = cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
        identity = {"IDENTITY": "user", "IDENTITY_GROUP_PREFIX": "oidc:", "NODE_NAME": "node-1"}
        async with running_daemon(kubeconfig, directory, **identity) as running:
            # The programs sign for now, and what was signed in the second of the daemon's start is refused.
            await asyncio.sleep(math.ceil(time.time()) - time.time())
            yield running


async def run(*command, cwd, **environ):
    """Exit status, output and errors."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env=os.environ | environ, **pipes)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def python(directory):
    (directory / "signing.py").write_text(block(SIGNING, "python"))
    (directory / "shells.py").write_text(block(GUIDE, "python"))
    return [sys.executable, "shells.py"]


async def go(directory):
    (directory / "go.mod").write_text("module shells\n\ngo 1.19\n")
    (directory / "signing.go").write_text(block(SIGNING, "go"))
    (directory / "shells.go").write_text(block(GUIDE, "go"))
    shared = directory.parent  # all tests': the standard library is compiled once
    cache = {"GOCACHE": str(shared / "go-cache"), "GOPATH": str(shared / "go-path"), "GOTOOLCHAIN": "local"}
    for words in (["vet"], ["build", "-o", "shells", "."]):
        status, _, err = await run(GO, *words, cwd=directory, **cache)
        assert status == 0, err
    return [str(directory / "shells")]


PROGRAMS = pytest.mark.parametrize("made", [python, *([go] if GO else [])])


@pytest.fixture
async def program(made, tmp_path, daemon):
    """Runs it for a user: exit status, output and errors."""
    (tmp_path / "secret").write_bytes(daemon.secret + b"\n")
    environ = {"PROXY_URL": daemon.url, "SHARED_SECRET_FILE": "secret"}
    command = await made(tmp_path)
    return lambda user: run(*command, user, "default", "shell", cwd=tmp_path, **environ)


@PROGRAMS
async def test_who_may_is_issued_a_shell_that_is_opened_listed_and_ended(program, daemon):
    status, out, err = await program("alice")
    assert (status, err) == (0, "")
    issued, state, last = out.splitlines()
    session = issued.removeprefix("issued ")
    assert state == "open alice shell"
    assert last == "ended by alice: that was all"
    line = await daemon.event("session ended", session=session)
    assert (line["reason"], line["user"], line["groups"]) == ("terminated", "alice", 1)
    assert line["caller_reason"] == "INC-4711: 100 % full"
    assert await listed(daemon, User="alice") == []


@PROGRAMS
async def test_who_may_not_is_told_what_is_missing(program):
    status, out, err = await program("bob")
    assert (status, out) == (1, "")
    assert err.startswith("403 access_denied: bob may not create pods/exec in the namespace default")


async def test_the_page_opens_a_shell_with_its_ticket(daemon, tmp_path):
    """In Node.js, by the interface that browsers have."""
    shell = await issue(daemon, who={"User": "alice"}, command=["sh", "-c", "read line; echo $line; stty size; exit 3"])
    url = daemon.url.replace("http", "ws") + shell["path"]
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "shell.mjs").write_text(block(GUIDE, "javascript"))
    (tmp_path / "page.mjs").write_text(
        "import WebSocket from 'ws';\n"
        "import { open } from './shell.mjs';\n"
        "globalThis.WebSocket = WebSocket;\n"
        "let output = '';\n"
        f"const shell = open({json.dumps({**shell, 'url': url})}, (bytes) => {{ output += Buffer.from(bytes); }});\n"
        "await shell.opened;\n"
        "shell.resize(100, 30);\n"
        "shell.type('gr\\u00fc\\u00dfe\\n');\n"
        "console.log(JSON.stringify({ ...await shell.ended, output }));\n"
    )
    status, out, err = await run("node", "page.mjs", cwd=tmp_path)
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["code"] == 1000
    assert told["status"]["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert "gr\u00fc\u00dfe" in told["output"]
    assert "30 100" in told["output"]


async def test_the_values_are_taken_by_the_chart_and_by_the_daemon():
    values = yaml.safe_load(block(GUIDE, "yaml"))["k8sWsProxy"]
    environ = render(values).environ | {"NODE_NAME": "node-1"}
    found, mistakes = settings.parse(environ)
    assert mistakes == []
    assert found.public_url == "wss://node-1.shells.example"
    assert found.allowed_origins == {"https://console.example"}
