"""docs/observed.md, "Audit": what was asked, by whom and as whom, and how it was answered."""

import asyncio
import json
import re
import ssl
import uuid

import pytest
from support import identities

from k8s_ws_proxy.devcluster import DevCluster, ForeignPod, Response, audit, roles

ALICE = ("Impersonate-User", "alice")
MICROSECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture
async def cluster():
    async with DevCluster(identities.world(identities.CONSTRAINED)) as running:
        yield running


async def complete(cluster, audit_id):
    await cluster.observed.wait_for(lambda: cluster.audit.of(audit_id, "ResponseComplete"))
    return cluster.audit.of(audit_id)


async def test_an_exec_has_two_events(cluster, clients, path):
    name = str(uuid.uuid4())
    headers = [ALICE, ("Impersonate-Group", "dev"), ("Audit-ID", name), ("User-Agent", "some/1")]
    client = await clients.ask(path("cat", stdin="1"), user="proxy", extra=headers)
    assert client.code == 101
    (started,) = cluster.audit.of(name)
    times = [started.pop(field) for field in ("requestReceivedTimestamp", "stageTimestamp")]
    assert all(re.fullmatch(MICROSECONDS, each) for each in times)
    assert times == sorted(times)
    assert started == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": name,
        "stage": "ResponseStarted",
        "requestURI": path("cat", stdin="1"),
        "verb": "get",
        "user": {
            "username": identities.PROXY,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        },
        "impersonatedUser": {"username": "alice", "groups": ["dev", "system:authenticated"]},
        "authenticationMetadata": {"impersonationConstraint": "impersonate:user-info"},
        "sourceIPs": ["127.0.0.1"],
        "userAgent": "some/1",
        "objectRef": {
            "resource": "pods",
            "namespace": "default",
            "name": "shell",
            "apiVersion": "v1",
            "subresource": "exec",
        },
        "responseStatus": {"metadata": {}, "code": 101},
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": (
                'RBAC: allowed by RoleBinding "pod-operator/default" of ClusterRole "pod-operator" to User "alice"'
            ),
        },
    }
    client.leave()
    ended = (await complete(cluster, name))[1]
    assert ended["stageTimestamp"] >= times[1]
    assert ended | {"stage": ""} == started | {"stage": ""} | {
        field: ended[field] for field in ("requestReceivedTimestamp", "stageTimestamp")
    }


async def test_a_short_answer_has_one(cluster, clients):
    await clients.call("GET", "/api/v1/namespaces/default/pods", extra=[("Audit-ID", "one")])
    (event,) = await complete(cluster, "one")
    assert (event["stage"], event["verb"], event["responseStatus"]) == (
        "ResponseComplete",
        "list",
        {"metadata": {}, "code": 200},
    )
    assert event["objectRef"] == {"resource": "pods", "namespace": "default", "apiVersion": "v1"}
    assert "impersonatedUser" not in event
    assert "authenticationMetadata" not in event


async def test_a_log_has_two_and_the_id_in_its_head(cluster, clients, path):
    target = path(pod="quick", container="quick", action="log", follow="1")
    client = await clients.ask(target, user="alice", upgrade=False, offer=(), extra=[("Audit-ID", "log")])
    assert (client.code, client.headers["Audit-ID"]) == (200, "log")
    stages = [each["stage"] for each in await complete(cluster, "log")]
    assert stages == ["ResponseStarted", "ResponseComplete"]


@pytest.mark.parametrize("name", ["a" * 65, "with some  spaces in it", "caf\u00e9"])
@pytest.mark.parametrize("who", ["admin", "nobody", None])
async def test_an_id_is_taken_as_it_is_and_told_in_every_refusal(cluster, clients, path, name, who):
    extra = [("Audit-ID", name)]
    client = await clients.ask(path("true", container="nope"), user=who, extra=extra)
    assert client.headers["Audit-ID"] == name
    assert {each["auditID"] for each in cluster.audit.events} == {name}
    assert {each["responseStatus"]["code"] for each in cluster.audit.events} == {400 if who == "admin" else 403}


async def test_without_one_a_uuid_is_made(cluster, clients):
    made = set()
    for target in ("/version", "/nope", "/api/v1/pods"):
        client = await clients.ask(target, user="bob", upgrade=False, offer=())
        assert uuid.UUID(client.headers["Audit-ID"]).version == 4
        made.add(client.headers["Audit-ID"])
    assert len(made) == 3
    assert made == {each["auditID"] for each in cluster.audit.events}


async def test_the_first_of_several_counts(clients):
    client = await clients.ask("/version", upgrade=False, offer=(), extra=[("Audit-ID", "one"), ("Audit-ID", "two")])
    assert client.headers.get_all("Audit-ID") == ["one"]


async def test_an_upgrade_and_what_the_kubelet_says_have_none(clients, path):
    """The connection is the upgraded one's by then, and the apiserver writes no header of its own."""
    extra = [("Audit-ID", "x")]
    for target, options, code in (
        (path("true"), {}, 101),
        (path("true"), {"method": "POST"}, 405),
        (path("true"), {"offer": ["chat"]}, 403),
        (path("true", pod="quick", container=""), {}, 500),
        (path("true", stdout="0"), {}, 400),
    ):
        client = await clients.ask(target, extra=extra, **options)
        assert (client.code, client.headers["Audit-ID"]) == (code, None)


async def test_a_refusal_by_rbac(cluster, clients, path):
    await clients.ask(path("true"), user="bob", extra=[("Audit-ID", "no")])
    event = (await complete(cluster, "no"))[-1]
    assert event["annotations"] == {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}
    told = event["responseStatus"]
    assert (told["code"], told["status"], told["reason"]) == (403, "Failure", "Forbidden")
    assert told["message"].startswith('pods "shell" is forbidden: User "bob" cannot get')


async def test_a_refusal_to_impersonate_is_told_of_who_asked(cluster, clients, path):
    await clients.ask(path("true"), user="bob", extra=[("Audit-ID", "no"), ALICE])
    event = (await complete(cluster, "no"))[-1]
    assert (event["user"]["username"], event["responseStatus"]["code"]) == ("bob", 403)
    assert not {"impersonatedUser", "annotations"} & set(event)


async def test_a_uid_and_extras_are_told_and_the_classic_verb_is_not(cluster, clients):
    everything = roles.rule("uids userextras/dev.io/scopes", "impersonate", group="authentication.k8s.io")
    role = roles.cluster_role("classic", roles.rule("users", "impersonate"), everything)
    for each in (role, roles.bind(role, roles.user("bob"))):
        cluster.state.grant(each)
    more = [("Audit-ID", "as"), ALICE, ("Impersonate-Uid", "7"), ("Impersonate-Extra-dev.io%2fscopes", "all")]
    await clients.call("GET", "/api/v1/namespaces/default/pods/web", user="bob", extra=more)
    (event,) = await complete(cluster, "as")
    told = {"username": "alice", "uid": "7", "groups": ["system:authenticated"], "extra": {"dev.io/scopes": ["all"]}}
    assert event["impersonatedUser"] == told
    assert "authenticationMetadata" not in event


async def test_who_is_nobody_is_told_once(cluster, clients, path):
    client = await clients.ask(path("true"), token="wrong", extra=[("Audit-ID", "who"), ALICE])
    assert (client.code, client.headers["Audit-ID"]) == (401, "who")
    await clients.ask("/version", upgrade=False, offer=())
    (event,) = cluster.audit.of("who")
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"]["message"] == "Authentication failed, attempted: bearer"


async def test_resources_of_a_group_and_paths_that_are_none(cluster, clients):
    await clients.call("GET", "/apis/apps/v1/namespaces/default/daemonsets/x", extra=[("Audit-ID", "d")])
    (event,) = await complete(cluster, "d")
    assert event["objectRef"]["apiGroup"] == "apps"
    await clients.call("GET", "/version", extra=[("Audit-ID", "v"), ("X-Forwarded-For", "10.0.0.7, nonsense")])
    (event,) = await complete(cluster, "v")
    assert "objectRef" not in event
    assert event["sourceIPs"] == ["10.0.0.7", "127.0.0.1"]


async def test_what_a_pod_answers_through_the_proxy(cluster, clients):
    async def pod(_):
        return Response(418)

    cluster.state.add_pod(ForeignPod("peer", ports={8080: pod}))
    target = "/api/v1/namespaces/default/pods/peer:8080/proxy/"
    client = await clients.ask(target, upgrade=False, offer=(), extra=[("Audit-ID", "p")])
    assert (client.code, client.headers["Audit-ID"]) == (418, "p")
    events = await complete(cluster, "p")
    assert [(each["stage"], each["responseStatus"]["code"]) for each in events] == [
        ("ResponseStarted", 418),
        ("ResponseComplete", 418),
    ]


async def test_a_request_that_is_never_answered_is_not_told(cluster, clients, path):
    cluster.faults.hang()
    hung = await clients.connect()
    hung.writer.write(f"GET {path('true')} HTTP/1.1\r\n".encode())
    hung.writer.write("".join(f"{name}: {value}\r\n" for name, value in clients.headers()).encode() + b"\r\n")
    await cluster.observed.wait_for(lambda: len(cluster.observed.seen) == 1)
    hung.leave()
    assert cluster.audit.events == []


async def test_memory_is_bounded_and_a_file_has_them_all(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "KEPT", 3)
    file = tmp_path / "audit.log"
    async with DevCluster(audit_file=file) as cluster:
        trusting = ssl.create_default_context(cafile=cluster.ca_file)
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port, ssl=trusting)
        for number in range(5):
            writer.write(f"GET /version HTTP/1.1\r\nHost: x\r\nAudit-ID: {number}\r\n\r\n".encode())
        for _ in range(5):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
        await cluster.observed.wait_for(lambda: bool(cluster.audit.of("4")))
        writer.close()
        assert [each["auditID"] for each in cluster.audit.events] == ["2", "3", "4"]
        kept = cluster.audit.events
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each["auditID"] for each in lines] == ["0", "1", "2", "3", "4"]
    assert lines[2:] == kept
