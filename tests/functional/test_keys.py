"""Keys that change under a running daemon, and nothing secret in any log line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import time
from pathlib import Path

import pytest
from support import rawws
from support.caller import PIPES, Lines, ask, get, proxy_exec, refusal_of, request, signed_path

from k8s_ws_proxy.wire.framing.channels import STDIN, STDOUT
from k8s_ws_proxy.wire.requests.signing import signed_headers

OLD = b"old-" + b"o" * 40
NEW = b"new-" + b"n" * 40
THIRD = b"third-" + b"t" * 40
TARGET = proxy_exec("true", **PIPES)
CANT_READ = "the keys can't be read; the last good ones stay in use"


def replace(path: Path, data: bytes) -> None:
    """As a person's editor or the kubelet does it: another file under the same name."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    beside.replace(path)


async def let_in(daemon, secret):
    """Whether a request signed with ``secret`` becomes a session; otherwise it must be for its signature."""
    daemon.secret = secret
    async with rawws.connected(daemon.port, request(daemon, TARGET)) as ws:
        if ws.answer.status == 101:
            assert (await ws.finish()).exit_code == 0
            return True
        assert ws.answer.status == 401
        assert refusal_of(ws.answer, TARGET)[1] == "bad_signature"
        return False


def key_ids(daemon):
    loaded = [line for line in daemon.log if line["event"] == "keys loaded"]
    return loaded[-1]["key_ids"]


@pytest.fixture
def secret(tmp_path):
    """The secret's file."""
    file = tmp_path / "shared-secret"
    file.write_bytes(OLD)
    return file


class MountedSecret:
    """A mounted Secret as the kubelet lays it out: entries through ``..data``, which is swapped as a whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._revision = 0
        directory.mkdir()

    def hold(self, **keys: bytes) -> None:
        """Let the Secret's entries be ``keys``."""
        self._revision += 1
        fresh = self.directory / f"..2026_{self._revision}"
        fresh.mkdir()
        for name, data in keys.items():
            (fresh / name).write_bytes(data)
        beside = self.directory / "..data_tmp"
        beside.symlink_to(fresh.name)
        beside.replace(self.directory / "..data")
        for entry in self.directory.iterdir():
            if not entry.name.startswith("..") and entry.name not in keys:
                entry.unlink()
        for name in keys:
            entry = self.directory / name
            if not entry.is_symlink():
                entry.symlink_to(f"..data/{name}")


@pytest.fixture
def mounted(tmp_path):
    """A mounted Secret with one key."""
    secret = MountedSecret(tmp_path / "keys")
    secret.hold(first=OLD)
    return secret


@pytest.mark.parametrize("change", [replace, Path.write_bytes], ids=["replaced", "written over"])
async def test_a_secret_that_changes_is_the_one_that_counts(start, secret, change):
    daemon = await start(SHARED_SECRET_FILE=str(secret), secret=OLD)
    assert await let_in(daemon, OLD)
    assert not await let_in(daemon, NEW)
    change(secret, NEW)
    await daemon.event("keys loaded", count=2)
    assert await let_in(daemon, NEW)
    assert not await let_in(daemon, OLD)


async def test_the_new_secret_is_good_at_once(start, secret):
    """A caller may have read it before the daemon has looked again: a signature that doesn't fit has it look."""
    daemon = await start(SHARED_SECRET_FILE=str(secret), secret=OLD)
    for key in (NEW, THIRD, OLD, NEW, THIRD, OLD):
        replace(secret, key)
        assert await let_in(daemon, key)


async def test_white_space_around_the_secret_is_no_part_of_it(start, secret):
    secret.write_bytes(b"\n \t" + OLD + b" \r\n\n")
    daemon = await start(SHARED_SECRET_FILE=str(secret), secret=OLD)
    assert await let_in(daemon, OLD)


@pytest.mark.parametrize("kind", ["a file", "a mounted Secret"])
async def test_a_secret_that_changes_while_no_file_can_be_opened_counts_afterwards(start, secret, mounted, kind):
    """It doesn't change again: what had gone wrong was the daemon's own."""
    source = {"SHARED_SECRET_FILE": str(secret)} if kind == "a file" else {"SHARED_SECRET_DIR": str(mounted.directory)}
    daemon = await start(**{"SHARED_SECRET_FILE": "", **source}, secret=OLD)
    limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    if kind == "a file":
        replace(secret, NEW)
    else:
        mounted.hold(second=NEW)
    await daemon.event(CANT_READ)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, limits)
    await daemon.event("keys loaded", count=2)
    assert await let_in(daemon, NEW)
    assert not await let_in(daemon, OLD)


@pytest.mark.parametrize("harm", ["emptied", "vanished", "white space", "a directory"])
async def test_a_secret_that_is_lost_leaves_the_last_good_one(start, secret, harm):
    daemon = await start(SHARED_SECRET_FILE=str(secret), secret=OLD)
    if harm == "emptied":
        secret.write_bytes(b"")
    elif harm == "white space":
        replace(secret, b" \n\n")
    else:
        secret.unlink()
        if harm == "a directory":
            secret.mkdir()
    line = await daemon.event(CANT_READ)
    assert line["level"] == "error"
    assert line["key_ids"] == ["shared-secret"]
    assert str(secret) in line["error"]
    assert await let_in(daemon, OLD)
    ready = await get(daemon, "/readyz")
    assert ready.status == 200
    if harm == "a directory":
        secret.rmdir()
    replace(secret, NEW)
    await daemon.event("keys loaded", count=2)
    assert await let_in(daemon, NEW)
    assert not await let_in(daemon, OLD)
    assert sum(line["event"] == CANT_READ for line in daemon.log) <= 2, "told when it changes, not at each look"


async def test_a_weak_secret_in_a_file_is_taken_with_a_warning(start, secret):
    secret.write_bytes(b"short")
    daemon = await start(SHARED_SECRET_FILE=str(secret), secret=b"short")
    line = await daemon.event("weak key")
    assert line["level"] == "warning"
    assert "5 bytes" in line["problem"]
    assert await let_in(daemon, b"short")


async def test_the_keys_of_a_mounted_secret_overlap_and_go(start, mounted):
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    assert key_ids(daemon) == ["first"]
    assert await let_in(daemon, OLD)
    assert (await daemon.event("session opened"))["key_id"] == "first"
    mounted.hold(first=OLD, second=NEW)
    await daemon.event("keys loaded", key_ids=["first", "second"])
    assert await let_in(daemon, OLD)
    assert await let_in(daemon, NEW)
    assert (await daemon.event("session opened", key_id="second"))["mode"] == "hmac"
    mounted.hold(second=NEW)
    await daemon.event("keys loaded", key_ids=["second"])
    assert await let_in(daemon, NEW)
    assert not await let_in(daemon, OLD)


async def test_an_entry_of_a_mounted_secret_that_changes(start, mounted):
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    mounted.hold(first=NEW)
    await daemon.event("keys loaded", count=2)
    assert await let_in(daemon, NEW)
    assert not await let_in(daemon, OLD)


async def test_a_weak_entry_is_refused_and_the_others_count(start, mounted):
    mounted.hold(first=OLD, weak=b"w" * 31, strong=b"s" * 32)
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    assert key_ids(daemon) == ["first", "strong"]
    line = await daemon.event("weak key")
    assert "weak is refused: 31 bytes" in line["problem"]
    assert await let_in(daemon, b"s" * 32)
    assert not await let_in(daemon, b"w" * 31)


@pytest.mark.parametrize("harm", ["emptied", "vanished", "only weak ones"])
async def test_a_mounted_secret_that_is_lost_leaves_the_last_good_keys(start, mounted, harm):
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    if harm == "emptied":
        mounted.hold()
    elif harm == "only weak ones":
        mounted.hold(first=b"weak")
    else:
        mounted.directory.rename(mounted.directory.with_name("gone"))
    line = await daemon.event(CANT_READ)
    assert (line["level"], line["key_ids"]) == ("error", ["first"])
    assert await let_in(daemon, OLD)


async def test_an_entry_that_has_become_empty_takes_no_key_away(start, mounted):
    mounted.hold(first=OLD, second=NEW)
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    mounted.hold(first=b"", second=b"newest" + NEW)
    line = await daemon.event(CANT_READ)
    assert line["key_ids"] == ["second", "first"]
    assert line["error"] == "these have become empty: first. Put a key there, or remove the entry"
    assert await let_in(daemon, OLD)
    assert not await let_in(daemon, NEW), "which may have leaked"
    mounted.hold(second=NEW)
    await daemon.event("keys loaded", key_ids=["second"])
    assert not await let_in(daemon, OLD)


async def test_a_file_and_a_directory_at_once(start, secret, mounted):
    mounted.hold(second=NEW)
    daemon = await start(SHARED_SECRET_FILE=str(secret), SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    assert key_ids(daemon) == ["shared-secret", "second"]
    assert await let_in(daemon, OLD)
    assert await let_in(daemon, NEW)


async def test_no_session_notices_a_rotation(start, cluster, mounted):
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    target = proxy_exec("cat", **PIPES)
    async with rawws.connected(daemon.port, request(daemon, target)) as ws:
        mounted.hold(second=NEW)
        await daemon.event("keys loaded", key_ids=["second"])
        await ws.send(STDIN, b"still here\n")
        assert await ws.until(STDOUT, b"\n") == b"still here\n"


async def test_nothing_secret_is_in_any_log_line(start, cluster, secret, mounted):
    """Good and bad signatures, the secret in the wrong places, tokens that expire, failures of every kind."""
    daemon = await start(SHARED_SECRET_FILE=str(secret), SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)
    used = []
    path = signed_path(TARGET)
    for key in (OLD, NEW):
        await let_in(daemon, key)
        used += signed_headers(key, path, int(time.time())).values()
    signed = daemon.headers(path)
    used += signed.values()
    await ask(
        daemon, TARGET, headers={**signed, "X-Catalyst-Timestamp": "12", "Authorization": f"Bearer {OLD.decode()}"}
    )
    await ask(daemon, TARGET, headers={**signed, "X-Catalyst-HMAC": OLD.decode()})
    await ask(daemon, TARGET, headers={**signed, "X-Catalyst-Timestamp": OLD.decode()})
    await ask(daemon, f"{TARGET}&token={OLD.decode()}", headers={})
    cluster.faults.refuse(500, b"no")
    daemon.secret = OLD
    async with rawws.connected(daemon.port, request(daemon, TARGET)) as ws:
        await ws.finish()
    token = cluster.token("proxy")
    cluster.replace_token(token, "another-token")
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **PIPES))) as ws:
        await ws.finish()
    cluster.replace_token("another-token", token)
    replace(secret, b"")
    await daemon.event(CANT_READ)
    replace(secret, NEW)
    await daemon.event("keys loaded", count=2)
    assert await let_in(daemon, NEW)
    assert await daemon.terminate() == 0
    log = "".join(daemon.raw_log)
    for private in (OLD.decode(), NEW.decode(), token, "another-token", *(value for value in used if len(value) == 64)):
        assert private not in log
    chained = re.sub(r'"prev": "[0-9a-f]{64}"', "", log)  # the audit trail's hashes
    assert not re.search(r"[0-9a-fA-F]{64}", chained), "nothing that looks like a signature"


async def test_keystrokes_and_output_are_not_logged_at_any_level(daemon):
    async with rawws.connected(daemon.port, request(daemon, proxy_exec("cat", **PIPES))) as ws:
        await ws.send(STDIN, b"my-password\n")
        await ws.until(STDOUT, b"my-password\n")
    await daemon.event("session ended")
    assert await daemon.terminate() == 0
    assert "my-password" not in "".join(daemon.raw_log)


async def test_a_refusal_never_holds_the_secret_or_the_signature_that_was_expected(daemon):
    for headers in (
        {**daemon.headers("/other")},
        {**daemon.headers(signed_path(TARGET)), "X-Catalyst-HMAC": daemon.secret.decode()},
    ):
        answer = await ask(daemon, TARGET, headers=headers)
        text = json.dumps(answer.headers) + answer.body.decode()
        assert daemon.secret.decode() not in text
        assert not re.search(r"[0-9a-f]{64}", text)


async def test_many_callers_while_the_keys_change(start, mounted):
    """Whoever signs with a key that is accepted throughout gets in throughout."""
    daemon = await start(SHARED_SECRET_FILE="", SHARED_SECRET_DIR=str(mounted.directory), secret=OLD)

    async def rotate():
        for number in range(3):
            lines = Lines(daemon)
            mounted.hold(first=OLD, **{f"key{number}": os.urandom(20).hex().encode()})
            await lines.event("keys loaded", key_ids=["first", f"key{number}"])

    turning = asyncio.get_running_loop().create_task(rotate())

    async def call():
        while not turning.done():
            assert await let_in(daemon, OLD)

    await asyncio.gather(turning, call(), call(), call())
