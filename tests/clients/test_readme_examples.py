"""The examples of docs/reference/signing.md, run as they stand there: against the reference, and by the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from support.caller import get
from support.daemon import SECRET
from support.vectors import load

from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER

pytestmark = pytest.mark.asyncio(loop_scope="module")

README = (Path(__file__).parents[2] / "docs/reference/signing.md").read_text("utf-8")
ROWS = [{**row, "secret": bytes.fromhex(row["secret_hex"]).decode()} for row in load("hmac_v1.json")]
PATH = "/proxy/exec/default/web/web"


def block(language, number=0):
    """A fenced block of it, as it stands there."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[number]


async def run(*command, cwd, stdin="", **environ):
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode == 0, err.decode()
    return out.decode()


# Each takes rows with secret, timestamp and path, and returns for each what the example makes of it: the two headers.


async def python(rows, directory):
    (directory / "example.py").write_text(block("python"))
    driver = (
        "import json, sys\n"
        "from example import signed_headers\n"
        "rows = json.load(sys.stdin)\n"
        "signed = [signed_headers(r['secret'].encode(), r['path'], int(r['timestamp'])) for r in rows]\n"
        "print(json.dumps(signed))\n"
    )
    return json.loads(await run(sys.executable, "-c", driver, cwd=directory, stdin=json.dumps(rows)))


async def node(rows, directory):
    (directory / "example.mjs").write_text(block("javascript"))
    (directory / "driver.mjs").write_text(
        "import { readFileSync } from 'node:fs';\n"
        "import { signedHeaders } from './example.mjs';\n"
        "const rows = JSON.parse(readFileSync(0));\n"
        "console.log(JSON.stringify(rows.map((r) => signedHeaders(r.secret, r.path, Number(r.timestamp)))));\n"
    )
    return json.loads(await run("node", "driver.mjs", cwd=directory, stdin=json.dumps(rows)))


async def openssl(rows, directory):
    signed = []
    for row in rows:
        (directory / "secret").write_text(row["secret"] + "\n")
        script = block("sh") + 'signed_headers "$1" "$2"\n'
        command = ("sh", "-c", script, "sh", row["path"], row["timestamp"])
        out = await run(*command, cwd=directory, SHARED_SECRET_FILE="secret")
        signed.append(dict(line.split(": ") for line in out.splitlines()))
    return signed


async def go(rows, directory):
    (directory / "go.mod").write_text("module example\n\ngo 1.19\n")
    (directory / "example.go").write_text(block("go"))
    (directory / "main.go").write_text(
        """package main

import (
	"encoding/json"
	"os"
	"strconv"
	"time"
)

func main() {
	var rows []struct{ Secret, Path, Timestamp string }
	if err := json.NewDecoder(os.Stdin).Decode(&rows); err != nil {
		panic(err)
	}
	signed := []map[string]string{}
	for _, row := range rows {
		seconds, err := strconv.ParseInt(row.Timestamp, 10, 64)
		if err != nil {
			panic(err)
		}
		headers := SignedHeaders([]byte(row.Secret), row.Path, time.Unix(seconds, 0))
		one := map[string]string{}
		for _, name := range []string{"X-Catalyst-Timestamp", "X-Catalyst-HMAC"} {
			one[name] = headers.Get(name)
		}
		signed = append(signed, one)
	}
	if err := json.NewEncoder(os.Stdout).Encode(signed); err != nil {
		panic(err)
	}
}
"""
    )
    cache = {"GOCACHE": str(directory / "cache"), "GOPATH": str(directory / "path"), "GOTOOLCHAIN": "local"}
    return json.loads(await run("go", "run", ".", cwd=directory, stdin=json.dumps(rows), **cache))


EXAMPLES = {"python3": python, "node": node, "openssl": openssl, "go": go}
AT_HAND = [tool for tool in EXAMPLES if shutil.which(tool)]


async def test_python_javascript_and_openssl_are_at_hand():
    assert {"python3", "node", "openssl", "curl"} <= {*AT_HAND, *filter(shutil.which, ["curl"])}


@pytest.mark.parametrize("tool", AT_HAND)
async def test_an_example_makes_the_reference_signatures(tool, tmp_path):
    signed = await EXAMPLES[tool](ROWS, tmp_path)
    assert len(signed) == len(ROWS) == 120
    for row, headers in zip(ROWS, signed, strict=True):
        assert headers == {TIMESTAMP_HEADER: row["timestamp"], HMAC_HEADER: row["hmac"]}


@pytest.mark.parametrize("tool", AT_HAND)
async def test_the_daemon_takes_what_an_example_signs(tool, tmp_path, shared_daemon):
    row = {"secret": f"{SECRET.decode()}\n", "timestamp": str(int(time.time())), "path": PATH}
    (headers,) = await EXAMPLES[tool]([row], tmp_path)
    assert (await get(shared_daemon, PATH, headers)).status == 426


@pytest.mark.parametrize(
    ("secret", "reason"),
    [(SECRET, '"reason": "upgrade_required"'), (b"another", '"reason": "bad_signature"')],
    ids=["the secret", "another one"],
)
async def test_the_curl_line_says_whether_a_signature_is_accepted(secret, reason, tmp_path, shared_daemon):
    (tmp_path / "secret").write_bytes(secret)
    script = block("sh") + block("sh", 1)
    environ = {"SHARED_SECRET_FILE": "secret", "PROXY_URL": shared_daemon.url}
    assert reason in await run("sh", "-c", script, cwd=tmp_path, **environ)
