"""Lists, selectors, pages, and the DaemonSet whose pods run elsewhere."""

import asyncio
from urllib.parse import urlencode

import pytest
from kubernetes import client as kube
from kubernetes import config as kube_config

from k8s_ws_proxy.devcluster import DaemonSet, ForeignPod, Phase
from k8s_ws_proxy.devcluster.status import Failed

LABELS = {"app": "proxy", "tier": "node"}
PODS = "/api/v1/namespaces/default/pods"


def pod(number, **fields):
    return ForeignPod(f"proxy-{number:04}", labels=LABELS, node=f"node-{number:04}", daemonset="proxy", **fields)


@pytest.fixture
def proxies(cluster):
    """A DaemonSet with ten pods."""
    cluster.state.add_daemonset(DaemonSet("proxy", labels=LABELS, annotations={"a": "b"}))
    return [cluster.state.add_pod(pod(number)) for number in range(10)]


async def names(clients, **query):
    code, listed = await clients.call("GET", f"{PODS}?{urlencode(query)}")
    assert (code, listed["kind"]) == (200, "PodList")
    return [item["metadata"]["name"] for item in listed["items"]]


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"labelSelector": "app=proxy,tier==node", "fieldSelector": "spec.nodeName=node-0003"}, ["proxy-0003"]),
        ({"labelSelector": "app in (web, other)"}, ["web"]),
        ({"labelSelector": "app,app notin (proxy)"}, ["web"]),
        ({"labelSelector": "!app", "fieldSelector": "status.phase=Pending"}, ["pending"]),
        ({"labelSelector": "app!=proxy", "fieldSelector": "status.phase!=Running"}, ["pending", "quick"]),
        ({"fieldSelector": "metadata.name=web,metadata.namespace=default"}, ["web"]),
        ({"fieldSelector": "metadata.name=nope"}, []),
    ],
)
async def test_selectors(clients, query, wanted):
    assert await names(clients, **query) == wanted


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"labelSelector": "app web"}, "unable to parse requirement: found 'app web'"),
        ({"labelSelector": "app in web"}, "unable to parse requirement: found 'app in web'"),
        ({"fieldSelector": "spec.image=x"}, "field label not supported: spec.image"),
        ({"fieldSelector": "name"}, "invalid selector: 'name'; can't understand 'name'"),
        ({"limit": "ten"}, 'strconv.ParseInt: parsing "ten": invalid syntax'),
        ({"continue": "nonsense"}, "continue key is not valid: "),
    ],
)
async def test_lists_that_cannot_be(clients, query, message):
    code, told = await clients.call("GET", f"{PODS}?{urlencode(query)}")
    assert (code, told["reason"]) == (400, "BadRequest")
    assert told["message"].startswith(message)


async def test_pages_are_of_one_moment(cluster, clients, proxies):
    query = {"limit": 4, "labelSelector": "app=proxy"}
    seen, versions = [], set()
    while query.get("continue") != "":
        code, listed = await clients.call("GET", f"{PODS}?{urlencode(query)}")
        assert (code, len(listed["items"]) <= 4) == (200, True)
        assert "remainingItemCount" not in listed["metadata"], "with a selector nobody knows it"
        seen += [item["metadata"]["name"] for item in listed["items"]]
        versions.add(listed["metadata"]["resourceVersion"])
        query["continue"] = listed["metadata"].get("continue", "")
        if len(seen) == 4:
            cluster.state.add_pod(pod(99))
            cluster.state.remove_pod("default", "proxy-0008")
    assert seen == [made["metadata"]["name"] for made in proxies]
    assert len(versions) == 1
    now = await names(clients, labelSelector="app=proxy")
    assert (len(now), now[-1], "proxy-0008" in now) == (10, "proxy-0099", False)


@pytest.mark.usefixtures("proxies")
async def test_a_page_that_comes_too_late(cluster, clients):
    code, listed = await clients.call("GET", f"{PODS}?limit=14")
    assert (code, listed["metadata"]["remainingItemCount"]) == (200, 2)
    cluster.state.remove_pod("default", "proxy-0000")
    cluster.state.store.compact()
    code, told = await clients.call("GET", f"{PODS}?limit=14&continue={listed['metadata']['continue']}")
    assert (code, told["code"], told["reason"]) == (410, 410, "Expired")
    assert told["message"].startswith("The provided continue parameter is too old to display a consistent list result.")
    code, rest = await clients.call("GET", f"{PODS}?limit=14&continue={told['metadata']['continue']}")
    assert (code, [item["metadata"]["name"] for item in rest["items"]]) == (200, ["term", "web"])


async def test_all_namespaces(clients):
    code, listed = await clients.call("GET", "/api/v1/pods?labelSelector=app%3Dweb")
    assert code == 200
    assert [item["metadata"]["namespace"] for item in listed["items"]] == ["default", "team-a"]
    code, listed = await clients.call("GET", "/api/v1/namespaces")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["default", "team-a"]


async def test_a_pod_says_who_owns_it_and_where_it_is(cluster, clients, proxies):
    code, found = await clients.call("GET", f"{PODS}/proxy-0003")
    assert (code, found) == (200, proxies[3])
    (owner,) = found["metadata"]["ownerReferences"]
    daemonset = (await clients.call("GET", "/apis/apps/v1/namespaces/default/daemonsets/proxy"))[1]
    assert owner == {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "name": "proxy",
        "uid": daemonset["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert found["spec"]["nodeName"] == "node-0003"
    assert len({made["status"]["podIP"] for made in proxies}) == len(proxies)
    cluster.state.add_pod(pod(3, phase=Phase.PENDING))
    again = (await clients.call("GET", f"{PODS}/proxy-0003"))[1]
    assert again["metadata"]["uid"] != found["metadata"]["uid"]
    assert "podIP" not in again["status"]


@pytest.mark.usefixtures("proxies")
async def test_a_daemonsets_status_is_that_of_its_pods(cluster, clients):
    for number, fields in enumerate(({"ready": False}, {"phase": Phase.PENDING})):
        cluster.state.add_pod(pod(number, **fields))
    code, listed = await clients.call("GET", "/apis/apps/v1/daemonsets")
    assert (code, listed["kind"], listed["apiVersion"]) == (200, "DaemonSetList", "apps/v1")
    (daemonset,) = listed["items"]
    assert daemonset["spec"]["selector"] == {"matchLabels": LABELS}
    assert daemonset["metadata"]["annotations"] == {"a": "b"}
    counts = {name: value for name, value in daemonset["status"].items() if name.startswith(("desired", "number"))}
    assert counts == {
        "desiredNumberScheduled": 10,
        "numberReady": 8,
        "numberAvailable": 8,
        "numberUnavailable": 2,
        "numberMisscheduled": 0,
    }


async def test_names_that_are_not_there_and_methods_that_are_not(cluster, clients):
    code, told = await clients.call("GET", "/apis/apps/v1/namespaces/default/daemonsets/nope")
    assert (code, told["message"]) == (404, 'daemonsets.apps "nope" not found')
    assert told["details"] == {"name": "nope", "group": "apps", "kind": "daemonsets"}
    code, told = await clients.call("GET", "/apis/apps/v1/daemonsets", user="nobody")
    assert told["message"].startswith("daemonsets.apps is forbidden: User ")
    assert told["message"].endswith('cannot list resource "daemonsets" in API group "apps" at the cluster scope')
    assert (await clients.call("DELETE", f"{PODS}/web"))[0] == 405
    assert (await clients.call("GET", f"{PODS}?watch=1"))[0] == 405
    with pytest.raises(Failed, match="not found"):
        cluster.state.add_pod(ForeignPod("x", daemonset="nope"))


@pytest.mark.usefixtures("proxies")
async def test_a_foreign_pod_has_no_kubelet_here(clients, path):
    client = await clients.ask(path("true", pod="proxy-0000", container=""))
    assert client.code == 500
    assert (await client.json())["message"].startswith("error dialing backend: ")


@pytest.mark.usefixtures("proxies")
async def test_the_kubernetes_package_reads_all_of_it(cluster, tmp_path):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig")

    def ask():
        configuration = kube.Configuration()
        kube_config.load_kube_config(str(file), client_configuration=configuration)
        with kube.ApiClient(configuration) as api:
            core = kube.CoreV1Api(api)
            core.create_namespaced_secret("default", kube.V1Secret(metadata={"name": "s"}, string_data={"a": "b"}))
            first = core.list_namespaced_pod("default", limit=3, label_selector="app=proxy")
            rest = core.list_namespaced_pod("default", label_selector="app=proxy", _continue=first.metadata._continue)
            daemonset = kube.AppsV1Api(api).read_namespaced_daemon_set("proxy", "default")
            secret = core.patch_namespaced_secret("s", "default", {"stringData": {"a": "c"}})
            return len(first.items), len(rest.items), daemonset.status.number_ready, secret.data["a"]

    assert await asyncio.to_thread(ask) == (3, 7, 10, "Yw==")
