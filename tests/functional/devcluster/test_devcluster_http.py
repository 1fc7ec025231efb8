"""The apiserver's plain side: who may ask, what there is, and requests that are none."""

import asyncio
import json
import socket
import ssl
import stat

import pytest
from kubernetes import client as kube
from kubernetes import config as kube_config

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, DevCluster


async def get(clients, target, **options):
    client = await clients.ask(target, upgrade=False, offer=(), **options)
    return client.code, await client.body()


async def test_a_connection_carries_one_request_after_another(clients, path):
    client = await clients.connect()
    for target, code in (("/version", 200), ("/nope", 404), (path("true", pod="nope"), 404), ("/readyz", 200)):
        await client.request(target, clients.headers())
        await client.body()
        assert client.code == code
    await client.request(path("true"), clients.headers())
    assert client.code == 101
    assert (await client.rest()).exit_code == 0


async def test_a_body_nobody_asked_for_is_dropped(clients):
    client = await clients.connect()
    head = "GET /version HTTP/1.1\r\nHost: x\r\n"
    client.writer.write(f"{head}Content-Length: 5\r\n\r\nhello{head}\r\n".encode())
    for _ in range(2):
        await client.answer()
        assert client.code == 200
        assert json.loads(await client.body())["major"] == "1"


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/livez"])
async def test_health(clients, target):
    assert await get(clients, target, user=None) == (200, b"ok")


@pytest.mark.parametrize(
    ("target", "kind"), [("/api", "APIVersions"), ("/apis", "APIGroupList"), ("/api/v1", "APIResourceList")]
)
async def test_discovery(clients, target, kind):
    code, body = await get(clients, target)
    assert (code, json.loads(body)["kind"]) == (200, kind)


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def discover(clients, target, accept):
    client = await clients.connect()
    await client.request(target, [*clients.headers(), ("Accept", accept)])
    return json.loads(await client.body())


@pytest.mark.parametrize("accept", [f"{AGGREGATED},application/json", f"application/yaml, {AGGREGATED}"])
async def test_aggregated_discovery_says_what_the_plain_one_says(clients, accept):
    for target in ("/api", "/apis"):
        found = await discover(clients, target, accept)
        assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
        for item in found["items"]:
            (version,) = item["versions"]
            group = item["metadata"].get("name")
            path = f"/apis/{group}/{version['version']}" if group else "/api/v1"
            names = set()
            for row in version["resources"]:
                names |= {
                    row["resource"],
                    *(f"{row['resource']}/{one['subresource']}" for one in row.get("subresources", ())),
                }
            plain = json.loads((await get(clients, path))[1])
            assert names == {row["name"] for row in plain["resources"]}


@pytest.mark.parametrize(
    "accept", ["", "*/*", f"application/json,{AGGREGATED}", AGGREGATED.replace("v=v2", "v=v2beta1")]
)
async def test_who_prefers_the_plain_one_or_knows_no_other_gets_it(clients, accept):
    assert (await discover(clients, "/api", accept))["kind"] == "APIVersions"


async def test_pods_by_label(clients):
    code, body = await get(clients, "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb", user="proxy")
    assert code == 200
    assert [item["metadata"]["name"] for item in json.loads(body)["items"]] == ["web"]
    _, body = await get(clients, "/api/v1/namespaces/default/pods?labelSelector=app!%3Dweb")
    assert "shell" in [item["metadata"]["name"] for item in json.loads(body)["items"]]
    code, _ = await get(clients, "/api/v1/namespaces/default/pods?labelSelector=app%20web")
    assert code == 400


@pytest.mark.parametrize("method", ["OPTIONS", "PURGE", "CONNECT"])
async def test_a_method_that_means_nothing(clients, method):
    client = await clients.connect()
    await client.request("/api/v1/namespaces/default/pods", clients.headers(upgrade=False, offer=()), method)
    assert (client.code, (await client.json())["reason"]) == (405, "MethodNotAllowed")


async def test_head_is_get_without_the_body(clients):
    client = await clients.connect()
    headers = [*clients.headers(upgrade=False, offer=()), ("Connection", "close")]
    await client.request("/api/v1/namespaces/default/pods/web", headers, "HEAD")
    assert (client.code, await client.reader.read()) == (200, b"")


async def test_rights_on_plain_requests(clients):
    code, body = await get(clients, "/api/v1/namespaces/default/pods/shell", user="nobody")
    assert code == 403
    assert 'cannot get resource "pods" in API group "" in the namespace "default"' in json.loads(body)["message"]
    assert (await get(clients, "/api/v1/namespaces/default", user="proxy"))[0] == 403
    assert (await get(clients, "/api/v1/namespaces/team-a"))[0] == 200
    assert (await get(clients, "/api/v1/namespaces/nope"))[0] == 404


async def test_a_replaced_token_is_worth_nothing_and_the_new_one_is(cluster, clients, path):
    old = cluster.token("proxy")
    running = await clients.exec("cat", streams={"stdin": "1", "stdout": "1"}, token=old)
    cluster.replace_token(old, "fresh")
    assert (await clients.ask(path("true"), token=old)).code == 401
    assert (await clients.ask(path("true"), token="fresh")).code == 101
    assert cluster.token("proxy") == "fresh"
    await running.stdin(b"still open")
    assert await running.message(1) == b"still open"
    cluster.replace_token("fresh", None)
    assert (await clients.ask(path("true"), token="fresh")).code == 401


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad\x01Header: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (2 << 20), 431),
        (b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" + bytes(4000000), 413),
    ],
    ids=["nonsense", "NUL", "no host", "bad header", "2 MiB of header", "4 MB of body"],
)
async def test_what_is_no_request_is_answered_and_the_connection_closed(clients, request_bytes, code):
    client = await clients.connect()
    client.writer.write(request_bytes)
    await client.answer()
    assert client.code == code
    await client.body()
    assert await client.reader.read() == b""


async def test_what_is_not_tls_is_turned_away(cluster, clients):
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert not (await reader.read()).startswith(b"HTTP")
    writer.close()
    await writer.wait_closed()
    assert (await clients.run("true")).exit_code == 0


async def test_it_listens_on_loopback_only(cluster):
    assert cluster.url == f"https://127.0.0.1:{cluster.port}"
    assert [each.getsockname()[0] for each in cluster._running.server._listener.sockets] == ["127.0.0.1"]


async def test_a_port_that_is_taken_is_an_os_error_and_leaves_nothing(cluster):
    second = DevCluster(port=cluster.port)
    with pytest.raises(OSError, match="address already in use"):
        await second.__aenter__()


@pytest.mark.parametrize("certificate", [False, True], ids=["token", "certificate"])
async def test_the_kubernetes_package_reads_the_kubeconfig(cluster, tmp_path, certificate):
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig", user="proxy", certificate=certificate)

    def ask():
        configuration = kube.Configuration()
        kube_config.load_kube_config(str(file), client_configuration=configuration)
        with kube.ApiClient(configuration) as api:
            return [pod.metadata.name for pod in kube.CoreV1Api(api).list_namespaced_pod("default").items]

    assert await asyncio.to_thread(ask) == sorted(pod.name for pod in DEFAULT_WORLD.pods_in("default"))


async def test_a_service_accounts_directory(cluster, clients, path):
    directory = cluster.service_account_dir("proxy", namespace="team-a")
    assert (directory / "ca.crt").read_bytes() == cluster.ca_file.read_bytes()
    assert (directory / "namespace").read_text() == "team-a"
    token = (directory / "token").read_text()
    assert (await clients.ask(path("true"), token=token)).code == 101
    assert stat.S_IMODE((directory / "token").stat().st_mode) == 0o600


async def test_credentials_can_be_kept(tmp_path):
    async with DevCluster(directory=tmp_path / "kept") as cluster:
        assert cluster.ca_file.parent == tmp_path / "kept"
    assert cluster_files(tmp_path / "kept") >= {"ca.crt", "server.crt"}


def cluster_files(directory):
    return {file.name for file in directory.iterdir()}


async def test_the_end_of_a_connection_is_told_in_tls_too(cluster):
    def ask():
        context = ssl.create_default_context(cafile=cluster.ca_file)
        with socket.create_connection(("127.0.0.1", cluster.port)) as plain:
            options = {"server_hostname": "localhost", "suppress_ragged_eofs": False}
            with context.wrap_socket(plain, **options) as connection:
                connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while data := connection.recv(4096):
                    answer += data
                return answer

    assert (await asyncio.to_thread(ask)).startswith(b"HTTP/1.1 200 OK\r\n")
