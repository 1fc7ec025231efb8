"""docs/observed.md, "Impersonation": who may act as whom, in both ways, and what is refused."""

import pytest
from support import identities

from k8s_ws_proxy.devcluster import DevCluster, ForeignPod, Response, roles

SECRETS = "/api/v1/namespaces/default/secrets"
AUTHENTICATION = "authentication.k8s.io"


def acting(user="", *groups, **more):
    headers = [("Impersonate-User", user)] if user else []
    headers += [("Impersonate-Group", group) for group in groups]
    return headers + [(f"Impersonate-{name.replace('_', '-')}", value) for name, value in more.items()]


@pytest.fixture
async def cluster(request):
    """A cluster whose proxy has the roles of the test's class."""
    async with DevCluster(identities.world(*request.cls.roles)) as running:
        yield running


async def ask(clients, path, headers, **options):
    """Code and message of an exec, as the proxy."""
    client = await clients.ask(path("true", **options), user="proxy", extra=headers)
    return client.code, (await client.json())["message"] if client.code != 101 else ""


async def plain(clients, target, headers, method="GET"):
    code, told = await clients.call(method, target, user="proxy", extra=headers)
    return code, told.get("message", "")


class TestConstrained:
    roles = (identities.CONSTRAINED,)

    @pytest.mark.parametrize(
        ("who", "code"),
        [
            (acting("alice"), 101),
            (acting("bob"), 403),
            (acting("bob", identities.OPS), 101),
            (acting("bob", "other", identities.OPS), 101),
            (acting("bob", "a", "b", "c", "d", identities.OPS), 101),
        ],
    )
    async def test_exec_as_who_may(self, clients, path, who, code):
        found, message = await ask(clients, path, who)
        assert found == code
        assert not message or message.startswith(
            'pods "shell" is forbidden: User "bob" cannot get resource "pods/exec"'
        )

    async def test_its_own_exec_is_refused(self, clients, path):
        code, message = await ask(clients, path, [])
        assert (code, f'User "{identities.PROXY}" cannot get resource "pods/exec"' in message) == (403, True)

    @pytest.mark.parametrize("action", ["exec", "attach", "portforward", "log"])
    async def test_every_kind_of_session_as_alice(self, clients, path, action):
        target = path(pod="web", container="web", action=action, stdout="1") + "&ports=80"
        upgrade = {} if action != "log" else {"upgrade": False, "offer": ()}
        offer = {"offer": ["v4.channel.k8s.io"]} if action == "portforward" else {}
        for user, code in (("alice", 200 if action == "log" else 101), ("bob", 403)):
            client = await clients.ask(target, user="proxy", extra=acting(user), **upgrade, **offer)
            assert client.code == code
        assert 'User "bob" cannot get resource' in (await client.json())["message"]

    async def test_what_it_may_do_as_her_ends_where_its_own_rules_do(self, clients):
        assert (await plain(clients, "/api/v1/namespaces/default/pods/web", acting("alice")))[0] == 200
        assert (await clients.call("GET", SECRETS, user="alice"))[0] == 200
        where = 'in API group "" in the namespace "default"'
        for target, resource in ((SECRETS, "secrets"), ("/api/v1/namespaces/default/pods", "pods")):
            code, message = await plain(clients, target, acting("alice"))
            lacking = f'cannot impersonate-on:user-info:list resource "{resource}" {where}'
            assert (code, message) == (403, f'{resource} is forbidden: User "{identities.PROXY}" {lacking}')

    async def test_system_masters_is_refused(self, clients, path):
        where = 'resource "groups" in API group "authentication.k8s.io" at the cluster scope'
        code, message = await ask(clients, path, acting("alice", "system:masters"))
        assert code == 403
        assert message == (
            'groups.authentication.k8s.io "system:masters" is forbidden: '
            f'User "{identities.PROXY}" cannot impersonate:user-info {where}: '
            "impersonating the system:masters group is not allowed"
        )
        assert (await ask(clients, path, acting("alice", "")))[1].endswith("the empty string group is not allowed")

    @pytest.mark.parametrize(
        ("more", "lacking"),
        [
            ({"Uid": "7"}, 'uids.authentication.k8s.io "7"'),
            ({"Extra-Scopes": "all"}, 'userextras.authentication.k8s.io "all"'),
        ],
    )
    async def test_a_uid_and_extras_need_rights_of_their_own(self, cluster, clients, path, more, lacking):
        code, message = await ask(clients, path, acting("alice", **more))
        assert (code, message.startswith(f"{lacking} is forbidden: User")) == (403, True)
        rule = roles.rule("uids userextras/scopes", "impersonate:user-info", group=AUTHENTICATION)
        role = roles.cluster_role("more", rule)
        for each in (role, roles.bind(role, roles.service_account("default", "k8s-ws-proxy"))):
            cluster.state.grant(each)
        assert (await ask(clients, path, acting("alice", **more)))[0] == 101

    async def test_other_kinds_of_users_have_modes_of_their_own(self, cluster, clients, path):
        account = "system:serviceaccount:default:nobody"
        code, message = await ask(clients, path, acting(account))
        assert (code, "cannot impersonate-on:serviceaccount:get resource" in message) == (403, True)
        code, message = await ask(clients, path, acting("system:node:n1"))
        assert (code, "cannot impersonate-on:arbitrary-node:get resource" in message) == (403, True)
        # With groups no mode is theirs, and what is left is the classic one.
        code, message = await ask(clients, path, acting(account, "x"))
        assert (code, 'cannot impersonate resource "serviceaccounts" in API group ""' in message) == (403, True)
        role = roles.cluster_role(
            "as-account",
            roles.rule("serviceaccounts", "impersonate:serviceaccount", group=AUTHENTICATION, names="nobody"),
            roles.rule("pods/exec", "impersonate-on:serviceaccount:get"),
        )
        members = roles.group("system:serviceaccounts:default")
        for each in (
            role,
            roles.bind(role, roles.service_account("default", "k8s-ws-proxy")),
            roles.bind(identities.OPERATE, members, name="accounts"),
        ):
            cluster.state.grant(each)
        assert (await ask(clients, path, acting(account)))[0] == 101

    async def test_get_is_enough_to_act_and_the_user_needs_create(self, cluster, clients, path):
        """The second check is the user's alone: `impersonate-on:user-info:create` is never asked for by a GET."""
        rules = [
            roles.rule("users", "impersonate:user-info", group=AUTHENTICATION),
            roles.rule("pods/exec", "impersonate-on:user-info:get"),
        ]
        cluster.state.grant(roles.cluster_role("k8s-ws-proxy-impersonator", *rules))
        assert (await ask(clients, path, acting("alice")))[0] == 101
        cluster.state.grant(roles.role("default", "getter", roles.rule("pods/exec", "get")))
        cluster.state.grant(roles.bind(roles.role("default", "getter"), roles.user("bob")))
        assert await ask(clients, path, acting("bob")) == (403, 'pods "shell" is forbidden: ')


class TestClassic:
    roles = (identities.CLASSIC,)

    async def test_everything_that_she_may(self, clients, path):
        assert (await ask(clients, path, acting("alice")))[0] == 101
        assert (await plain(clients, SECRETS, acting("alice")))[0] == 200
        code, message = await ask(clients, path, acting("bob"))
        assert (code, 'User "bob" cannot get resource "pods/exec"' in message) == (403, True)
        assert (await ask(clients, path, acting("bob", identities.OPS)))[0] == 101

    async def test_who_may_act_as_groups_becomes_master(self, clients, path):
        masters = acting("nobody-at-all", "system:masters")
        assert (await ask(clients, path, masters, namespace="team-a", pod="web", container=""))[0] == 101
        assert (await plain(clients, "/api/v1/secrets", masters))[0] == 200

    async def test_service_accounts_are_a_right_of_their_own(self, cluster, clients, path):
        account = acting("system:serviceaccount:default:get-only")
        code, message = await ask(clients, path, account)
        assert (code, "cannot impersonate-on:serviceaccount:get" in message) == (403, True)
        role = roles.role("default", "as-one", roles.rule("serviceaccounts", "impersonate", names="get-only"))
        cluster.state.grant(role)
        cluster.state.grant(roles.bind(role, roles.service_account("default", "k8s-ws-proxy")))
        assert (await ask(clients, path, account)) == (403, 'pods "shell" is forbidden: ')  # it may get, not create
        code, message = await ask(clients, path, acting("system:serviceaccount:default:nobody"))
        assert (code, "impersonate-on" in message) == (403, True)

    async def test_the_names_of_whom_it_may_act_as(self, cluster, clients, path):
        rules = [roles.rule("users", "impersonate", names="alice"), roles.rule("groups", "impersonate", names="dev")]
        cluster.state.grant(roles.cluster_role("k8s-ws-proxy-impersonator", *rules))
        assert (await ask(clients, path, acting("alice")))[0] == 101
        assert (await ask(clients, path, acting("alice", "dev")))[0] == 101
        for who in (acting("bob"), acting("alice", identities.OPS), acting("alice", "dev", "system:masters")):
            code, message = await ask(clients, path, who)
            # Of all refusals the first is told, and that is the constrained way's.
            assert (code, "cannot impersonate-on:user-info:get" in message) == (403, True)


class TestHeaders:
    roles = (identities.CLASSIC,)

    @pytest.mark.parametrize(
        ("headers", "uid", "groups", "extra"),
        [
            (acting("", "ops", "dev"), "", '{"ops", "dev"}', "(nil)"),
            (acting("", Uid="7"), "7", "(nil)", "(nil)"),
            (acting("", Extra_Scopes="all"), "", "(nil)", '{"scopes":[]string{"all"}}'),
        ],
    )
    async def test_without_a_user_they_mean_nobody(self, clients, path, headers, uid, groups, extra):
        code, message = await ask(clients, path, headers)
        told = f'&user.DefaultInfo{{Name:"", UID:"{uid}", Groups:[]string{groups}, Extra:map[string][]string{extra}}}'
        assert (code, message) == (400, f"requested {told} without impersonating a user name")

    @pytest.mark.parametrize(
        ("headers", "seen"),
        [
            (acting("alice"), ["system:authenticated"]),
            (acting("alice", "dev"), ["dev", "system:authenticated"]),
            (acting("alice", "a, b", "c"), ["a, b", "c", "system:authenticated"]),
            (acting("alice", "system:authenticated"), ["system:authenticated"]),
            (acting("alice", "system:unauthenticated"), ["system:unauthenticated"]),
            (acting("system:anonymous"), ["system:unauthenticated"]),
        ],
    )
    async def test_groups_that_come_by_themselves(self, cluster, clients, path, headers, seen):
        await ask(clients, path, headers)
        assert cluster.audit.events[-1]["impersonatedUser"]["groups"] == seen

    async def test_discovery_as_somebody(self, cluster, clients):
        assert (await plain(clients, "/apis", acting("alice")))[0] == 200
        assert cluster.audit.events[-1]["impersonatedUser"]["username"] == "alice"
        client = await clients.ask("/apis", user="bob", upgrade=False, offer=(), extra=acting("alice"))
        told = await client.json()
        assert (client.code, told["message"]) == (
            403,
            'forbidden: User "bob" cannot impersonate-on:user-info:get path "/apis"',
        )

    async def test_whoever_is_behind_the_apiserver_does_not_see_them(self, cluster, clients):
        seen = []

        async def pod(request):
            seen.append(request.headers)
            return Response(200, b"{}")

        cluster.state.add_pod(ForeignPod("peer", ports={8080: pod}))
        headers = acting("kubernetes-admin")
        target = "/api/v1/namespaces/default/pods/peer:8080/proxy/keys"
        assert (await plain(clients, target, headers))[0] == 200
        assert not [name for name, _ in seen[0] if name.startswith("impersonate")]
