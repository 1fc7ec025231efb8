"""Attach: one process of the container's own, and everyone who is attached to it."""

import asyncio

import pytest

from k8s_ws_proxy.devcluster import DEFAULT_WORLD, Container, DevCluster, Pod, World

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
ALL = {"stdin": "1", "stdout": "1", "stderr": "1"}


@pytest.fixture
def attach(clients, path):
    async def open_one(pod, *, offer=V5, **streams):
        client = await clients.ask(path(pod=pod, container="", action="attach", **(streams or ALL)), offer=[offer])
        assert client.code == 101
        first = await client.frame()
        assert len(first.data) == 1
        return client

    return open_one


@pytest.fixture
async def cluster():
    mains = {
        "counts": Container("counts", ("sh", "-c", "read x; echo out; echo err >&2; read x; exit 3")),
        "broken": Container("broken", ("/does/not/exist",)),
        "floods": Container("floods", ("sh", "-c", "read x; head -c 5000000 /dev/zero; echo end; read x")),
    }
    pods = tuple(Pod(name, (container,)) for name, container in mains.items())
    async with DevCluster(World(pods=(*DEFAULT_WORLD.pods, *pods), users=DEFAULT_WORLD.users)) as running:
        yield running


@pytest.mark.parametrize("offer", [V5, V4])
async def test_lines_come_back_from_the_containers_own_process(attach, offer):
    client = await attach("web", offer=offer)
    await client.stdin(b"hello\n")
    assert await client.message(1) == b"echo: hello\n"


async def test_everyone_attached_sees_the_same_and_it_is_one_process(cluster, attach):
    one, two = await attach("web"), await attach("web")
    await one.stdin(b"from one\n")
    assert [await each.message(1) for each in (one, two)] == [b"echo: from one\n"] * 2
    await two.stdin(b"from two\n")
    assert [await each.message(1) for each in (one, two)] == [b"echo: from two\n"] * 2
    assert cluster.observed.running == 1


async def test_one_leaves_and_the_other_stays(cluster, attach):
    one, two = await attach("web"), await attach("web")
    one.reset()
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 1)
    await two.stdin(b"x\n")
    assert await two.message(1) == b"echo: x\n"


async def test_a_terminal_is_shared_and_takes_the_size_of_the_latest(attach):
    one, two = (
        await attach("term", stdin="1", stdout="1", tty="1"),
        await attach("term", stdin="1", stdout="1", tty="1"),
    )
    await one.resize(Width=80, Height=24)
    await two.stdin(b"x\n")
    assert [await each.until(b"echo: x\r\n") for each in (one, two)]


async def test_streams_are_told_apart_and_the_end_is_a_success_for_everyone(attach):
    one, two = await attach("counts"), await attach("counts", stderr="1")
    await one.stdin(b"\n")
    assert [await two.message(2), await one.until(b"out\n")] == [b"err\n", b"out\n"]
    await one.stdin(b"\n")
    for ended in await asyncio.gather(one.rest(), two.rest()):
        assert ended.status["status"] == "Success"
        assert ended.close == (1000, b"")


async def test_a_process_that_has_ended_is_started_anew(attach):
    for _ in range(3):
        client = await attach("counts", stdin="1", stdout="1")
        await client.stdin(b"\n")
        assert await client.message(1) == b"out\n"
        await client.stdin(b"\n")
        assert (await client.rest()).status["status"] == "Success"


async def test_ending_stdin_or_leaving_does_not_end_the_process(cluster, attach):
    client = await attach("web")
    await client.end_stdin()
    await client.stdin(b"still\n")
    assert await client.message(1) == b"echo: still\n"
    await client.close_frame()
    assert (await client.rest()).close == (1000, b"")
    again = await attach("web")
    await again.stdin(b"x\n")
    assert await again.message(1) == b"echo: x\n"
    assert cluster.observed.running == 1


async def test_without_stdin_input_is_dropped(attach):
    listener, writer = await attach("web", stdout="1"), await attach("web")
    await listener.stdin(b"unheard\n")
    await listener.ping(b"")  # answered when what came before it has been dealt with
    assert (await listener.frame()).opcode == 10
    await writer.stdin(b"heard\n")
    assert await listener.message(1) == b"echo: heard\n"


async def test_a_process_that_cannot_be_started_is_101_and_a_failure(clients, path):
    client = await clients.ask(path(pod="broken", container="", action="attach"))
    assert client.code == 101
    ended = await client.rest()
    assert (ended.status["reason"], ended.exit_code) == ("InternalError", None)


async def test_the_slowest_sets_the_pace_and_all_get_everything(attach):
    slow, fast = await attach("floods", stdout="1"), await attach("floods", stdin="1", stdout="1")
    await fast.stdin(b"\n")
    texts = await asyncio.gather(slow.until(b"end\n"), fast.until(b"end\n"))
    assert [len(text) for text in texts] == [5000004] * 2


@pytest.mark.parametrize(("pod", "code"), [("nope", 404), ("pending", 400), ("quick", 500), ("shell", 400)], ids=str)
async def test_attach_is_refused_as_exec_is(clients, path, pod, code):
    client = await clients.ask(path(pod=pod, container="", action="attach"))
    assert client.code == code


async def test_attach_has_rights_of_its_own(clients, path):
    client = await clients.ask(path(pod="web", container="", action="attach"), user="get-only")
    assert client.code == 403
    assert 'cannot get resource "pods/attach"' in (await client.json())["message"]
