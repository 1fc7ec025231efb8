"""The examples of docs/reference/signing.md, run as they stand there: against the reference, and by the daemon."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from support.caller import get, refusal_of, say
from support.daemon import SECRET
from support.vectors import load

from k8s_ws_proxy.wire.requests.signing import HMAC_HEADER, TIMESTAMP_HEADER

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = (Path(__file__).parents[2] / "docs/reference/signing.md").read_text("utf-8")
ROWS = [{**row, "secret": bytes.fromhex(row["secret_hex"]).decode()} for row in load("hmac_v1.json")]
PATH = "/proxy/exec/default/web/web"
TARGET = f"{PATH}?command=echo&command=a%20%22b%22+c"
WHO = [["X-Catalyst-User", "alice@example.com"], ["X-Catalyst-Groups", '"oidc:ops", "CN=dev,OU=eng"']]


def block(language, number=0, *, version="v1"):
    """A fenced block of that way to sign, as it stands there."""
    section = re.search(rf"^## {version}\b.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[number]


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


# Each takes rows, and returns for each what the example makes of it: all headers. A row of v1 has secret, timestamp and
# path; one of v2 secret, method, target, headers in pairs, body in base64 or None, created and nonce.

DRIVERS = {
    ("python", "v1"): "signed_headers(r['secret'].encode(), r['path'], int(r['timestamp']))",
    ("python", "v2"): (
        "signed_headers(r['secret'].encode(), r['method'], r['target'], dict(r['headers']),"
        " r['body'] and base64.b64decode(r['body']), r['created'], r['nonce'])"
    ),
    ("node", "v1"): "signedHeaders(r.secret, r.path, Number(r.timestamp))",
    ("node", "v2"): (
        "signedHeaders(r.secret, r.method, r.target, Object.fromEntries(r.headers),"
        " r.body && Buffer.from(r.body, 'base64'), { created: r.created, nonce: r.nonce })"
    ),
    ("go", "v1"): """
	seconds, err := strconv.ParseInt(r.Timestamp, 10, 64)
	if err != nil {
		panic(err)
	}
	return SignedHeaders([]byte(r.Secret), r.Path, time.Unix(seconds, 0))
""",
    ("go", "v2"): """
	created := time.Unix(r.Created, 0)
	headers, err := SignedHeaders([]byte(r.Secret), r.Method, r.Target, r.Headers, r.Body, created, r.Nonce)
	if err != nil {
		panic(err)
	}
	return headers
""",
}


async def python(version, rows, directory):
    (directory / "example.py").write_text(block("python", version=version))
    driver = (
        "import base64, json, sys\n"
        "from example import signed_headers\n"
        f"print(json.dumps([{DRIVERS['python', version]} for r in json.load(sys.stdin)]))\n"
    )
    return json.loads(await run(sys.executable, "-c", driver, cwd=directory, stdin=json.dumps(rows)))


async def node(version, rows, directory):
    (directory / "example.mjs").write_text(block("javascript", version=version))
    (directory / "driver.mjs").write_text(
        "import { readFileSync } from 'node:fs';\n"
        "import { signedHeaders } from './example.mjs';\n"
        "const rows = JSON.parse(readFileSync(0));\n"
        f"console.log(JSON.stringify(rows.map((r) => {DRIVERS['node', version]})));\n"
    )
    return json.loads(await run("node", "driver.mjs", cwd=directory, stdin=json.dumps(rows)))


async def openssl(version, rows, directory):
    signed = []
    for row in rows:
        (directory / "secret").write_text(row["secret"] + "\n")
        environ = {"SHARED_SECRET_FILE": "secret"}
        if version == "v1":
            words = (row["path"], row["timestamp"])
        else:
            (directory / "body").write_bytes(base64.b64decode(row["body"] or ""))
            words = (row["method"], row["target"], *(": ".join(header) for header in row["headers"]))
            environ |= {"CREATED": str(row["created"]), "NONCE": row["nonce"], "FILE": "body"}
        digest = re.search(r'"Content-Digest: [^`]*"', PAGE)[0].replace("FILE", '"$FILE"')
        more = digest if row.get("body") else ""
        script = block("sh", version=version) + f'signed_headers "$@" {more}\n'
        out = await run("sh", "-c", script, "sh", *words, cwd=directory, **environ)
        signed.append(dict(line.split(": ", 1) for line in out.splitlines()))
    return signed


async def go(version, rows, directory):
    (directory / "go.mod").write_text("module example\n\ngo 1.19\n")
    (directory / "example.go").write_text(block("go", version=version))
    (directory / "main.go").write_text(
        """package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"time"
)

type row struct {
	Secret, Path, Timestamp string
	Method, Target, Nonce   string
	Headers                 [][2]string
	Body                    []byte
	Created                 int64
}

func signed(r row) http.Header {
	_ = strconv.IntSize // v2 doesn't need it"""
        + DRIVERS["go", version]
        + """}

func main() {
	var rows []row
	if err := json.NewDecoder(os.Stdin).Decode(&rows); err != nil {
		panic(err)
	}
	all := []map[string]string{}
	for _, r := range rows {
		one := map[string]string{}
		for name, values := range signed(r) {
			one[name] = values[0]
		}
		all = append(all, one)
	}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		panic(err)
	}
}
"""
    )
    shared = directory.parent  # all tests': the standard library is compiled once
    cache = {"GOCACHE": str(shared / "go-cache"), "GOPATH": str(shared / "go-path"), "GOTOOLCHAIN": "local"}
    return json.loads(await run("go", "run", ".", cwd=directory, stdin=json.dumps(rows), **cache))


EXAMPLES = {"python3": python, "node": node, "openssl": openssl, "go": go}
AT_HAND = [tool for tool in EXAMPLES if shutil.which(tool)]


async def test_python_javascript_and_openssl_are_at_hand():
    assert {"python3", "node", "openssl", "curl"} <= {*AT_HAND, *filter(shutil.which, ["curl"])}


def same(headers):
    """Go writes names of headers in its own way, as HTTP lets it."""
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.parametrize("tool", AT_HAND)
async def test_an_example_of_v1_makes_the_reference_signatures(tool, tmp_path):
    signed = await EXAMPLES[tool]("v1", ROWS, tmp_path)
    assert len(signed) == len(ROWS) == 120
    for row, headers in zip(ROWS, signed, strict=True):
        assert same(headers) == same({TIMESTAMP_HEADER: row["timestamp"], HMAC_HEADER: row["hmac"]})


def rows_of_v2():
    """What the examples sign, and what they must make of it.

    Left out are the reference's other labels, key ids, orders and parameters, and where it covers more or less than all
    headers that it sends besides Host.
    """
    form = re.compile(
        r'catalyst=\(("@method" "@path" "@query"[^)]*)\);created=1790000000;keyid="secret";alg="hmac-sha256"'
        r';nonce="([^"]+)";tag="k8s-ws-proxy"'
    )
    for vector in load("rfc9421.json"):
        found = form.fullmatch(vector["signature_input"])
        headers = [[name, value] for name, value in vector["headers"].items() if name not in {"Host", "Content-Digest"}]
        digest = ["content-digest"] * (vector["body_base64"] is not None)
        covered = re.findall(r'"([^"]+)"', found[1])[3:] if found else None
        headers = [header for header in headers if header[0].lower() in (covered or ())]
        if covered != [*(name.lower() for name, _ in headers), *digest]:
            continue
        row = {
            "secret": base64.b64decode(vector["secret_base64"]).decode(),
            "method": vector["method"],
            "target": vector["target"],
            "headers": headers,
            "body": vector["body_base64"],
            "created": 1790000000,
            "nonce": found[2],
        }
        made = {"Signature-Input": vector["signature_input"], "Signature": vector["signature"]}
        yield row, made | ({"Content-Digest": vector["headers"]["Content-Digest"]} if digest else {})


async def test_what_is_shown_of_v2_is_one_of_the_reference_signatures():
    (vector,) = [row for row in load("rfc9421.json") if row["name"] == "plain exec"]
    assert f"\nSignature-Input: {vector['signature_input']}\n" in PAGE
    assert f"```\n{vector['signature_base']}\n```" in PAGE
    secret = base64.b64decode(vector["secret_base64"]).decode()
    assert f"With the secret `{secret}` the field is `{vector['signature']}`." in PAGE


@pytest.mark.parametrize("tool", AT_HAND)
async def test_an_example_of_v2_makes_the_reference_signatures(tool, tmp_path):
    rows, wanted = zip(*rows_of_v2(), strict=True)
    assert len(rows) == 17
    signed = await EXAMPLES[tool]("v2", rows, tmp_path)
    for row, made, headers in zip(rows, wanted, signed, strict=True):
        assert same(headers) == same(dict(row["headers"]) | made)


def soon():
    """When a signature is said to be made: after the daemon's start, and good for long enough to compile Go first."""
    return math.ceil(time.time()) + 45


@pytest.mark.parametrize("tool", AT_HAND)
async def test_the_daemon_takes_what_an_example_of_v1_signs(tool, tmp_path, shared_daemon):
    row = {"secret": f"{SECRET.decode()}\n", "timestamp": str(int(time.time())), "path": PATH}
    (headers,) = await EXAMPLES[tool]("v1", [row], tmp_path)
    assert (await get(shared_daemon, PATH, headers)).status == 426


@pytest.mark.parametrize("tool", AT_HAND)
async def test_the_daemon_takes_what_an_example_of_v2_signs_once(tool, tmp_path, shared_daemon):
    row = {
        "secret": f"{SECRET.decode()}\n",
        "method": "GET",
        "target": TARGET,
        "headers": WHO,
        "body": None,
        "created": soon(),
        "nonce": f"one-of-a-test-of-{tool}",
    }
    (headers,) = await EXAMPLES[tool]("v2", [row], tmp_path)
    assert (await get(shared_daemon, TARGET, headers)).status == 426
    assert refusal_of(await get(shared_daemon, TARGET, headers), TARGET)[1] == "replayed"


@pytest.mark.parametrize("tool", AT_HAND)
async def test_the_daemon_takes_the_body_that_an_example_signs_and_no_other(tool, tmp_path, shared_daemon):
    row = {
        "secret": SECRET.decode(),
        "method": "GET",
        "target": TARGET,
        "headers": [],
        "body": base64.b64encode(b'{"a": 1}').decode(),
        "created": soon(),
    }
    for body, reason in ((b'{"a": 1}', "upgrade_required"), (b'{"a": 2}', "digest_mismatch")):
        (headers,) = await EXAMPLES[tool]("v2", [{**row, "nonce": f"{tool}-and-{reason}"}], tmp_path)
        lines = [f"GET {TARGET} HTTP/1.1", "Host: proxy", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode()
        assert refusal_of(await say(shared_daemon, head + b"\r\n\r\n" + body), TARGET)[1] == reason


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("secret", "reason"),
    [(SECRET, '"reason": "upgrade_required"'), (b"another", '"reason": "bad_signature"')],
    ids=["the secret", "another one"],
)
async def test_the_curl_line_says_whether_a_signature_is_accepted(version, secret, reason, tmp_path, shared_daemon):
    (tmp_path / "secret").write_bytes(secret)
    script = block("sh", version=version) + block("sh", 1, version=version)
    environ = {"SHARED_SECRET_FILE": "secret", "PROXY_URL": shared_daemon.url}
    if version == "v2":
        environ["CREATED"] = str(soon())
    assert reason in await run("sh", "-c", script, cwd=tmp_path, **environ)
