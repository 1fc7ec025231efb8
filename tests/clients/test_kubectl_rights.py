"""kubectl, as it is released, on the embedded cluster's roles, impersonation and reviews."""

import pytest
import yaml
from support import identities
from support.kubectl import start

from k8s_ws_proxy.devcluster import DevCluster, roles


@pytest.fixture
async def cluster():
    async with DevCluster(identities.world(identities.CONSTRAINED, identities.REVIEWS)) as running:
        yield running


@pytest.fixture
def kubectl(cluster, tmp_path):
    async def run(*arguments, stdin=b"", user="admin"):
        file = cluster.write_kubeconfig(tmp_path / f"{user}.kubeconfig", user)
        program = await start(file, tmp_path, *arguments, stdin=-1, stdout=-1, stderr=-1)
        stdout, stderr = await program.communicate(stdin)
        return program.returncode, stdout.decode(), stderr.decode()

    return run


async def test_a_role_that_kubectl_makes_and_binds(kubectl):
    exec_ = ("exec", "web", "--", "true")
    assert (await kubectl(*exec_, user="bob"))[0] == 1
    verbs = ("--verb=get,create", "--resource=pods/exec")
    for arguments, said in (
        (("create", "role", "exec", *verbs), "role.rbac.authorization.k8s.io/exec created\n"),
        (("create", "clusterrole", "see", "--verb=get", "--resource=pods"), None),
        (("create", "rolebinding", "exec", "--role=exec", "--user=bob"), None),
        (("create", "clusterrolebinding", "see", "--clusterrole=see", "--user=bob"), None),
    ):
        code, stdout, stderr = await kubectl(*arguments)
        assert (code, stderr) == (0, "")
        assert said in {None, stdout}
    assert await kubectl(*exec_, user="bob") == (0, "", "")
    assert (await kubectl("delete", "rolebinding", "exec"))[0] == 0
    assert (await kubectl(*exec_, user="bob"))[0] == 1


async def test_a_manifest_that_is_applied(kubectl):
    documents = [each for each in identities.BINDINGS if each["metadata"]["name"] == "secret-reader"]
    for _ in range(2):
        code, stdout, stderr = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents).encode())
        assert (code, "last-applied" not in stderr or "will be patched automatically" in stderr) == (0, True)
    assert stdout.splitlines() == [
        "role.rbac.authorization.k8s.io/secret-reader unchanged",
        "rolebinding.rbac.authorization.k8s.io/secret-reader unchanged",
    ]


async def test_as_somebody(kubectl, cluster):
    code, _, stderr = await kubectl("--as=alice", "exec", "web", "--", "true", user="proxy")
    assert (code, "Couldn't get current server API group list" in stderr) == (1, True)
    # kubectl asks what there is first, as alice, and that isn't in the constrained rules.
    paths = {"nonResourceURLs": ["/api", "/apis", "/api/*", "/apis/*"], "verbs": ["impersonate-on:user-info:get"]}
    role = roles.cluster_role("discover-as", paths)
    cluster.state.grant(role)
    cluster.state.grant(roles.bind(role, roles.user(identities.PROXY)))
    for flags, code in (
        (("--as=alice",), 0),
        (("--as=bob",), 1),
        (("--as=bob", f"--as-group={identities.OPS}"), 0),
        ((), 1),
    ):
        assert (await kubectl(*flags, "exec", "web", "--", "true", user="proxy"))[0] == code
    code, _, stderr = await kubectl("--as=alice", "get", "secrets", user="proxy")
    assert (code, 'cannot impersonate-on:user-info:list resource "secrets"' in stderr) == (1, True)


EXEC = ("create", "pods", "--subresource=exec")


@pytest.mark.parametrize(
    ("arguments", "user", "answer"),
    [
        (EXEC, "alice", "yes"),
        (EXEC, "bob", "no"),
        ((*EXEC, "-n", "team-a"), "alice", "no"),
        ((*EXEC, "-n", "team-a"), "ops", "yes"),
        (("get", "/api"), "bob", "yes"),
        (("*", "*"), "admin", "yes"),
        ((*EXEC, "--as=alice"), "admin", "yes"),
        ((*EXEC, "--as=bob"), "admin", "no"),
        ((*EXEC, "--as=bob", f"--as-group={identities.OPS}"), "admin", "yes"),
    ],
)
async def test_auth_can_i(kubectl, arguments, user, answer):
    code, stdout, _ = await kubectl("auth", "can-i", *arguments, user=user)
    assert (code, stdout) == (0 if answer == "yes" else 1, f"{answer}\n")
