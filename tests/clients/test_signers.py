"""Signers of RFC 9421 that others wrote, against a running daemon: for Python, and for Node.js."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from support import rawws
from support.caller import Lines, get, proxy_exec, refusal_of, say
from support.daemon import SECRET, running_daemon

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAG = "k8s-ws-proxy"
COVERED = ("@method", "@path", "@query")
WHO = {
    "X-Catalyst-User": "alice@example.com",
    "X-Catalyst-Groups": '"oidc:ops", "CN=dev,OU=eng"',
    "X-Catalyst-Reason": "INC-4711: caf%C3%A9 is slow, 100%25",
}
TARGET = "/proxy/exec/default/shell/shell?command=id"
NONCES = itertools.count()


def python(url, headers, fields, *, secret=SECRET, tag=TAG, body=None):
    message = SimpleNamespace(method="GET", url=url, headers=dict(headers))
    HTTPMessageSigner(
        signature_algorithm=algorithms.HMAC_SHA256,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={"theirs": secret}),
    ).sign(
        message,
        key_id="theirs",
        # The daemon may have started in this second: what was signed in it is refused.
        created=dt.datetime.fromtimestamp(math.ceil(time.time()), dt.UTC),
        nonce=f"python-{next(NONCES)}-{os.getpid():012}",
        tag=tag,
        covered_component_ids=fields,
        body=body,
        use_existing_digest="Content-Digest" in headers,
    )
    return message.headers


async def node(url, headers, fields, *, secret=SECRET, tag=TAG):
    wanted = {
        "secret": secret.decode(),
        "tag": tag,
        "method": "GET",
        "url": url,
        "headers": dict(headers),
        "fields": fields,
        "created": math.ceil(time.time()),
        "nonce": f"node-{next(NONCES)}-{os.getpid():012}",
    }
    process = await asyncio.create_subprocess_exec(
        "node", Path(__file__).parent / "sign.mjs", json.dumps(wanted), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture(params=["python", "node"])
def sign(request, shared_daemon):
    """All headers of a GET of a target that they have signed: with what there is to send, and covering that."""

    async def sign_(target, headers=None, *, more=(), covered=None, **others):
        fields = [*COVERED, *(name.lower() for name in headers or {}), *more] if covered is None else covered
        url = f"http://127.0.0.1:{shared_daemon.port}{target}"
        if request.param == "python":
            signed = python(url, headers or {}, fields, **others)
        else:
            signed = await node(url, headers or {}, fields, **others)
        shared_daemon.confidential.add(signed["Signature"].split(":")[1])
        return signed

    return sign_


def written(target, headers, body=b""):
    lines = [f"GET {target} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def dialled(cluster):
    """The headers of the exec that the apiserver was asked for last, and that aren't the same each time."""
    seen = [one for one in cluster.observed.seen if one.what.endswith("pods/exec")][-1]
    headers = [(name.lower(), value) for name, value in seen.headers]
    return [
        header for header in headers if header[0].startswith(("audit-", "impersonate-", "x-catalyst-", "signature"))
    ]


async def test_a_session_of_somebody(sign, shared_daemon, shared_cluster):
    lines = await Lines.begin(shared_daemon)
    target = proxy_exec("sh", "-c", 'printf "%s" "a+b & c"; exit 3', tty="false")
    data = rawws.request(target, await sign(target, WHO), subprotocols=("v5.channel.k8s.io",))
    async with rawws.connected(shared_daemon.port, data) as ws:
        assert ws.answer.status == 101
        ended = await ws.finish()
    assert (ended.text(1), ended.exit_code) == ("a+b & c", 3)
    line = await lines.event("session opened", mode="rfc9421", key_id="secret", user="alice@example.com")
    assert (line["groups"], line["caller_reason"]) == (2, "INC-4711: café is slow, 100%")
    assert line["session"] == ws.answer.headers["x-session-id"]
    assert dialled(shared_cluster) == [("audit-id", line["session"])]


@pytest.mark.parametrize(
    "target",
    [
        "/proxy/exec/default/web/web",
        "/proxy/exec/default/web/web?",
        "/proxy/exec/default/web?command=echo&command=a+b&command=%C3%A9%c3%a9&command=",
        "/proxy/exec/default/web/web?command=sh&command=-c&command=echo%20%22a%26b%22%3B%20id",
        "/api/v1/namespaces/default/pods/web/exec?command=sh&stdin=true&stdout=true&tty=true",
        "/proxy/portforward/default/web?ports=80,8080",
    ],
)
async def test_what_they_sign_is_what_the_daemon_reads(sign, target, shared_daemon):
    assert refusal_of(await get(shared_daemon, target, await sign(target)), target)[1] == "upgrade_required"


async def test_more_may_be_covered(sign, shared_daemon):
    headers = {"X-Catalyst-User": "alice", "User-Agent": "theirs/1.0  (a; b)", "Accept": "*/*"}
    signed = await sign(TARGET, headers, more=["@authority"])
    sent = {"Host": f"127.0.0.1:{shared_daemon.port}", **signed}
    assert (await say(shared_daemon, written(TARGET, sent))).status == 426


async def test_a_body_that_they_digest(shared_daemon):
    signed = python(f"{shared_daemon.url}{TARGET}", {}, COVERED, body=b'{"a": 1}')
    assert '"content-digest"' in signed["Signature-Input"]
    for body, status in ((b'{"a": 2}', 401), (b'{"a": 1}', 426)):  # what is refused uses no nonce up
        sent = {"Host": "proxy", **signed, "Content-Length": str(len(body))}
        assert (await say(shared_daemon, written(TARGET, sent, body))).status == status


async def test_a_signature_is_good_once(sign, shared_daemon):
    signed = await sign(TARGET, WHO)
    assert (await get(shared_daemon, TARGET, signed)).status == 426
    assert refusal_of(await get(shared_daemon, TARGET, signed), TARGET)[1] == "replayed"


@pytest.mark.parametrize(
    ("how", "sent", "reason"),
    [
        ({"secret": b"another one, and as long as it has to be"}, {}, "bad_signature"),
        ({"tag": "another"}, {}, "malformed_signature"),
        ({"covered": ["@method", "@path", "@query", "@target-uri"]}, {}, "signature_incomplete"),
        ({"covered": ["@method", "@path"]}, {}, "signature_incomplete"),
        ({"covered": [*COVERED, "x-catalyst-groups", "x-catalyst-reason"]}, {}, "signature_incomplete"),
        ({}, {"X-Catalyst-User": "bob"}, "bad_signature"),
        ({}, {"X-Catalyst-Node": "node-1"}, "signature_incomplete"),
        ({}, {"X-Catalyst-Timestamp": "1790000000"}, "two_credentials"),
    ],
)
async def test_what_the_daemon_does_not_take(sign, how, sent, reason, shared_daemon):
    signed = await sign(TARGET, WHO, **how)
    assert refusal_of(await get(shared_daemon, TARGET, signed | sent), TARGET)[1] == reason


async def test_another_query_than_the_one_that_was_signed(sign, shared_daemon):
    signed = await sign(TARGET)
    other = TARGET.replace("id", "reboot")
    assert refusal_of(await get(shared_daemon, other, signed), other)[1] == "bad_signature"


async def test_a_body_is_read_of_a_good_signature_only(sign, shared_daemon):
    """One that never comes isn't waited for, and one that is too long isn't taken."""
    digest = {"Content-Digest": f"sha-256=:{'A' * 43}=:"}

    async def answered(signed, size, body=b""):
        sent = {"Host": "proxy", **signed, "Content-Length": str(size)}
        return refusal_of(await say(shared_daemon, written(TARGET, sent, body)), TARGET)[1]

    assert await answered(await sign(TARGET), 65536) == "signature_incomplete"
    assert await answered(await sign(TARGET, digest, secret=b"another one"), 65536) == "bad_signature"
    signed = await sign(TARGET, digest)
    assert await answered(signed, 65537, bytes(65537)) == "malformed_request"
    assert await answered(signed, 65536, bytes(65536)) == "digest_mismatch"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon_of_users(shared_cluster, tmp_path_factory):
    directory = tmp_path_factory.mktemp("users")
    shared_cluster.write_kubeconfig(directory / "kubeconfig", "proxy")
    prefixes = {"IDENTITY_USER_PREFIX": "sso:", "IDENTITY_GROUP_PREFIX": "sso:"}
    async with running_daemon(directory / "kubeconfig", directory, IDENTITY="user", **prefixes) as running:
        yield running


async def test_the_apiserver_sees_the_user(daemon_of_users, shared_cluster):
    target = proxy_exec("true", tty="false")
    signed = python(f"{daemon_of_users.url}{target}", WHO, [*COVERED, *map(str.lower, WHO)])
    async with rawws.connected(daemon_of_users.port, rawws.request(target, signed)) as ws:
        assert dialled(shared_cluster) == [
            ("audit-id", ws.answer.headers["x-session-id"]),
            ("impersonate-user", "sso:alice@example.com"),
            ("impersonate-group", "sso:oidc:ops"),
            ("impersonate-group", "sso:CN=dev,OU=eng"),
        ]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "user_required"),
        ({"X-Catalyst-Groups": '"ops"'}, "user_required"),
        ({"X-Catalyst-User": "system:admin"}, "identity_denied"),
        ({"X-Catalyst-User": "alice", "X-Catalyst-Groups": '"ops", "system:masters"'}, "identity_denied"),
        ({"X-Catalyst-User": "alice", "X-Catalyst-Groups": '"ops", "System:Masters"'}, "identity_denied"),
        ({"X-Catalyst-User": "alice", "X-Catalyst-Groups": "ops"}, "malformed_identity"),
        ({"X-Catalyst-User": "alice", "X-Catalyst-Node": "elsewhere"}, "wrong_node"),
    ],
)
async def test_whom_nobody_can_be(headers, reason, daemon_of_users):
    signed = python(f"{daemon_of_users.url}{TARGET}", headers, [*COVERED, *map(str.lower, headers)])
    assert refusal_of(await get(daemon_of_users, TARGET, signed), TARGET)[1] == reason
