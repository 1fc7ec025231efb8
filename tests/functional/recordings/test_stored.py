"""A daemon with a store: what it records gets there, also where it was killed, or the store was away."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys

import pytest
from support.caller import get, opened, run, script
from support.daemon import SERVE
from support.objectstore import SECRET
from support.operations import TEXT
from support.recordings import finished, holds, read

from k8s_ws_proxy.recordings.paths import path_of, receipt_of


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "recordings"


@pytest.fixture
def record(start, s3, directory):
    """Starts a daemon that records, and stores."""

    async def record_(**environ):
        environ = {"RECORD": "all", "RECORDING_DIR": str(directory), **s3.environ(), **environ}
        return await start(**environ)

    return record_


async def test_what_was_recorded_is_in_the_store_and_then_only_there(record, s3, directory):
    daemon = await record(RECORDING_KEEP="500ms")
    await run(daemon, script("echo out"))
    line = await daemon.event("recording stored")
    session = line["session"]
    await daemon.event("recording removed here: it is in the store", session=session)
    assert not list(directory.rglob("*.cast"))
    assert not list(directory.rglob("*.json"))
    assert s3.objects().keys() == {path_of(session), receipt_of(path_of(session))}
    cast, receipt = read(s3.object(""), session, daemon.secret)
    assert cast.text() == "out\n"
    assert receipt["recordingPath"] == line["path"] == path_of(session)


async def test_nothing_of_the_credentials_is_in_the_log_or_told(record, s3):
    daemon = await record(LOG_LEVEL="debug", WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    s3.sign_as("another-access-key", "another-secret-of-many-characters")
    await run(daemon, script("echo out"))
    await daemon.event("a recording can't be stored", outcome="refused")
    told = (await get(daemon, "/metrics", port=daemon.ports["admin"])).body.decode()
    for text in (*daemon.raw_log, told):
        assert SECRET not in text
        assert "another-secret" not in text
        assert "another-access-key" not in text


async def test_killed_and_gone_on_with_by_the_next(record, s3, directory):
    await s3.stop()
    daemon = await record()
    await run(daemon, script("echo out"))
    _cast, receipt = await finished(daemon, directory)
    await daemon.event("recordings can't be stored: they wait")
    await daemon.terminate(signal.SIGKILL)
    await s3.start()
    after = await record()
    await after.event("recording stored", session=receipt["sessionId"])
    assert len(s3.objects()) == 2


async def test_what_was_interrupted_is_stored_too(record, s3):
    daemon = await record()
    async with opened(daemon, script("echo out; sleep 60")) as ws:
        await ws.until(1, b"out\n")
        session = (await daemon.event("session opened"))["session"]
        cast = s3.bucket.parent.parent / "recordings" / path_of(session)
        await holds(cast, b"out")
        await daemon.terminate(signal.SIGKILL)
    after = await record()
    await after.event("recording stored", session=session)
    _cast, receipt = read(s3.object(""), session, after.secret)
    assert receipt["ending"] == "interrupted"


async def test_what_was_recorded_before_there_was_a_store_waits_when_somebody_says_so(record, start, s3, directory):
    """In the words of docs/operations.md."""
    without = await start(RECORD="all", RECORDING_DIR=str(directory))
    for text in ("one", "two"):
        await run(without, script(f"echo {text}"))
    await without.event("recording finished", count=2)
    await without.terminate()
    assert not list(directory.glob(".daemons/*/waiting/*"))
    (shown,) = re.findall(r"^```console\n(# cd /var/lib/recordings\n.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    typed = re.sub(r"^# ", "", shown, flags=re.MULTILINE).replace("/var/lib/recordings", str(directory))
    not_as_root = "chown() { :; }\n"  # who has to say whose it is
    shell = await asyncio.create_subprocess_exec("sh", "-euc", not_as_root + typed)
    assert await shell.wait() == 0
    daemon = await record()
    await daemon.event("recording stored", count=2)
    assert len(s3.objects()) == 4


async def test_the_last_ones_are_stored_before_it_ends(record, s3):
    daemon = await record(DRAIN_TIMEOUT="0")
    async with opened(daemon, script("echo out; sleep 60")) as ws:
        await ws.until(1, b"out\n")
        assert await daemon.terminate() == 0
    session = (await daemon.event("session opened"))["session"]
    assert s3.objects().keys() == {path_of(session), receipt_of(path_of(session))}


async def test_a_store_that_is_away_holds_up_no_end_and_no_session(record, s3):
    await s3.stop()
    daemon = await record()
    for _ in range(3):
        await run(daemon, script("echo out"))
    await daemon.event("recordings can't be stored: they wait")
    assert await daemon.terminate() == 0


def serve(**environ):
    async def serve_():
        process = await asyncio.create_subprocess_exec(
            *SERVE,
            env={"PATH": os.environ["PATH"], **environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        return process.returncode, told.decode()

    return serve_()


async def test_a_store_without_the_library_is_a_mistake(tmp_path):
    code = (
        "import sys; sys.modules['obstore'] = None; sys.argv = ['k8s-ws-proxy', 'serve'];"
        "from k8s_ws_proxy.cli.main import main; sys.exit(main())"
    )
    (tmp_path / "secret").write_bytes(b"x" * 44)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        env={
            "PATH": os.environ["PATH"],
            "SHARED_SECRET_FILE": str(tmp_path / "secret"),
            "RECORDING_DIR": str(tmp_path),
            "RECORDING_STORE": "s3://bucket",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    assert process.returncode == 2
    assert "RECORDING_STORE: the store needs the library obstore: install k8s-ws-proxy[store]" in told.decode()


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"RECORDING_STORE": "s3://bucket"}, "RECORDING_STORE needs RECORDING_DIR"),
        ({"RECORDING_STORE": "s3://jane:top-secret@bucket"}, "RECORDING_STORE must be s3://BUCKET/PREFIX"),
        ({"RECORDING_STORE": "s3://bucket?key=top-secret"}, "RECORDING_STORE must be s3://BUCKET/PREFIX"),
        ({"RECORDING_STORE": "https://bucket.example/top-secret"}, "RECORDING_STORE must be s3://BUCKET/PREFIX"),
        (
            {"RECORDING_STORE": "s3://bucket", "RECORDING_STORE_ENDPOINT": "https://jane:top-secret@minio"},
            "RECORDING_STORE_ENDPOINT must be a URL such as",
        ),
        ({"RECORDING_STORE": "gs://b", "RECORDING_STORE_REGION": "x"}, "RECORDING_STORE_REGION is for s3:// only"),
        ({"RECORDING_STORE": "s3://b", "RECORDING_KEEP": "1d"}, "RECORDING_KEEP must be a duration"),
        ({"RECORDING_STORE": "s3://b", "RECORDING_STORE_CREDENTIALS_DIR": "/nowhere"}, "can't be read (No such file"),
    ],
)
async def test_mistakes_are_told_without_what_was_written(tmp_path, environ, told):
    if "needs" not in told:
        environ = {"RECORDING_DIR": str(tmp_path), **environ}
    status, said = await serve(**environ)
    assert status == 2
    assert told in said
    assert "top-secret" not in said


async def test_a_store_that_is_the_directory_itself_is_refused(tmp_path):
    """What is in the store is removed here: it would be gone."""
    (tmp_path / "recordings").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "recordings")
    (tmp_path / "secret").write_bytes(b"x" * 44)
    for store in ("recordings", "link", "recordings/", "x/../recordings"):
        status, told = await serve(
            SHARED_SECRET_FILE=str(tmp_path / "secret"),
            RECORDING_DIR=str(tmp_path / "recordings"),
            RECORDING_STORE=f"file://{tmp_path}/{store}",
        )
        assert status == 2
        assert "RECORDING_STORE: the store is the directory of the recordings itself" in told


async def test_a_store_in_the_clear_is_said(record):
    daemon = await record()
    line = await daemon.event("doubtful setting")
    assert line["problem"] == "RECORDING_STORE_ENDPOINT is http: recordings go to the store in the clear"


async def test_an_end_is_one_whatever_the_library_is_at(record, s3):
    """While a request fails, over and over: a thread of the library's mustn't bring the end down."""
    await s3.stop()
    daemons = [await record(RECORDING_DIR=str(s3.bucket.parent / f"r{number}")) for number in range(4)]
    for daemon in daemons:
        await run(daemon, script("echo out"))
        await daemon.event("recordings can't be stored: they wait")
    assert await asyncio.gather(*(daemon.terminate() for daemon in daemons)) == [0] * 4


async def test_the_metrics_tell(record, s3):
    daemon = await record(WS_PROXY_ADMIN_ADDR="127.0.0.1:0")
    await run(daemon, script("echo out"))
    await daemon.event("recording stored")
    told = (await get(daemon, "/metrics", port=daemon.ports["admin"])).body.decode()
    assert 'k8s_ws_proxy_recording_uploads_total{outcome="stored"} 1.0' in told
    assert "k8s_ws_proxy_recordings_waiting_oldest_seconds" in told
    assert json.loads(next(iter(s3.objects().values())).splitlines()[0])
