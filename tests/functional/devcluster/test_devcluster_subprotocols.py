"""docs/observed.md, "Subprotocols"."""

import base64

import pytest

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        ([V5], V5),
        ([V4], V4),
        ([V4, V5], V5),
        (["base64.channel.k8s.io", "v3.channel.k8s.io", V5], V5),
        (["v3.channel.k8s.io", V4], V4),
        (["channel.k8s.io", V4], "channel.k8s.io"),
        ([V4, "channel.k8s.io"], V4),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else value,
)
async def test_v5_wins_wherever_it_stands_then_the_first_that_is_spoken(clients, offer, chosen):
    client = await clients.exec("true", offer=offer)
    assert client.headers["Sec-WebSocket-Protocol"] == chosen


async def test_none_offered_gives_an_empty_header_and_plain_text_on_channel_3(clients):
    client = await clients.exec("sh", "-c", "exit 3", offer=[])
    assert client.headers.get_all("Sec-WebSocket-Protocol") == [""]
    ended = await client.rest()
    assert ended.channel(3) == b"command terminated with non-zero exit code: exit status 3"
    assert ended.close == (1000, b"")


async def test_none_offered_and_success_says_nothing_on_channel_3(clients):
    ended = await clients.run("echo", "x", offer=[])
    assert [bytes(frame.data) for frame in ended.messages()] == [b"\x01", b"\x01x\n"]
    assert ended.close == (1000, b"")


@pytest.mark.parametrize("name", ["base64.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_base64_carries_channels_as_digits(clients, name):
    client = await clients.exec("cat", offer=[name], streams={"stdin": "1", "stdout": "1"})
    await client.send(b"0" + base64.b64encode(b"\xff\x00\n"), opcode=clients.TEXT)
    assert bytes((await client.frame()).data) == b"1"
    assert bytes((await client.frame()).data) == b"1" + base64.b64encode(b"\xff\x00\n")


async def test_no_extension_is_negotiated_and_origin_is_ignored(clients, path):
    extra = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"), ("Origin", "http://evil")]
    client = await clients.ask(path("true"), extra=extra)
    assert client.code == 101
    assert client.headers["Sec-WebSocket-Extensions"] is None


@pytest.mark.parametrize("value", ["1", "true", "maybe", ""])
async def test_anything_but_0_and_false_counts_as_true(clients, value):
    ended = await clients.run("echo", "x", streams={"stdout": value})
    assert ended.stdout == b"x\n"


async def test_stderr_together_with_tty_is_ignored(clients):
    ended = await clients.sh("echo out; echo err >&2", streams={"stdout": "1", "stderr": "1", "tty": "1"})
    assert ended.stdout == b"out\r\nerr\r\n"
    assert ended.stderr == b""


@pytest.mark.parametrize(
    ("change", "code"), [({"Sec-WebSocket-Version": "8"}, 400), ({"Sec-WebSocket-Key": "short"}, 400)]
)
async def test_a_bad_handshake_is_refused(clients, path, change, code):
    headers = [(name, change.get(name, value)) for name, value in clients.headers()]
    client = await clients.connect()
    await client.request(path("true"), headers)
    assert client.code == code
    assert await client.body()
