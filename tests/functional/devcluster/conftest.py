"""A WebSocket client that can do what a well-behaved one won't: choose masks, fragments, silence and endings."""

import asyncio
import base64
import json
import os
import socket
import ssl
import struct
from dataclasses import dataclass, field
from http.client import parse_headers
from io import BytesIO
from urllib.parse import quote

import pytest
from websockets.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, Opcode
from websockets.utils import accept_key

from k8s_ws_proxy.devcluster import DevCluster

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"


@pytest.fixture
async def cluster():
    async with DevCluster() as running:
        yield running


@dataclass
class Transcript:
    """All that came after the 101, to the end of the connection."""

    frames: list = field(default_factory=list)

    def channel(self, number):
        return b"".join(frame.data[1:] for frame in self.messages() if frame.data[0] == number)

    def messages(self):
        return [frame for frame in self.frames if frame.opcode in {BINARY, TEXT}]

    @property
    def stdout(self):
        return self.channel(1)

    @property
    def stderr(self):
        return self.channel(2)

    @property
    def status(self):
        text = self.channel(3)
        return json.loads(text) if text else None

    @property
    def exit_code(self):
        if self.status["status"] == "Success":
            return 0
        causes = self.status["details"]["causes"]
        return next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), None)

    @property
    def close(self):
        """Code and reason of the close frame; None if the connection ended without one."""
        closes = [frame.data for frame in self.frames if frame.opcode is CLOSE]
        assert len(closes) <= 1
        return (struct.unpack("!H", closes[0][:2])[0], closes[0][2:]) if closes else None


class Client:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.code = 0
        self.headers = None

    async def request(self, target, headers, method="GET", body=b""):
        """Send a request and read the answer's head."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.writer.write("\r\n".join(lines).encode("latin-1") + body)
        await self.answer()

    async def answer(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.code = int(line.split()[1])
        self.headers = parse_headers(BytesIO(rest))

    async def body(self):
        """The answer's body: of the length that was announced, or all there is."""
        length = self.headers["Content-Length"]
        return await self.reader.read() if length is None else await self.reader.readexactly(int(length))

    async def json(self):
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(await self.body())

    async def frame(self):
        """The next frame from the server, or None at the end of the connection."""
        try:
            first, second = await self.reader.readexactly(2)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None
        assert not second & 0x80, "a server must not mask"
        assert first & 0x80, "this server doesn't fragment"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return Frame(Opcode(first & 0x0F), await self.reader.readexactly(length))

    async def message(self, channel):
        """The next message that isn't empty, which has to be on `channel`."""
        while len((frame := await self.frame()).data) < 2:
            pass
        assert frame.data[0] == channel, bytes(frame.data)
        return bytes(frame.data[1:])

    async def until(self, wanted, channel=1):
        """Read on `channel` until `wanted` has come; returns all that was read."""
        text = b""
        while wanted not in text:
            text += await self.message(channel)
        return text

    async def rest(self):
        """All frames to the end of the connection."""
        transcript = Transcript()
        while (frame := await self.frame()) is not None:
            transcript.frames.append(frame)
        return transcript

    async def send(self, data, *, opcode=BINARY, fin=True, mask=True):
        self.writer.write(Frame(opcode, data, fin).serialize(mask=mask))
        await self.writer.drain()

    async def stdin(self, data):
        await self.send(b"\0" + data)

    async def end_stdin(self):
        await self.send(b"\xff\0")

    async def resize(self, **size):
        await self.send(b"\x04" + json.dumps(size).encode())

    async def ping(self, data):
        await self.send(data, opcode=PING)

    async def close_frame(self, data=b"\x03\xe8"):
        await self.send(data, opcode=CLOSE)

    def reset(self):
        """Leave with a RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def leave(self):
        """Leave with a FIN, and nothing in TLS or WebSocket."""
        self.writer.transport.abort()


class Clients:
    """Opens clients of one cluster, and closes them all at the end."""

    CONT, PING, PONG, CLOSE, TEXT = CONT, PING, PONG, CLOSE, TEXT

    def __init__(self, cluster):
        self.cluster = cluster
        self.open = []

    async def connect(self):
        context = ssl.create_default_context(cafile=self.cluster.ca_file)
        client = Client(*await asyncio.open_connection("127.0.0.1", self.cluster.port, ssl=context))
        self.open.append(client)
        return client

    def headers(self, *, user="admin", token=None, offer=(V5,), key=None, upgrade=True):
        yield "Host", "127.0.0.1"
        if user is not None or token is not None:
            yield "Authorization", f"Bearer {token or self.cluster.token(user)}"
        if upgrade:
            yield "Connection", "Upgrade"
            yield "Upgrade", "websocket"
            yield "Sec-WebSocket-Version", "13"
            yield "Sec-WebSocket-Key", key or base64.b64encode(os.urandom(16)).decode()
        if offer:
            yield "Sec-WebSocket-Protocol", ", ".join(offer)

    async def ask(self, target, *, method="GET", extra=(), **options):
        client = await self.connect()
        await client.request(target, [*self.headers(**options), *extra], method)
        return client

    async def call(self, method, target, body=None, *, content="application/json", user="admin", extra=()):
        """A plain request, its body as JSON unless it is bytes; the answer's code, and its body from JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        client = await self.connect()
        headers = [*self.headers(user=user, upgrade=False, offer=()), ("Content-Length", str(len(data)))]
        await client.request(target, [*headers, ("Content-Type", content), *extra], method, data)
        return client.code, await client.json()

    async def exec(self, *argv, pod="shell", container="shell", namespace="default", streams=None, **options):
        """An exec that has been answered with 101; stdout and stderr are on unless `streams` says otherwise."""
        target = exec_path(*argv, pod=pod, container=container, namespace=namespace, **(streams or {}))
        key = base64.b64encode(os.urandom(16)).decode()
        client = await self.ask(target, key=key, **options)
        assert client.code == 101, await client.body()
        assert client.headers["Sec-WebSocket-Accept"] == accept_key(key)
        return client

    async def run(self, *argv, **options):
        """An exec without input, to its end."""
        return await (await self.exec(*argv, **options)).rest()

    async def sh(self, script, **options):
        return await self.run("sh", "-c", script, **options)


def exec_path(*argv, pod="shell", container="shell", namespace="default", action="exec", **streams):
    streams = streams or {"stdout": "1", "stderr": "1"}
    query = [f"command={quote(argument, safe='', errors='surrogateescape')}" for argument in argv]
    query += [f"container={container}"] if container else []
    query += [f"{name}={value}" for name, value in streams.items()]
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/{action}?{'&'.join(query)}"


@pytest.fixture
async def clients(cluster):
    made = Clients(cluster)
    yield made
    for client in made.open:
        if not client.writer.is_closing():
            client.writer.transport.abort()


@pytest.fixture
def path():
    return exec_path
