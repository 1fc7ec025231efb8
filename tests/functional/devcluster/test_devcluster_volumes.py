"""How a Secret reaches a node: as a directory, some time after it was changed."""

import base64
import datetime as dt

from k8s_ws_proxy.devcluster.resources import SECRETS

ONE = "/api/v1/namespaces/default/secrets/one"
MERGE = "application/merge-patch+json"


def entries(directory):
    return {entry.name: entry.read_bytes() for entry in directory.iterdir() if not entry.name.startswith("..")}


async def patch(clients, **data):
    code, patched = await clients.call("PATCH", ONE, {"stringData": data}, content=MERGE)
    assert code == 200
    return patched


async def test_a_mounted_secret_follows_its_object(cluster, clients, tmp_path):
    async def written(secret):
        await cluster.observed.wait_for(lambda: volume.version == secret["metadata"]["resourceVersion"])
        return entries(tmp_path / "volume")

    body = {"metadata": {"name": "one"}, "stringData": {"secret": "old"}}
    await clients.call("POST", ONE.removesuffix("/one"), body)
    async with cluster.mount_secret("default", "one", tmp_path / "volume") as volume:
        assert entries(tmp_path / "volume") == {"secret": b"old"}
        assert (tmp_path / "volume" / "secret").readlink().as_posix() == "..data/secret"
        assert await written(await patch(clients, secret="new", next="x")) == {"secret": b"new", "next": b"x"}
        _, patched = await clients.call("PATCH", ONE, {"data": {"next": None}}, content=MERGE)
        assert await written(patched) == {"secret": b"new"}
        payload = (tmp_path / "volume" / "..data").readlink()
        assert {entry.name for entry in (tmp_path / "volume").iterdir()} == {"..data", str(payload), "secret"}
        await clients.call("DELETE", ONE)
        _, again = await clients.call("POST", ONE.removesuffix("/one"), body)
        assert await written(again) == {"secret": b"old"}


async def test_a_mount_comes_before_its_secret(cluster, clients, tmp_path):
    async with cluster.mount_secret("default", "one", tmp_path) as volume:
        assert entries(tmp_path) == {}
        body = {"metadata": {"name": "one"}, "stringData": {"secret": "first"}}
        await clients.call("POST", ONE.removesuffix("/one"), body)
        await cluster.observed.wait_for(lambda: volume.version != "")
        assert entries(tmp_path) == {"secret": b"first"}


async def test_what_a_node_saw_then(cluster, clients):
    store = cluster.state.store

    def as_of(when):
        found = store.as_of(SECRETS, "default", "one", when)
        return None if found is None else base64.b64decode(found["data"]["secret"])

    begin = dt.datetime.now(dt.UTC)
    body = {"metadata": {"name": "one"}, "stringData": {"secret": "1"}}
    await clients.call("POST", ONE.removesuffix("/one"), body)
    first = dt.datetime.now(dt.UTC)
    await patch(clients, secret="2")
    second = dt.datetime.now(dt.UTC)
    await clients.call("DELETE", ONE)
    assert [as_of(when) for when in (begin, first, second, dt.datetime.now(dt.UTC))] == [None, b"1", b"2", None]
