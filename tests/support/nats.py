"""The real nats-server, with JetStream, and what its stream holds."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import secrets
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
from nacl.signing import SigningKey
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SUBJECTS = "catalyst.events.k8s-ws-proxy.>"
STREAM = "audit"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class NatsServer:
    """One that may be stopped, killed and started again on its port, with its stream. ``config`` is more of its own."""

    def __init__(self, directory: Path, config: str = "", **connect: Any) -> None:
        self._directory = directory
        self._connect = connect
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None
        directory.mkdir(exist_ok=True)
        (directory / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: {directory / 'store'} }}\n{config}\n"
        )

    async def start(self) -> None:
        beside = Path(sys.executable).with_name("nats-server")
        program = str(beside) if beside.exists() else shutil.which("nats-server")
        assert program, "nats-server isn't here: make venv"
        self._process = await asyncio.create_subprocess_exec(
            program, "-c", str(self._directory / "nats.conf"), stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        while b"Server is ready" not in (line := await self._process.stderr.readline()):
            assert line, "nats-server ended"
        asyncio.get_running_loop().create_task(self._drain(self._process.stderr))

    @staticmethod
    async def _drain(stderr: asyncio.StreamReader) -> None:
        while await stderr.readline():
            pass

    async def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()

    def freeze(self) -> None:
        """It answers nothing any more, and its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _jetstream(self) -> AsyncIterator[Any]:
        client = await nats.connect(self.url, **self._connect)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def stream(self, **options: Any) -> None:
        """Make the stream, or change it."""
        config = StreamConfig(
            name=STREAM,
            subjects=[SUBJECTS],
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            **{"max_msgs": -1, **options},
        )
        async with self._jetstream() as jetstream:
            try:
                await jetstream.update_stream(config)
            except NotFoundError:
                await jetstream.add_stream(config)

    async def messages(self) -> list[tuple[str, bytes, str]]:
        """Subject, line and id of all that there is, in the stream's order."""
        async with self._jetstream() as jetstream:
            state = (await jetstream.stream_info(STREAM)).state
            found = [await jetstream.get_msg(STREAM, seq) for seq in range(max(1, state.first_seq), state.last_seq + 1)]
        return [(message.subject, message.data, message.headers["Nats-Msg-Id"]) for message in found]

    async def lines(self) -> list[dict[str, Any]]:
        return [json.loads(data) for _, data, _ in await self.messages()]

    async def until(self, wanted: Any) -> list[dict[str, Any]]:
        """The lines, as soon as they are ``wanted``; the test's time-out bounds the wait."""
        while not wanted(lines := await self.lines()):  # noqa: ASYNC110 - another process has them
            await asyncio.sleep(0.05)
        return lines


class Operator:
    """Who issues JWTs, for an account with one user (docs.nats.io, "JWT authentication")."""

    def __init__(self) -> None:
        self._operator, self._account, self._user = (SigningKey.generate() for _ in range(3))
        operator, account = _public(self._operator, 14), _public(self._account, 0)
        limits = dict.fromkeys(
            ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage"), -1
        )
        limits |= {"streams": -1, "consumer": -1, "wildcards": True}
        self._operator_jwt = _jwt(self._operator, operator, operator, {"type": "operator"})
        self._account_jwt = _jwt(self._operator, operator, account, {"type": "account", "limits": limits})
        self._system_key = _public(SigningKey.generate(), 0)
        self._system_jwt = _jwt(self._operator, operator, self._system_key, {"type": "account"})
        whose = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        self.user_jwt = _jwt(self._account, account, _public(self._user, 20), whose)
        self._account_key = account

    @property
    def config(self) -> str:
        """For the server."""
        return (
            f"operator: {self._operator_jwt}\nresolver: MEMORY\nsystem_account: {self._system_key}\n"
            f"resolver_preload: {{ {self._account_key}: {self._account_jwt}\n {self._system_key}: {self._system_jwt} }}"
        )

    @property
    def seed(self) -> str:
        """The user's."""
        # nkeys: five bits say that it is a seed, the next five whose.
        kind, whose = 18 << 3, 20 << 3
        return _encoded(bytes([kind | whose >> 5, (whose & 31) << 3]), bytes(self._user))

    def credentials(self) -> str:
        """The user's file."""
        return (
            f"-----BEGIN NATS USER JWT-----\n{self.user_jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.seed}\n------END USER NKEY SEED------\n"
        )

    def connect(self) -> dict[str, Any]:
        """Options of the official client."""
        return {
            "user_jwt_cb": self.user_jwt.encode,
            "signature_cb": lambda nonce: base64.b64encode(self._user.sign(nonce.encode()).signature),
        }


def _encoded(prefix: bytes, key: bytes) -> str:
    raw = prefix + key
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _public(key: SigningKey, kind: int) -> str:
    return _encoded(bytes([kind << 3]), bytes(key.verify_key))


def _jwt(signer: SigningKey, issuer: str, subject: str, claims: dict[str, Any]) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    body = {
        "jti": secrets.token_hex(16),
        "iat": int(time.time()),
        "iss": issuer,
        "sub": subject,
        "name": "test",
        "nats": {**claims, "version": 2},
    }
    signed = f"{part(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}).encode())}.{part(json.dumps(body).encode())}"
    return f"{signed}.{part(signer.sign(signed.encode()).signature)}"
