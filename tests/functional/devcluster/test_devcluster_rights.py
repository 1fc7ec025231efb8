"""docs/observed.md, "Rights": roles and bindings as objects, which come and go."""

import asyncio

import pytest
from kubernetes import client as kube
from kubernetes import config as kube_config
from kubernetes.client.exceptions import ApiException
from support import identities

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, DevCluster, User, World, roles

RBAC = "/apis/rbac.authorization.k8s.io/v1"
IN_DEFAULT = f"{RBAC}/namespaces/default"
ROLE = {"metadata": {"name": "exec"}, "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]}
BOUND = {
    "metadata": {"name": "exec"},
    "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bob"}],
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "exec"},
}


@pytest.fixture
async def cluster():
    async with DevCluster(identities.world(identities.CONSTRAINED)) as running:
        yield running


async def refusal(client):
    assert client.code == 403
    return (await client.json())["message"]


@pytest.mark.parametrize(
    ("who", "namespace", "code"),
    [
        ("alice", "default", 101),
        ("alice", "team-a", 403),
        ("bob", "default", 403),
        ("ops", "default", 101),
        ("ops", "team-a", 101),
        ("proxy", "default", 403),
        ("admin", "team-a", 101),
    ],
)
async def test_exec_by_roles_that_are_bound(clients, path, who, namespace, code):
    client = await clients.ask(path("true", pod="web", container="", namespace=namespace), user=who)
    assert client.code == code


async def test_a_refusal_names_user_resource_and_namespace(clients, path):
    assert await refusal(await clients.ask(path("true"), user="bob")) == (
        'pods "shell" is forbidden: User "bob" cannot get resource "pods/exec" in API group "" '
        'in the namespace "default"'
    )


async def test_roles_and_bindings_come_and_go_by_the_api(clients, path):
    created = []
    for target, document in ((f"{IN_DEFAULT}/roles", ROLE), (f"{IN_DEFAULT}/rolebindings", BOUND)):
        assert (await clients.ask(path("true"), user="bob")).code == 403
        code, told = await clients.call("POST", target, document)
        assert (code, told["metadata"]["namespace"]) == (201, "default")
        created.append(told["kind"])
    assert created == ["Role", "RoleBinding"]
    # `get` alone passes the first check; the second one has no reason to give.
    assert await refusal(await clients.ask(path("true"), user="bob")) == 'pods "shell" is forbidden: '
    both = ROLE | {"rules": [ROLE["rules"][0] | {"verbs": ["get", "create"]}]}
    assert (await clients.call("PUT", f"{IN_DEFAULT}/roles/exec", both))[0] == 200
    assert (await clients.ask(path("true"), user="bob")).code == 101
    assert (await clients.call("DELETE", f"{IN_DEFAULT}/roles/exec"))[0] == 200
    message = await refusal(await clients.ask(path("true"), user="bob"))
    assert message.endswith('in the namespace "default": RBAC: role.rbac.authorization.k8s.io "exec" not found')
    assert (await clients.call("DELETE", f"{IN_DEFAULT}/rolebindings/exec"))[0] == 200
    assert "RBAC" not in await refusal(await clients.ask(path("true"), user="bob"))


async def test_a_binding_stays_with_its_role(clients):
    assert (await clients.call("POST", f"{IN_DEFAULT}/rolebindings", BOUND))[0] == 201
    other = BOUND | {"roleRef": BOUND["roleRef"] | {"name": "other"}}
    code, told = await clients.call("PUT", f"{IN_DEFAULT}/rolebindings/exec", other)
    assert (code, told["reason"]) == (422, "Invalid")
    assert "cannot change roleRef" in told["message"]


@pytest.mark.parametrize(
    ("plural", "document", "code"),
    [
        ("clusterrolebindings", BOUND, 422),
        ("clusterroles", {"metadata": {"name": "x"}, "rules": [{"resources": ["pods"]}]}, 422),
        ("clusterroles", {"metadata": {"name": "x"}, "rules": [{"verbs": "get"}]}, 400),
        ("clusterroles", {"metadata": {"name": "x"}, "rules": {}}, 400),
        ("clusterroles", {"metadata": {"name": "x"}, "rules": ["get"]}, 400),
        ("clusterroles", {"rules": []}, 422),
        ("clusterroles", {"metadata": {"name": "x"}, "kind": "Role"}, 400),
        ("clusterrolebindings", {"metadata": {"name": "x"}, "subjects": [{"kind": "Robot"}]}, 422),
    ],
)
async def test_what_is_no_role_and_no_binding(clients, plural, document, code):
    assert (await clients.call("POST", f"{RBAC}/{plural}", document))[0] == code


async def test_they_are_put_in_and_taken_away_from_python(cluster, clients, path):
    made = roles.role("default", "exec", roles.rule("pods/exec", "get create", names="shell"))
    binding = roles.bind(made, roles.user("bob"))
    cluster.state.grant(made)
    cluster.state.grant(binding)
    assert (await clients.ask(path("true"), user="bob")).code == 101
    assert (await clients.ask(path("true", pod="web", container=""), user="bob")).code == 403
    cluster.state.grant(roles.role("default", "exec"))  # in the place of its namesake
    assert (await clients.ask(path("true"), user="bob")).code == 403
    cluster.state.revoke(binding)
    listed = (await clients.call("GET", f"{IN_DEFAULT}/rolebindings"))[1]["items"]
    assert [each["metadata"]["name"] for each in listed] == ["pod-operator", "secret-reader"]


def official(cluster, user, *, certificate=False):
    """The official client, as this user; awaited, a call of it is the answer's status."""
    file = cluster.write_kubeconfig(cluster.ca_file.parent / f"{user}.kubeconfig", user, certificate=certificate)

    def call(method, *arguments):
        configuration = kube.Configuration()
        kube_config.load_kube_config(str(file), client_configuration=configuration)
        with kube.ApiClient(configuration) as api:
            try:
                getattr(kube.CoreV1Api(api), method)(*arguments)
            except ApiException as refused:
                return refused.status
            return 200

    return lambda *arguments: asyncio.to_thread(call, *arguments)


async def test_a_users_own_grants_and_its_roles_add_up():
    users = (*DEFAULT_WORLD.users, User("both", "both", DEFAULT_WORLD.user("proxy").grants[:1]))
    made = roles.cluster_role("namespaces", roles.rule("namespaces", "get"))
    world = World(DEFAULT_WORLD.pods, users, rbac=(made, roles.bind(made, roles.user("both"))))
    async with DevCluster(world) as cluster:
        both = official(cluster, "both")
        assert await both("read_namespaced_pod", "web", "default") == 200
        assert await both("read_namespace", "default") == 200
        assert await official(cluster, "proxy")("read_namespace", "default") == 403


@pytest.mark.parametrize("certificate", [False, True], ids=["token", "certificate"])
async def test_a_tokens_groups_and_a_certificates_organizations(cluster, certificate):
    for user, code in (("ops", 200), ("alice", 403)):
        client = official(cluster, user, certificate=certificate)
        assert await client("read_namespaced_pod", "web", "team-a") == code


@pytest.mark.parametrize("certificate", [False, True], ids=["token", "certificate"])
async def test_a_master_may_everything_without_a_role(certificate):
    users = (User("root", "whoever", groups=("dev", "system:masters")),)
    async with DevCluster(World(DEFAULT_WORLD.pods, users, ("default", "team-a"))) as cluster:
        root = official(cluster, "root", certificate=certificate)
        assert await root("read_namespace", "default") == 200
        assert await root("list_secret_for_all_namespaces") == 200
        event = cluster.audit.events[-1]
        assert event["user"] == {"username": "whoever", "groups": ["dev", "system:masters", "system:authenticated"]}
        assert event["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}


@pytest.mark.parametrize(
    ("group", "proxy", "alice", "anonymous"),
    [
        ("system:authenticated", 200, 200, 403),
        ("system:serviceaccounts", 200, 403, 403),
        ("system:serviceaccounts:default", 200, 403, 403),
        ("system:serviceaccounts:other", 403, 403, 403),
        ("system:unauthenticated", 403, 403, 200),
    ],
)
async def test_groups_that_come_by_themselves(cluster, clients, group, proxy, alice, anonymous):
    made = roles.cluster_role("see", roles.rule("namespaces", "get"))
    for each in (made, roles.bind(made, roles.group(group))):
        cluster.state.grant(each)
    for who, code in (("proxy", proxy), ("alice", alice), (None, anonymous)):
        client = await clients.ask("/api/v1/namespaces/default", user=who, upgrade=False, offer=())
        assert client.code == code


async def test_a_right_that_is_taken_away_is_taken_from_all(cluster, clients, path):
    cluster.faults.deny("create", "pods/exec")
    assert (await clients.ask(path("true"), user="admin")).code == 403
