"""The few things that may be read beside sessions: by whom, and what of them (docs/design/kubectl.md)."""

from __future__ import annotations

import json

import pytest
from support import rawws
from support.caller import Lines, get, refusal_of
from support.pki import Pki

from k8s_ws_proxy.wire.requests.discovery import V2

POD = "/api/v1/namespaces/default/pods/web"
PATHS = ["/api", "/apis", "/api/v1", "/api/v1/namespaces/default", POD]
AGGREGATED = f"{V2},application/json"


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def daemon(start, pki):
    return await start(**pki.environ("operator"))


def plain(path, headers=None, method="GET"):
    lines = [f"{method} {path} HTTP/1.1", "Host: proxy", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ask(daemon, client, path, headers=None, method="GET"):
    """The answer on the TLS listener."""
    async with rawws.connected(daemon.ports["https"], plain(path, headers, method), tls=client) as connection:
        return connection.answer


@pytest.fixture
def operator(pki):
    return pki.servers.client(pki.callers.leaf("operator"))


@pytest.mark.parametrize("path", PATHS)
async def test_by_certificate(daemon, operator, path):
    answer = await ask(daemon, operator, path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body)["kind"] in {"APIVersions", "APIGroupList", "APIResourceList", "Namespace", "Pod"}


async def test_aggregated(daemon, operator):
    answer = await ask(daemon, operator, "/api?timeout=32s", {"Accept": AGGREGATED})
    assert (answer.status, answer.headers["content-type"]) == (200, V2)


@pytest.mark.parametrize("path", PATHS)
async def test_a_signature_is_no_way_to_them(daemon, pki, path):
    answer = await ask(daemon, pki.servers.client(), path, daemon.headers(path))
    assert answer.status == 404
    assert refusal_of(answer, "/api/")[1] == "bad_path"
    assert (await get(daemon, path, daemon.headers(path))).status == 404


@pytest.mark.parametrize("path", PATHS)
async def test_on_the_plain_listener_they_are_not_there(daemon, path):
    answer = await get(daemon, path)
    assert (answer.status, refusal_of(answer, "/api/")[1]) == (404, "bad_path")


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_certificate_mode_they_are_not_there(start, pki, operator, path):
    daemon = await start(**pki.environ(""))
    assert (await ask(daemon, operator, path)).status == 404
    assert (await ask(daemon, pki.servers.client(), path, daemon.headers(path))).status == 404


async def test_without_a_credential_all_pods_look_the_same(daemon, pki, cluster):
    before = len(cluster.observed.seen)
    told = []
    for path in [*PATHS, "/api/v1/namespaces/default/pods/nope", "/api/v1/namespaces/nope/pods/nope"]:
        answer = await ask(daemon, pki.servers.client(), path)
        told.append((answer.status, json.loads(answer.body), answer.headers.keys()))
    assert told == [told[0]] * len(told)
    assert (told[0][0], told[0][1]["message"]) == (401, "kubectl comes in by client certificate, and there was none.")
    assert [seen for seen in cluster.observed.seen[before:] if seen.target != "/version"] == []


async def test_a_subject_that_is_not_listed(daemon, pki):
    answer = await ask(daemon, pki.servers.client(pki.callers.leaf("stranger")), POD, daemon.headers(POD))
    assert (answer.status, refusal_of(answer, POD)[1]) == (401, "subject_denied")


async def test_a_pod_is_shown_as_far_as_kubectl_looks(daemon, operator):
    assert json.loads((await ask(daemon, operator, POD)).body) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "containers": [
                {"name": "web", "stdin": True, "tty": False, "ports": [{"containerPort": 8080, "protocol": "TCP"}]}
            ]
        },
        "status": {"phase": "Running"},
    }
    line = await daemon.event("pod read")
    assert (line["subject"], line["path"]) == ("operator", POD)


async def test_nothing_of_the_request_is_passed_on_but_the_name(daemon, operator, cluster):
    sent = {
        "Authorization": "Bearer somebody's",
        "Impersonate-User": "system:admin",
        "X-Remote-User": "admin",
        "Cookie": "a=b",
        "Accept": "application/vnd.kubernetes.protobuf",
        "Accept-Encoding": "gzip",
    }
    assert (await ask(daemon, operator, f"{POD}?resourceVersion=0&watch=true", sent)).status == 200
    (seen,) = [each for each in cluster.observed.seen if each.target.startswith(POD)]
    assert seen.target == POD
    assert dict(seen.headers).keys() == {"host", "accept", "connection", "authorization", "user-agent"}
    assert (dict(seen.headers)["accept"], "somebody" in str(seen.headers)) == ("application/json", False)


async def test_a_pod_that_is_not_there_in_the_apiserver_s_words(daemon, operator):
    answer = await ask(daemon, operator, "/api/v1/namespaces/default/pods/nope")
    told = json.loads(answer.body)
    assert (answer.status, told["message"], told["reason"]) == (404, 'pods "nope" not found', "NotFound")


async def test_the_namespace_comes_before_the_pod(start, pki, operator, cluster):
    daemon = await start(**pki.environ("operator"), ALLOWED_NAMESPACES="team-a")
    for pod in ("web", "nope"):
        path = f"/api/v1/namespaces/default/pods/{pod}"
        answer = await ask(daemon, operator, path)
        assert (answer.status, refusal_of(answer, path)[1]) == (403, "namespace_denied")
    assert [seen for seen in cluster.observed.seen if "/pods/" in seen.target] == []
    assert (await ask(daemon, operator, "/api/v1/namespaces/team-a/pods/web")).status == 200


async def test_discovery_names_what_is_switched_on(start, pki, operator):
    daemon = await start(**pki.environ("operator"), ALLOWED_SUBRESOURCES="log")
    listed = json.loads((await ask(daemon, operator, "/api/v1")).body)
    assert [row["name"] for row in listed["resources"]] == ["pods", "pods/log"]


async def test_an_alias_is_answered_with_the_pod_it_means(start, pki, operator):
    daemon = await start(**pki.environ("operator"), POD_ALIAS_LABEL="app")
    path = "/api/v1/namespaces/default/pods/nope"
    answer = await ask(daemon, operator, path)
    assert (answer.status, refusal_of(answer, path)[1]) == (404, "no_running_pod")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api", POD])
async def test_they_are_only_read(daemon, operator, path, method):
    answer = await ask(daemon, operator, path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_the_apiserver_can_not_be_reached(daemon, operator, cluster):
    lines = Lines(daemon)
    await cluster.stop_listening()
    answer = await ask(daemon, operator, POD)
    text, reason = refusal_of(answer, POD)
    assert (answer.status, reason) == (502, "upstream_unreachable")
    assert str(cluster.port) not in text
    assert (await lines.event("pod read failed"))["reason"] == "upstream_unreachable"


async def test_the_service_account_may_not_read_pods(start, pki, operator, cluster, tmp_path):
    cluster.write_kubeconfig(tmp_path / "kubeconfig", "nobody")
    daemon = await start(**pki.environ("operator"))
    answer = await ask(daemon, operator, POD)
    assert answer.status == 403
    assert 'cannot get resource "pods"' in json.loads(answer.body)["message"]


async def test_the_apiserver_does_not_take_the_proxy_s_token(daemon, operator, cluster):
    cluster.replace_token(cluster.token("proxy"), None)
    answer = await ask(daemon, operator, POD)
    text, reason = refusal_of(answer, POD)
    assert (answer.status, reason) == (502, "upstream_refused")
    assert text.startswith("The apiserver doesn't accept the proxy's own token")


async def test_the_head_alone(daemon, operator):
    async with rawws.connected(daemon.ports["https"], plain("/api"), tls=operator) as connection:
        await connection.send_raw(plain("/api", method="HEAD"))
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert f"content-length: {connection.answer.headers['content-length']}" in head.decode().lower()
        await connection.send_raw(plain("/apis"))
        assert (await rawws.read_answer(connection.reader)).status == 200


async def test_the_connection_stays_open_for_the_next_question(daemon, operator):
    async with rawws.connected(daemon.ports["https"], plain("/api"), tls=operator) as connection:
        for path in ("/apis", POD, "/api/v1"):
            await connection.send_raw(plain(path))
            assert (await rawws.read_answer(connection.reader)).status == 200
        exec_ = f"{POD}/exec?command=true&stdout=true"
        await connection.send_raw(rawws.request(exec_))
        assert (await rawws.read_answer(connection.reader)).status == 101
        assert (await connection.finish()).exit_code == 0
