"""Secrets as an apiserver keeps them: versions, conflicts, patches, and what is wrong with one, in its own words."""

import base64
import datetime as dt

import pytest

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, DevCluster, Response, User, World, grant
from k8s_ws_proxy.devcluster.faults import throttled

SECRETS = "/api/v1/namespaces/default/secrets"
ONE = f"{SECRETS}/one"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
MODIFIED = (
    'Operation cannot be fulfilled on secrets "one": the object has been modified; please apply your changes to the '
    "latest version and try again"
)
FROZEN = 'Secret "one" is invalid: data: Forbidden: field is immutable when `immutable` is set'


def b64(text):
    return base64.b64encode(text.encode()).decode()


def named(name, **fields):
    return {"metadata": {"name": name}, **fields}


@pytest.fixture
async def one(clients):
    """A Secret that is there."""
    code, made = await clients.call("POST", SECRETS, named("one", data={"secret": b64("old")}))
    assert code == 201
    return made


def failure(body):
    assert (body["kind"], body["apiVersion"], body["status"]) == ("Status", "v1", "Failure")
    return body["code"], body["reason"], body["message"]


async def test_created_read_listed_and_deleted(clients, one):
    metadata = one["metadata"]
    assert {name: one[name] for name in one if name != "metadata"} == {
        "kind": "Secret",
        "apiVersion": "v1",
        "data": {"secret": b64("old")},
        "type": "Opaque",
    }
    assert metadata.keys() == {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}
    assert dt.datetime.fromisoformat(metadata["creationTimestamp"]).tzinfo is dt.UTC
    assert await clients.call("GET", ONE) == (200, one)
    code, listed = await clients.call("GET", SECRETS)
    assert (code, listed["kind"], listed["apiVersion"]) == (200, "SecretList", "v1")
    assert listed["items"] == [{name: one[name] for name in ("metadata", "data", "type")}]
    details = {"name": "one", "kind": "secrets", "uid": metadata["uid"]}
    gone = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    assert await clients.call("DELETE", ONE) == (200, gone)
    code, told = await clients.call("GET", ONE)
    assert (code, *failure(told)) == (404, 404, "NotFound", 'secrets "one" not found')
    assert told["details"] == {"name": "one", "kind": "secrets"}


async def test_string_data_is_folded_in_and_not_told(clients):
    body = named("s", data={"a": b64("a"), "b": b64("b")}, stringData={"b": "B", "c": "C"})
    code, made = await clients.call("POST", SECRETS, body)
    assert (code, made["data"]) == (201, {"a": b64("a"), "b": b64("B"), "c": b64("C")})
    assert "stringData" not in made


async def test_a_generated_name(clients):
    body = {"metadata": {"generateName": "key-"}}
    names = {(await clients.call("POST", SECRETS, body))[1]["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("key-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("body", "code", "reason", "message"),
    [
        (named("one"), 409, "AlreadyExists", 'secrets "one" already exists'),
        ({}, 422, "Invalid", 'Secret "" is invalid: metadata.name: Required value: name or generateName is required'),
        (named("Bad_"), 422, "Invalid", 'Secret "Bad_" is invalid: metadata.name: Invalid value: "Bad_": a lowercase '),
        (named("n", data={"a b": ""}), 422, "Invalid", 'Secret "n" is invalid: data[a b]: Invalid value: "a b": a val'),
        (
            named("n", data={"a": b64("x" * (1 << 20)), "b": b64("x")}),
            422,
            "Invalid",
            'Secret "n" is invalid: data: To',
        ),
        (
            named("n", data={"a": "aGk=!"}),
            400,
            "BadRequest",
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 4',
        ),
        (named("n", data={"a": "abc"}), 400, "BadRequest", 'Secret in version "v1" cannot be handled as a Secret: ill'),
        (
            {"metadata": {"name": "n", "annotations": {"a": 1}}},
            400,
            "BadRequest",
            'Secret in version "v1" cannot be handled as a Secret: json: cannot unmarshal number into Go struct field ',
        ),
        (
            {"metadata": {"name": "n", "annotations": {"a b": ""}}},
            422,
            "Invalid",
            'Secret "n" is invalid: metadata.ann',
        ),
        (
            {"metadata": {"name": "n", "annotations": {"a": "x" * (256 << 10)}}},
            422,
            "Invalid",
            'Secret "n" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes',
        ),
        (
            {"metadata": {"name": "n", "namespace": "other"}},
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {"metadata": {"name": "n", "resourceVersion": "1"}},
            400,
            "BadRequest",
            "resourceVersion should not be set on objects to be created",
        ),
        (b"{", 400, "BadRequest", "couldn't get version/kind; json parse error"),
        (b"[]", 400, "BadRequest", "couldn't get version/kind; json parse error"),
        ({"kind": "Pod", **named("n")}, 400, "BadRequest", 'Pod in version "v1" cannot be handled as a Secret'),
    ],
)
async def test_what_cannot_be_created(clients, one, body, code, reason, message):
    got, told = await clients.call("POST", SECRETS, body)
    assert got == code
    assert failure(told)[:2] == (code, reason)
    assert told["message"].startswith(message)
    if code == 422:
        assert told["details"]["kind"] == "Secret"
        assert all(cause.keys() == {"reason", "message", "field"} for cause in told["details"]["causes"])
    assert len((await clients.call("GET", SECRETS))[1]["items"]) == 1


async def test_a_namespace_that_is_not_there(clients):
    code, told = await clients.call("POST", SECRETS.replace("default", "nope"), named("n"))
    assert (code, *failure(told)) == (404, 404, "NotFound", 'namespaces "nope" not found')
    code, told = await clients.call("GET", ONE.replace("default", "nope"))
    assert (code, failure(told)[2]) == (404, 'secrets "one" not found')


async def test_a_field_nobody_knows(clients):
    body = named("n", dato={})
    code, told = await clients.call("POST", f"{SECRETS}?fieldValidation=Strict", body)
    assert code == 400
    assert told["message"].endswith('strict decoding error: unknown field "dato"')
    assert (await clients.call("POST", SECRETS, body))[0] == 201


async def test_put_with_the_version_that_was_read(clients, one):
    first = one | {"data": {"secret": b64("first")}}
    code, stored = await clients.call("PUT", ONE, first)
    assert code == 200
    assert int(stored["metadata"]["resourceVersion"]) > int(one["metadata"]["resourceVersion"])
    assert stored["metadata"]["uid"] == one["metadata"]["uid"]
    code, told = await clients.call("PUT", ONE, one | {"data": {"secret": b64("second")}})
    assert (code, *failure(told)) == (409, 409, "Conflict", MODIFIED)
    assert told["details"] == {"name": "one", "kind": "secrets"}
    assert (await clients.call("GET", ONE))[1] == stored


async def test_put_without_a_version_wins(clients, one):
    code, stored = await clients.call("PUT", ONE, named("one", stringData={"x": "y"}))
    assert (code, stored["data"]) == (200, {"x": b64("y")})


async def test_put_of_the_same_writes_nothing(clients, one):
    assert await clients.call("PUT", ONE, one) == (200, one)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (named("two"), 400, "the name of the object (two) does not match the name on the URL (one)"),
        ({}, 400, "name must be provided"),
        ({"metadata": {"name": "one", "uid": "x"}}, 409, "Precondition failed: UID in precondition: x, UID in object"),
        (named("one", type="other"), 422, 'type: Invalid value: "other": field is immutable'),
    ],
)
async def test_what_cannot_be_put(clients, one, body, code, message):
    got, told = await clients.call("PUT", ONE, body)
    assert (got, told["code"]) == (code, code)
    assert message in told["message"]


async def test_put_where_nothing_is(clients):
    code, told = await clients.call("PUT", ONE, named("one"))
    assert (code, failure(told)[2]) == (404, 'secrets "one" not found')


@pytest.mark.parametrize("content", [MERGE, STRATEGIC])
async def test_maps_are_merged_and_null_removes(clients, one, content):
    patch = {"stringData": {"new": "x"}, "metadata": {"annotations": {"a/b": "c", "d": "e"}, "labels": {"l": "m"}}}
    code, patched = await clients.call("PATCH", ONE, patch, content=content)
    assert (code, patched["data"]) == (200, {"secret": b64("old"), "new": b64("x")})
    patch = {"data": {"secret": None}, "metadata": {"annotations": {"d": None}, "labels": None}}
    code, patched = await clients.call("PATCH", ONE, patch, content=content)
    assert (code, patched["data"]) == (200, {"new": b64("x")})
    assert patched["metadata"]["annotations"] == {"a/b": "c"}
    assert "labels" not in patched["metadata"]


async def test_only_a_strategic_patch_merges_lists_and_takes_directives(clients, one):
    def owners(*uids):
        return {"metadata": {"ownerReferences": [{"uid": uid} for uid in uids], "finalizers": list(uids)}}

    await clients.call("PATCH", ONE, owners("a"), content=MERGE)
    patched = (await clients.call("PATCH", ONE, owners("b"), content=STRATEGIC))[1]["metadata"]
    assert (patched["ownerReferences"], patched["finalizers"]) == ([{"uid": "a"}, {"uid": "b"}], ["a", "b"])
    patched = (await clients.call("PATCH", ONE, owners("c"), content=MERGE))[1]["metadata"]
    assert (patched["ownerReferences"], patched["finalizers"]) == ([{"uid": "c"}], ["c"])
    patch = {"data": {"$patch": "replace", "only": b64("x")}}
    assert (await clients.call("PATCH", ONE, patch, content=STRATEGIC))[1]["data"] == {"only": b64("x")}


async def test_a_json_patch_with_a_test(clients, one):
    promote = [
        {"op": "test", "path": "/data/secret", "value": b64("old")},
        {"op": "copy", "from": "/data/secret", "path": "/data/previous"},
        {"op": "replace", "path": "/data/secret", "value": b64("new")},
        {"op": "add", "path": "/metadata/annotations", "value": {"state": "1"}},
    ]
    code, patched = await clients.call("PATCH", ONE, promote, content=JSON)
    assert (code, patched["data"]) == (200, {"secret": b64("new"), "previous": b64("old")})
    code, told = await clients.call("PATCH", ONE, promote, content=JSON)
    message = "the server rejected our request due to an error in our request"
    assert (code, *failure(told)) == (422, 422, "Invalid", message)
    assert (await clients.call("GET", ONE))[1] == patched


@pytest.mark.parametrize(
    ("content", "patch", "code"),
    [
        (JSON, [{"op": "remove", "path": "/data/nope"}], 422),
        (JSON, [{"op": "test", "path": "/metadata/annotations/x", "value": "1"}], 422),
        (JSON, [{"path": "/data"}], 422),
        (JSON, [{"op": "replace", "path": "", "value": 1}], 422),
        (JSON, {"op": "remove"}, 400),
        (JSON, b"[", 400),
        (MERGE, [], 400),
        (MERGE, b"", 400),
        (MERGE, {"metadata": {"annotations": {"x": 1}}}, 422),
        (MERGE, {"metadata": {"name": "two"}}, 422),
        (MERGE, {"type": "other"}, 422),
        ("application/json", {}, 415),
        ("application/apply-patch+yaml", b"a: b", 415),
    ],
)
async def test_patches_that_change_nothing(clients, one, content, patch, code):
    got, told = await clients.call("PATCH", ONE, patch, content=content)
    assert (got, told["code"]) == (code, code)
    assert (await clients.call("GET", ONE))[1] == one


@pytest.mark.parametrize("content", [MERGE, STRATEGIC])
async def test_a_patch_may_name_the_version_it_is_for(clients, one, content):
    def patch(version, value):
        return {"metadata": {"resourceVersion": version}, "stringData": {"secret": value}}

    version = one["metadata"]["resourceVersion"]
    code, patched = await clients.call("PATCH", ONE, patch(version, "a"), content=content)
    assert code == 200
    code, told = await clients.call("PATCH", ONE, patch(version, "b"), content=content)
    assert (code, *failure(told)) == (409, 409, "Conflict", MODIFIED)
    assert (await clients.call("PATCH", ONE, patch(patched["metadata"]["resourceVersion"], "c"), content=content))[
        0
    ] == 200


async def test_bad_base64_in_a_patch_is_told_with_the_whole_secret(clients, one):
    """What an apiserver does, and why nobody should log its messages."""
    code, told = await clients.call("PATCH", ONE, {"data": {"x": "!"}}, content=MERGE)
    assert (code, told["reason"]) == (422, "Invalid")
    assert told["message"].startswith(' "" is invalid: patch: Invalid value: "{')
    assert told["message"].endswith(": illegal base64 data at input byte 0")
    assert b64("old") in told["message"]


async def test_immutable_is_for_ever(clients, one):
    assert (await clients.call("PATCH", ONE, {"immutable": True}, content=MERGE))[0] == 200
    for patch in ({"stringData": {"secret": "new"}}, {"data": None}):
        code, told = await clients.call("PATCH", ONE, patch, content=MERGE)
        assert (code, *failure(told)) == (422, 422, "Invalid", FROZEN)
        cause = {"reason": "FieldValueForbidden", "message": FROZEN.partition("data: ")[2], "field": "data"}
        assert told["details"] == {"name": "one", "kind": "Secret", "causes": [cause]}
    code, told = await clients.call("PATCH", ONE, {"immutable": None}, content=MERGE)
    assert (code, told["details"]["causes"][0]["field"]) == (422, "immutable")
    assert (await clients.call("PATCH", ONE, {"metadata": {"labels": {"a": "b"}}}, content=MERGE))[0] == 200
    assert (await clients.call("DELETE", ONE))[0] == 200


async def test_delete_with_a_precondition(clients, one):
    code, told = await clients.call("DELETE", ONE, {"preconditions": {"uid": "other"}})
    assert (code, told["reason"]) == (409, "Conflict")
    assert (await clients.call("DELETE", ONE, {"preconditions": {"uid": one["metadata"]["uid"]}}))[0] == 200


async def test_a_dry_run_says_and_does_not(clients, one):
    code, told = await clients.call("POST", f"{SECRETS}?dryRun=All", named("two"))
    assert (code, told["metadata"]["name"]) == (201, "two")
    assert (await clients.call("PATCH", f"{ONE}?dryRun=All", {"data": None}, content=MERGE))[0] == 200
    assert (await clients.call("DELETE", f"{ONE}?dryRun=All"))[0] == 200
    assert (await clients.call("GET", SECRETS))[1]["items"] == [{n: one[n] for n in ("metadata", "data", "type")}]


RULES = (grant("secrets", "create"), grant("secrets", "get patch", names="one", namespace="default"))


class TestRights:
    @pytest.fixture
    async def cluster(self):
        users = (*DEFAULT_WORLD.users, User("split", "system:serviceaccount:default:split", RULES))
        async with DevCluster(World(pods=DEFAULT_WORLD.pods, users=users)) as running:
            yield running

    @pytest.mark.usefixtures("one")
    async def test_by_name(self, clients):
        """A role that names its object can't name what isn't there yet: create is a rule of its own."""
        assert (await clients.call("POST", SECRETS, named("two"), user="split"))[0] == 201
        assert (await clients.call("GET", ONE, user="split"))[0] == 200
        assert (await clients.call("PATCH", ONE, {}, content=MERGE, user="split"))[0] == 200
        for method, target in (("GET", f"{SECRETS}/two"), ("GET", SECRETS), ("DELETE", ONE), ("PUT", ONE)):
            code, told = await clients.call(method, target, named("one"), user="split")
            assert (code, told["reason"]) == (403, "Forbidden")
        who = 'User "system:serviceaccount:default:split"'
        where = 'resource "secrets" in API group "" in the namespace "default"'
        assert told["message"] == f'secrets "one" is forbidden: {who} cannot update {where}'
        assert (await clients.call("GET", ONE.replace("default", "other"), user="split"))[0] == 403

    @pytest.mark.usefixtures("one")
    async def test_one_that_is_taken_away(self, cluster, clients):
        cluster.faults.deny("patch", "secrets")
        code, told = await clients.call("PATCH", ONE, {}, content=MERGE, user="split")
        assert (code, told["reason"]) == (403, "Forbidden")
        cluster.faults.clear()
        assert (await clients.call("PATCH", ONE, {}, content=MERGE, user="split"))[0] == 200


async def test_a_request_that_is_refused_on_order(cluster, clients, one):
    cluster.faults.refuse_request("patch", "secrets", throttled(7), times=2)
    for _ in range(2):
        client = await clients.connect()
        await client.request(ONE, [*clients.headers(upgrade=False, offer=()), ("Content-Length", "0")], "PATCH")
        assert (client.code, client.headers["Retry-After"]) == (429, "7")
        assert await client.body() == b"Too many requests, please try again later.\n"
    assert (await clients.call("PATCH", ONE, {}, content=MERGE))[0] == 200
    assert cluster.observed.count("patch secrets") == 3


async def test_a_request_that_is_done_and_answered_late_on_order(cluster, clients, one):
    cluster.faults.answer_late("patch", "secrets", Response(504, b"{}"))
    data = {"data": {"late": "bGF0ZQ=="}}
    assert (await clients.call("PATCH", ONE, data, content=MERGE))[0] == 504
    assert (await clients.call("GET", ONE))[1]["data"]["late"] == data["data"]["late"]
    assert (await clients.call("PATCH", ONE, data, content=MERGE))[0] == 200
