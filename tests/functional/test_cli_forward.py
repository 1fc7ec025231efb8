"""``k8s-ws-proxy port-forward`` as a process: local ports, a session for each connection, clear ends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket

import pytest
from support.command import start_command, unnamed
from support.pki import Pki
from support.podport import chunks, digest, listening, reset, unused_port


class Forwarding:
    """A running command. ``ports`` are the local ones, by the pod's."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self.ports = {}

    async def begin(self, count):
        """Wait until it has said so many times what it forwards."""
        for _ in range(count):
            line = (await self.process.stdout.readline()).decode()
            assert line.startswith("Forwarding from "), line + (await self.process.stderr.read()).decode()
            self.lines.append(line)
            local, remote = line.removeprefix("Forwarding from ").split(" -> ")
            self.ports[int(remote)] = int(local.rpartition(":")[2])

    async def connect(self, *said, port=8080, host="127.0.0.1"):
        reader, writer = await asyncio.open_connection(host, self.ports[port], limit=1 << 20)
        for data in said:
            writer.write(data)
            await writer.drain()
        return reader, writer

    async def ask(self, *said, **where):
        """All that comes back."""
        reader, writer = await self.connect(*said, **where)
        try:
            return await reader.read()
        finally:
            writer.close()

    async def told(self):
        """The next line on stderr."""
        return (await self.process.stderr.readline()).decode()

    async def ended(self):
        """Exit status and what remains of stderr."""
        _, stderr = await self.process.communicate()
        return self.process.returncode, stderr.decode()


@pytest.fixture
async def port_forward(daemon, tmp_path):
    """Starts the command with the words that are given."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "K8S_WS_PROXY_URL": daemon.url,
        "SHARED_SECRET_FILE": str(tmp_path / "secret"),
    }
    started = []

    async def start(*words):
        process = await start_command("port-forward", *words, environ=environ, stdout=-1, stderr=-1)
        started.append(process)
        return Forwarding(process)

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def pod_port(cluster):
    async with listening() as running:
        cluster.open_port("default", "web", 8080, running.port)
        yield running


@pytest.fixture
async def forwarding(port_forward, pod_port):
    running = await port_forward("default/web", ":8080", "--address", "127.0.0.1")
    await running.begin(1)
    return running


async def test_100_mb_by_hash_to_the_pod(forwarding):
    size = 100 << 20
    answer = await forwarding.ask(b"SINK %d\n" % size, *chunks(size))
    assert answer.decode().strip() == digest(size)


async def test_100_mb_by_hash_from_the_pod(forwarding):
    size = 100 << 20
    found = hashlib.sha256(await forwarding.ask(b"SOURCE %d\n" % size))
    assert found.hexdigest() == digest(size)


async def test_each_connection_is_a_session_of_its_own(forwarding, daemon, pod_port):
    held = [await forwarding.connect(b"ECHO\n") for _ in range(5)]
    sizes = [65_536 * (1 + number % 7) for number in range(20)]
    answers = await asyncio.gather(*(forwarding.ask(b"SOURCE %d\n" % size) for size in sizes))
    assert [hashlib.sha256(answer).hexdigest() for answer in answers] == [digest(size) for size in sizes]
    for number, (reader, writer) in enumerate(held):
        writer.write(b"still here %d\n" % number)
        assert await reader.readline() == b"still here %d\n" % number
        reset(writer)
    await pod_port.have(0)
    await daemon.event("session opened", count=25, ports=[8080])


async def test_a_program_that_has_said_all_still_gets_its_answer(forwarding):
    """It shuts its side down, as `nc -N` does; the pod isn't told, but what it says arrives."""
    reader, writer = await forwarding.connect(b"SOURCE %d\n" % (8 << 20))
    writer.write_eof()
    found = hashlib.sha256(await reader.read())
    assert found.hexdigest() == digest(8 << 20)
    writer.close()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_program_leaves(forwarding, pod_port, daemon, how):
    _reader, writer = await forwarding.connect(b"HOLD\n")
    await pod_port.have(1)
    if how == "reset":
        reset(writer)
    else:
        writer.close()
    await pod_port.have(0)
    assert (await daemon.event("session ended"))["reason"] == "client_left"


async def test_the_pod_ends(forwarding, pod_port):
    reader, writer = await forwarding.connect(b"HOLD\n")
    await pod_port.have(1)
    (pod_writer,) = pod_port.writers
    pod_writer.write(b"bye")
    pod_writer.close()
    assert await reader.read() == b"bye"
    writer.close()


async def test_localhost_is_both_families_with_one_port(port_forward, pod_port):
    running = await port_forward("default/web", ":8080")
    await running.begin(2)
    port = running.ports[8080]
    assert running.lines == [f"Forwarding from 127.0.0.1:{port} -> 8080\n", f"Forwarding from [::1]:{port} -> 8080\n"]
    for host in ("127.0.0.1", "::1"):
        assert await running.ask(b"SOURCE 65536\n", host=host) == b"".join(chunks(65_536))


async def test_several_ports_and_a_chosen_one(port_forward, cluster, pod_port):
    async with listening() as other:
        cluster.open_port("default", "web", 443, other.port)
        chosen = unused_port()
        running = await port_forward("default/web", ":8080", f"{chosen}:443", "--address", "127.0.0.1")
        await running.begin(2)
        assert running.ports[443] == chosen
        assert await running.ask(b"SOURCE 65536\n", port=443) == b"".join(chunks(65_536))
        assert await running.ask(b"SOURCE 131072\n", port=8080) == b"".join(chunks(131_072))


@pytest.mark.parametrize("leave", [None, asyncio.StreamWriter.close, reset], ids=["waits", "closes", "resets"])
async def test_a_failed_connection_is_told_and_the_others_go_on(port_forward, pod_port, leave):
    running = await port_forward("default/web", ":81", ":8080", "--address", "127.0.0.1")
    await running.begin(2)
    reader, writer = await running.connect(b"GET / HTTP/1.0\r\n\r\n", port=81)
    if leave is not None:
        leave(writer)
    else:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    told = await running.told()
    assert told.startswith("k8s-ws-proxy: connection to port 81: error forwarding port 81 to pod ")
    assert "connect: connection refused" in told
    assert await running.ask(b"SOURCE 65536\n") == b"".join(chunks(65_536))


async def test_no_such_pod_is_told_at_the_first_connection(port_forward):
    running = await port_forward("default/nope", ":80", "--address", "127.0.0.1")
    await running.begin(1)
    with contextlib.suppress(ConnectionError):
        assert await running.ask(port=80) == b""
    assert await running.told() == 'k8s-ws-proxy: connection to port 80: pods "nope" not found\n'


async def test_the_proxy_goes_down(forwarding, daemon, pod_port):
    reader, writer = await forwarding.connect(b"HOLD\n")
    await pod_port.have(1)
    daemon.process.terminate()
    await daemon.event("shutting down")
    daemon.process.terminate()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert await forwarding.told() == (
        "k8s-ws-proxy: connection to port 8080: the proxy on this node is shutting down\n"
    )
    assert unnamed(await forwarding.told()) == ""
    await daemon.wait()
    with contextlib.suppress(ConnectionError):
        assert await forwarding.ask() == b""
    assert "nothing listens at" in await forwarding.told()


async def test_a_secret_that_was_replaced_is_taken(forwarding, tmp_path, daemon, pod_port):
    new = b"another secret, of more than 32 bytes"
    (tmp_path / "secret").write_bytes(new)
    await daemon.event("keys loaded", count=2)
    assert await forwarding.ask(b"SOURCE 65536\n") == b"".join(chunks(65_536))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_with_its_connections(forwarding, pod_port, number):
    reader, writer = await forwarding.connect(b"HOLD\n")
    await pod_port.have(1)
    forwarding.process.send_signal(number)
    await pod_port.have(0)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert await forwarding.ended() == (0, "")


async def test_by_certificate(start, port_forward, pod_port, tmp_path):
    pki = Pki(tmp_path)
    daemon = await start(**pki.environ("operator"))
    leaf = pki.callers.leaf("operator")
    url = f"https://127.0.0.1:{daemon.ports['https']}"
    words = ["--url", url, "--cacert", pki.servers.file, "--cert", leaf.cert, "--key", leaf.key]
    running = await port_forward("default/web", ":8080", "--address", "127.0.0.1", *map(str, words))
    await running.begin(1)
    assert await running.ask(b"SOURCE 65536\n") == b"".join(chunks(65_536))
    opened = await daemon.event("session opened")
    assert (opened["mode"], opened["subject"], opened["ports"]) == ("client_cert", "operator", [8080])


async def test_a_port_that_is_not_allowed(start, port_forward, tmp_path):
    daemon = await start(ALLOWED_PORTS="80")
    running = await port_forward("default/web", ":8080", "--address", "127.0.0.1", "--url", daemon.url)
    await running.begin(1)
    with contextlib.suppress(ConnectionError):
        assert await running.ask() == b""
    assert await running.told() == (
        "k8s-ws-proxy: connection to port 8080: the proxy refused (403 port_denied): "
        "Not among the ports that this proxy may forward (ALLOWED_PORTS): 8080.\n"
    )
    assert await running.told() == "Ask whoever runs the proxy to allow the port.\n"


async def test_a_local_port_that_is_taken(port_forward):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, told = await (await port_forward("default/web", f"{port}:80")).ended()
    assert status == 1
    assert told == (
        f"k8s-ws-proxy: can't listen on 127.0.0.1:{port}: Address already in use. :80 takes any port that is free\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["web", "80"], "say in which namespace the pod is: NAMESPACE/POD, for example default/web"),
        (["default/Web", "80"], "'default/Web' can't be"),
        (["default/web", "0"], "'0' can't be: write PORT, LOCAL:PORT or :PORT, with numbers from 1 to 65535"),
        (["default/web", "65536"], "'65536' can't be"),
        (["default/web", "80:0"], "'80:0' can't be"),
        (["default/web", "65536:80"], "'65536:80' can't be"),
        (["default/web", "http"], "'http' can't be"),
        (["default/web", "1:2:3"], "'1:2:3' can't be"),
        (["default/web", "80:81", "80:82"], "the local port 80 is named twice: name each once"),
        (["default/web", "80", "--address", "web"], "--address must be an IP address of this machine or localhost"),
        (["default/web", ":80", "--address", "192.0.2.1"], "can't listen on 192.0.2.1:0: Cannot assign requested"),
        (["default/web", ":80", "--secret-file", "/nowhere"], "the secret file /nowhere can't be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_cannot_be(port_forward, words, told):
    status, stderr = await (await port_forward(*words)).ended()
    assert status == 1
    assert stderr.startswith("k8s-ws-proxy: ")
    assert told in stderr
    assert stderr.count("\n") == 1


async def test_the_proxy_refuses_before_anything_is_listened_on(port_forward, tmp_path):
    (tmp_path / "wrong").write_text("w" * 44)
    running = await port_forward("default/web", ":80", "--secret-file", str(tmp_path / "wrong"))
    status, stderr = await running.ended()
    assert status == 1
    assert stderr.startswith("k8s-ws-proxy: the proxy refused (401 bad_signature): ")
    assert running.lines == []


async def test_wrong_use(port_forward):
    status, stderr = await (await port_forward("default/web")).ended()
    assert status == 2
    assert "[LOCAL:]REMOTE" in stderr
