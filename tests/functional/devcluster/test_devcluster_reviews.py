"""docs/observed.md, "Reviews": what others may is answered by what decides about them."""

import asyncio

import pytest
from kubernetes import client as kube
from kubernetes import config as kube_config
from support import identities

from k8s_ws_proxy.devcluster import DevCluster

TARGET = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
SELF = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.fixture
async def cluster():
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as running:
        yield running


def review(verb, resource, *, user="", groups=(), namespace="default", group="", name=""):
    plural, _, subresource = resource.partition("/")
    wanted = {"verb": verb, "resource": plural, "subresource": subresource, "namespace": namespace}
    wanted |= {"group": group, "name": name}
    return {"spec": {"user": user, "groups": list(groups), "resourceAttributes": wanted}}


async def allowed(clients, document):
    code, told = await clients.call("POST", TARGET, document, user="proxy")
    assert (code, told["kind"], told["apiVersion"]) == (201, "SubjectAccessReview", "authorization.k8s.io/v1")
    return told["status"]["allowed"]


async def test_an_operator_may_and_a_viewer_may_not(clients):
    assert await allowed(clients, review("create", "pods/exec", user="alice", name="shell"))
    assert not await allowed(clients, review("create", "pods/exec", user="bob", name="shell"))
    assert not await allowed(clients, review("create", "pods/exec", user="alice", namespace="team-a"))
    assert await allowed(clients, review("create", "pods/exec", user="bob", groups=[identities.OPS]))


@pytest.mark.parametrize("verb", ["list", "get", "watch", "update", "delete"])
async def test_a_resource_that_nobody_has_defined(clients, verb):
    sessions = {"resource": "sessions", "group": "terminal.openova.io"}
    assert await allowed(clients, review(verb, user="x", groups=[identities.OPS], **sessions))
    assert not await allowed(clients, review(verb, user="alice", **sessions))
    assert not await allowed(clients, review("create", user="x", groups=[identities.OPS], **sessions))


async def test_the_reason_is_told(clients):
    told = (await clients.call("POST", TARGET, review("get", "pods/exec", user="alice"), user="proxy"))[1]
    why = 'RBAC: allowed by RoleBinding "pod-operator/default" of ClusterRole "pod-operator" to User "alice"'
    assert told["status"] == {"allowed": True, "reason": why}
    assert told["spec"]["user"] == "alice"
    told = (await clients.call("POST", TARGET, review("get", "pods/exec", user="bob"), user="proxy"))[1]
    assert told["status"] == {"allowed": False}


async def test_groups_are_those_that_the_review_names(cluster, clients):
    """Not even system:authenticated is added, which a request of the same user would have."""
    own = review("create", "selfsubjectaccessreviews", user="bob", group="authorization.k8s.io", namespace="")
    assert not await allowed(clients, own)
    own["spec"]["groups"] = ["system:authenticated"]
    assert await allowed(clients, own)


async def test_masters_may_everything_without_a_reason(clients):
    told = (await clients.call("POST", TARGET, review("delete", "x", groups=["system:masters"]), user="proxy"))[1]
    assert told["status"] == {"allowed": True}


async def test_a_path(clients):
    asked = {"spec": {"groups": ["system:authenticated"], "nonResourceAttributes": {"path": "/apis", "verb": "get"}}}
    assert await allowed(clients, asked)
    asked["spec"]["nonResourceAttributes"]["path"] = "/metrics"
    assert not await allowed(clients, asked)


async def test_asking_about_others_is_a_right_of_its_own(clients):
    code, told = await clients.call("POST", TARGET, review("get", "pods", user="alice"), user="alice")
    assert code == 403
    assert told["message"] == (
        'subjectaccessreviews.authorization.k8s.io is forbidden: User "alice" cannot create resource '
        '"subjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope'
    )


async def test_everybody_may_ask_about_himself(clients):
    for who, expected in (("alice", True), ("bob", False)):
        code, told = await clients.call("POST", SELF, review("get", "pods/exec"), user=who)
        assert (code, told["kind"], told["status"]["allowed"]) == (201, "SelfSubjectAccessReview", expected)
    assert (await clients.call("POST", SELF, review("get", "pods"), user=None))[0] == 403


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        ({}, 422, "at least one of user or group must be specified"),
        ({"spec": {"user": "x"}}, 422, "exactly one of nonResourceAttributes or resourceAttributes"),
        (
            {"spec": {"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {}}},
            422,
            "cannot be specified in combination with resourceAttributes",
        ),
        ({"kind": "Secret"}, 400, "cannot be handled as a SubjectAccessReview"),
        ([], 400, "json parse error"),
    ],
)
async def test_what_is_no_review(clients, document, code, text):
    found, told = await clients.call("POST", TARGET, document, user="proxy")
    assert (found, text in told["message"]) == (code, True)


async def test_a_review_cannot_be_read(clients):
    code, told = await clients.call("GET", TARGET)
    assert (code, told["reason"]) == (405, "MethodNotAllowed")


async def test_the_official_client_asks(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy")

    def ask():
        configuration = kube.Configuration()
        kube_config.load_kube_config(str(file), client_configuration=configuration)
        attributes = kube.V1ResourceAttributes(verb="create", resource="pods", subresource="exec", namespace="default")
        spec = kube.V1SubjectAccessReviewSpec(user="alice", resource_attributes=attributes)
        with kube.ApiClient(configuration) as api:
            reviews = kube.AuthorizationV1Api(api)
            return reviews.create_subject_access_review(kube.V1SubjectAccessReview(spec=spec)).status.allowed

    assert await asyncio.to_thread(ask)
