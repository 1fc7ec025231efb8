"""What ``k8s-ws-proxy sign --v2`` prints is a credential for that request, once; what it can't sign it says."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.caller import get, refusal_of
from support.command import Client


@pytest.fixture
def sign(tmp_path):
    """The headers that ``sign`` prints."""

    async def sign_(*words):
        status, stdout, stderr = await Client("", tmp_path / "secret", tmp_path, "sign").run(*words)
        assert (status, stderr) == (0, "")
        return dict(line.split(": ", 1) for line in stdout.decode().splitlines())

    return sign_


async def next_second():
    await asyncio.sleep(1 - time.time() % 1 + 0.01)


async def test_what_sign_prints_is_accepted_once(daemon, sign, next_second_of):
    target = "/proxy/exec/default/web/web?command=a%2fb&command=%41+c&x#fragment"
    headers = await sign("--v2", target, "--user", "jane", "--group", "ops", "--reason", "ü", "--keyid", "mine")
    assert list(headers) == [
        "X-Catalyst-User",
        "X-Catalyst-Groups",
        "X-Catalyst-Reason",
        "Signature-Input",
        "Signature",
    ]
    sent = target.partition("#")[0]
    assert (await get(daemon, sent, headers)).status == 426
    again = await get(daemon, sent, headers)
    assert (again.status, refusal_of(again, sent)[1]) == (401, "replayed")


async def test_what_sign_prints_is_for_its_query_and_its_method(daemon, sign, next_second_of):
    target = "/proxy/exec/default/web/web?command=true"
    for words, asked in ((("--v2", target), f"{target}&tty=true"), (("--v2", "--method", "POST", target), target)):
        answer = await get(daemon, asked, await sign(*words))
        assert (answer.status, refusal_of(answer, target)[1]) == (401, "bad_signature")


async def test_curl_takes_what_sign_prints(daemon, sign, next_second_of, tmp_path):
    url = f"{daemon.url}/proxy/exec/default/web/web?command=sh&command=%2Dc"
    headers = await sign("--v2", url)
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--header", "@-", "--output", "/dev/null", "--write-out", "%{http_code}", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    stdout, _ = await curl.communicate("".join(f"{name}: {value}\n" for name, value in headers.items()).encode())
    assert stdout == b"426"


async def test_a_signature_for_a_node_is_for_that_one(start, sign):
    daemon = await start(NODE_NAME="node-1")
    await next_second()
    target = "/proxy/exec/default/web/web"
    assert (await get(daemon, target, await sign("--v2", "--node", "node-1", target))).status == 426
    answer = await get(daemon, target, await sign("--v2", "--node", "node-2", target))
    assert (answer.status, refusal_of(answer, target)[1]) == (421, "wrong_node")


@pytest.fixture
async def next_second_of(daemon):
    """By hand nobody signs in the second in which the proxy starts, which is refused."""
    await next_second()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("/a", "--user", "jane"), "--user needs --v2: the signature without it covers the path and nothing else"),
        (("/a", "--group", "ops"), "--group needs --v2"),
        (("/a", "--reason", ""), "--reason needs --v2"),
        (("/a", "--node", "n"), "--node needs --v2"),
        (("/a", "--method", "GET"), "--method needs --v2"),
        (("/a", "--keyid", "k"), "--keyid needs --v2"),
        (("--v2", "a/b"), "'a/b' can't be sent as it stands"),
        (("--v2", "/a", "--method", "G T"), "--method: 'G T' can't be the method of a request"),
        (("--v2", "/a", "--timestamp", "1000000000000000"), "--timestamp: 1000000000000000 is no time that a"),
        (("--v2", "/a", "--keyid", "ü"), "--keyid: it can hold printable ASCII characters only"),
        (("--v2", "/a", "--user", "ü"), "--user: X-Catalyst-User must be"),
        (("--v2", "/a", "--group", "ü"), "--group: a group's name"),
    ],
)
async def test_what_can_t_be_signed(tmp_path, words, told):
    (tmp_path / "secret").write_text("s" * 44)
    status, stdout, stderr = await Client("", None, tmp_path, "sign").run(
        *words, "--secret-file", str(tmp_path / "secret")
    )
    assert (status, stdout) == (1, b"")
    assert stderr.startswith(f"k8s-ws-proxy: {told}")
