"""``@kubernetes/client-node``'s ``Exec`` through the proxy, on the apiserver's path, with the signature as headers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from k8s_ws_proxy.wire.framing.channels import exit_code

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent
PATH = "/api/v1/namespaces/default/pods/shell/exec"


@pytest.fixture
def run(shared_daemon):
    node = shutil.which("node")
    assert node, "node is needed"
    assert (HERE / "node_modules" / "@kubernetes" / "client-node").is_dir(), "run `make node` first"

    async def run_(*command, stdin=None, signed=PATH, **wanted):
        """What exec.mjs prints of a command; ``stdin`` is written and ended."""
        wanted |= {
            "url": shared_daemon.url,
            "headers": shared_daemon.headers(signed),
            "command": command,
            "stdin": stdin is not None,
        }
        process = await asyncio.create_subprocess_exec(
            node,
            HERE / "exec.mjs",
            json.dumps(wanted),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(stdin)
        assert process.returncode == 0
        return json.loads(out)

    return run_


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137)])
async def test_exit_code(run, script, code):
    assert exit_code((await run("sh", "-c", script))["status"]) == code


async def test_stdout_and_stderr_come_apart(run):
    result = await run("sh", "-c", "echo öut; echo err >&2")
    assert (result["stdout"]["text"], result["stderr"]["text"]) == ("öut\n", "err\n")
    assert result["protocol"] == "v5.channel.k8s.io"


async def test_50_mb_of_output_and_of_errors_by_hash(run, bulk):
    result = await run("sh", "-c", f"{bulk.script} >&2 & {bulk.script}; wait")
    for stream in ("stdout", "stderr"):
        assert (result[stream]["length"], result[stream]["sha256"]) == (len(bulk.data), bulk.sha256)
    assert exit_code(result["status"]) == 0


async def test_50_mb_of_stdin_to_its_end_by_hash(run, bulk):
    result = await run("sha256sum", stdin=bulk.data)
    assert result["stdout"]["text"] == f"{bulk.sha256}  -\n"
    assert exit_code(result["status"]) == 0


async def test_what_goes_in_comes_back(run, bulk):
    result = await run("cat", stdin=bulk.data[:20_000_000])
    assert result["stdout"]["sha256"] == hashlib.sha256(bulk.data[:20_000_000]).hexdigest()
    assert exit_code(result["status"]) == 0


async def test_an_empty_stdin_ends(run):
    assert exit_code((await run("cat", stdin=b""))["status"]) == 0


async def test_resize(run, wait_for_size):
    result = await run(*wait_for_size, tty=True, resize=True)
    assert result["stdout"]["text"] == "ready\r\nresized\r\n"
    assert exit_code(result["status"]) == 0


async def test_a_wrong_signature_is_refused_before_the_101(run):
    result = await run("true", signed="/api/v1/namespaces/default/pods/other/exec")
    assert result == {"error": "Unexpected server response: 401"}
