"""``k8s-ws-proxy recordings`` as a process: before a daemon, in a directory, with files, and on a real terminal."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from support.archive import NOON, Recordings, cast_of, id_at
from support.command import PROGRAM, Client
from support.daemon import SECRET
from support.screen import Screen, programs

from k8s_ws_proxy.wire.recording.cast_reader import CastReader

NASTY = (
    b"before \x1b]52;c;ZWNobyBvd25lZA==\x07\x1b]0;title\x07\x1b[6n\x1b[c\x1bP$qm\x1b\\\x1b[21t\x1b[?1000h"
    b"\x9b5n after\r\n"
)


@pytest.fixture
def made(tmp_path):
    recordings = Recordings(tmp_path / "recordings")
    recordings.root.mkdir()
    return recordings


@pytest.fixture
async def daemon(start, made):
    return await start(NODE_NAME="node-a", RECORDING_DIR=str(made.root))


@pytest.fixture
def client(daemon, tmp_path):
    return Client(daemon.url, tmp_path / "secret", tmp_path, "recordings")


@pytest.fixture
def local(tmp_path, made):
    """Without a proxy."""
    return Client("", None, tmp_path, "recordings")


def cells(line):
    return re.split(r" {2,}", line)


async def test_the_list(client, made, local):
    alices = made.finished(at=NOON)
    bobs = made.running(b"x" * 2000, at=NOON + 60_000, user="bob", namespace="kube-system")
    for who, more in ((client, ()), (local, ("--dir", str(made.root)))):
        status, stdout, stderr = await who.run("list", *more)
        assert (status, stderr) == (0, "")
        head, first, second = map(cells, stdout.decode().splitlines())
        assert head == ["ID", "BEGAN", "POD", "CONTAINER", "USER", "NODE", "LASTED", "SIZE", "END"]
        assert first == [
            bobs,
            "2026-11-30T12:00:00Z",
            "kube-system/shell",
            "shell",
            "bob",
            "node-a",
            "-",
            "2.0Ki",
            "recording",
        ]
        assert second[0] == alices
        assert second[6:] == ["60s", f"{made.cast(alices).stat().st_size}B", "command_ended 0"]
        for words, found in (
            (("--user", "bob"), [bobs]),
            (("-n", "default"), [alices]),
            (("--from", "2026-12-01"), []),
            (("--to", "2026-12-01"), [bobs, alices]),
            (("--from", "2026-11-30T12:00:30Z", "--to", "2026-11-30T14:00:00+01:00"), [bobs]),
            (("--limit", "1"), [bobs]),
        ):
            status, stdout, stderr = await who.run("list", "-o", "json", *words, *more)
            told = json.loads(stdout)
            assert (status, [each["sessionId"] for each in told["recordings"]]) == (0, found), words
            assert told["more"] == ("--limit" in words)
    status, stdout, stderr = await client.run("list", "--limit", "1")
    assert "there are more than these 1" in stderr


async def test_a_list_of_many_pages(client, made):
    ids = made.many(2500)
    status, stdout, _ = await client.run("list", "-o", "json", "--limit", "2200")
    told = json.loads(stdout)
    assert status == 0
    assert [each["sessionId"] for each in told["recordings"]] == ids[::-1][:2200]


async def test_nothing_that_a_terminal_would_obey_is_in_a_table(client, made):
    made.finished(user="eve\x1b]0;owned\x07", pod="p\x9b31m", container="c\r\nx")
    _, stdout, _ = await client.run("list")
    assert not set(stdout.decode()) & set("\x1b\x07\x9b\r")
    assert len(stdout.decode().splitlines()) == 2


async def test_get(client, made, local, tmp_path):
    data = cast_of(*(b"line %d\r\n" % number for number in range(20_000)))
    session = made.finished(data)
    status, stdout, stderr = await client.run("get", session, "-o", str(tmp_path / "x.cast"), "--receipt")
    assert (status, stdout, stderr) == (0, b"", "")
    assert (tmp_path / "x.cast").read_bytes() == data
    assert (tmp_path / "x.json").read_bytes() == made.receipt(session).read_bytes()
    assert (tmp_path / "x.cast").stat().st_mode & 0o777 == 0o600
    for who, more in ((client, ()), (local, ("--dir", str(made.root)))):
        assert await who.run("get", session, "-o", "-", *more) == (0, data, "")
        status, stdout, stderr = await who.run("get", id_at(NOON), "-o", str(tmp_path / "none.cast"), *more)
        assert (status, stdout) == (1, b"")
        assert "there is no recording" in stderr.lower()
    assert not list(tmp_path.glob("none*"))
    running = made.running(data[:1000])
    whole = data[: data.rindex(b"\n", 0, 1000) + 1]
    assert len(whole) < 1000
    for who, more in ((client, ()), (local, ("--dir", str(made.root)))):
        assert await who.run("get", running, "-o", "-", *more) == (0, whole, "")
    status, _, stderr = await client.run("get", running, "-o", str(tmp_path / "y.cast"), "--receipt")
    assert status == 1
    assert "when the session ends" in stderr
    assert not list(tmp_path.glob("y*"))


async def test_what_can_t_be_written_is_told(client, made, tmp_path):
    session = made.finished()
    status, _, stderr = await client.run("get", session, "-o", str(tmp_path / "no/such/x.cast"))
    assert status == 1
    assert "can't be written: No such file or directory" in stderr


async def test_verify(local, made, tmp_path):
    session = made.finished(cast_of(b"hello"))
    cast, receipt = made.cast(session), made.receipt(session)
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_bytes(SECRET)
    other.write_bytes(b"another key that is as long as it has to be")
    directory = tmp_path / "keys"
    directory.mkdir()
    for name, file in (("a", other), ("b", key)):
        (directory / name).write_bytes(file.read_bytes())

    async def verified(*words):
        status, stdout, stderr = await local.run("verify", str(cast), *words)
        return status, stdout.decode() + stderr

    good = (0, f"{cast}: the recording and its receipt are as the proxy wrote them.\n")
    assert await verified("--secret-file", str(key)) == good
    assert await verified("--secret-file", str(other), "--secret-file", str(key)) == good
    assert await verified("--secret-dir", str(directory)) == good
    moved = tmp_path / "moved.json"
    moved.write_bytes(receipt.read_bytes())
    assert await verified("--secret-file", str(key), "--receipt", str(moved)) == good

    status, text = await verified()
    assert (status, "no key was given" in text) == (2, True)
    status, text = await verified("--secret-file", str(other))
    assert (status, "none of the keys given is the one" in text) == (2, True)

    whole = cast.read_bytes()
    for position in range(0, len(whole), 7):
        cast.write_bytes(whole[:position] + bytes((whole[position] ^ 1,)) + whole[position + 1 :])
        if position % 49 == 0:
            status, text = await verified("--secret-file", str(key))
            assert (status, "the recording was changed" in text) == (1, True)
    status, text = await verified("--secret-file", str(other))
    assert (status, "the recording was changed" in text, "none of the keys" in text) == (1, True, True)
    cast.write_bytes(whole)

    sealed = receipt.read_bytes()
    for before, after in ((b'"alice"', b'"bobby"'), (b'"exitCode":0', b'"exitCode":1'), (b'"size":', b'"size":1')):
        receipt.write_bytes(sealed.replace(before, after))
        status, text = await verified("--secret-file", str(key))
        assert (status, "the receipt was changed" in text) == (1, True)
    receipt.write_bytes(b"{}")
    assert (await verified("--secret-file", str(key)))[0] == 2
    receipt.unlink()
    status, text = await verified("--secret-file", str(key))
    assert (status, "there is no receipt" in text) == (2, True)
    status, text = await verified("--secret-file", str(tmp_path / "nowhere"))
    assert (status, "can't be read" in text) == (2, True)


async def test_verify_what_a_proxy_has(client, made, tmp_path):
    session = made.finished(cast_of(b"hello"))
    other = tmp_path / "other"
    other.write_bytes(b"another key that is as long as it has to be")
    good = f"{session}: the recording and its receipt are as the proxy wrote them.\n".encode()
    assert await client.run("verify", session) == (0, good, "")
    key = str(tmp_path / "secret")
    assert await client.run("verify", session.upper(), "--secret-file", key, "--secret-file", str(other)) == (
        0,
        good,
        "",
    )
    made.cast(session).write_bytes(cast_of(b"hullo"))
    status, stdout, _ = await client.run("verify", session)
    assert (status, b"the recording was changed" in stdout) == (1, True)
    for words, why in (
        ((made.running(b"x"),), "when the session ends"),
        ((id_at(NOON),), "There is no recording"),
        ((session, "--secret-file", str(other)), "the secret that this proxy accepts"),
        ((session, "--receipt", "x.json", "--url", "http://127.0.0.1:1"), "no --receipt"),
        (("x.cast", "--url", "http://127.0.0.1:1"), "name a session's id"),
        (("x.cast",), "there is no receipt at x.json"),
    ):
        status, stdout, stderr = await client.run("verify", *words)
        assert (status, stdout, why in stderr) == (2, b"", True), (words, stderr)


def each_command(session):
    """What is read of a directory by it, and its exit status where it can't be."""
    return (
        (("list",), 1),
        (("list", "-o", "json"), 1),
        (("get", session, "--receipt"), 1),
        (("play", session), 1),
        (("export", session, "--format", "v2"), 1),
        (("verify", session), 2),
    )


@pytest.mark.parametrize("why", ["No such file or directory", "Not a directory", "Too many levels of symbolic links"])
async def test_what_is_no_directory_is_not_one_without_recordings(local, tmp_path, why):
    there = tmp_path / "there"
    if why == "Not a directory":
        there.write_bytes(b"")
    elif why != "No such file or directory":
        there.symlink_to(there)
    for words, failed in each_command(id_at(NOON)):
        result = await local.run(*words, "--dir", str(there))
        assert result == (failed, b"", f"k8s-ws-proxy: {there} can't be read: {why}\n"), words


async def test_what_one_may_not_read_in_a_directory_is_told(local, made):
    session = made.finished()
    cast, receipt = made.cast(session), made.receipt(session)
    # root is let in everywhere, as long as it has its privileges
    program = [*(("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()), *PROGRAM]

    async def refused(words, what):
        process = await local.start(*words, "--dir", str(made.root), program=program)
        stdout, stderr = await process.communicate()
        assert (stdout, stderr.decode()) == (b"", f"k8s-ws-proxy: {what} can't be read: Permission denied\n"), words
        return process.returncode

    made.root.chmod(0)
    assert await refused(("list",), made.root) == 1
    made.root.chmod(0o750)
    cast.parent.chmod(0)
    assert await refused(("list",), f"what is in {made.root}") == 1
    cast.parent.chmod(0o750)
    cast.chmod(0)
    assert await refused(("get", session), f"the recording {session} in {made.root}") == 1
    assert await refused(("verify", session), f"the recording {session} in {made.root}") == 2
    receipt.chmod(0)
    assert await refused(("verify", session), f"the receipt of {session} in {made.root}") == 2
    process = await local.start("list", "--dir", str(made.root), program=program)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"k8s-ws-proxy: 1 couldn't be read, or their receipts are broken\n")


async def test_export(client, local, made, tmp_path):
    data = cast_of(b"hello\r\n", "wörld\r\n".encode(), b"\x1b[31mred\x1b[0m\rRED\r\n", every=0.25)
    session = made.finished(data)
    for who, what in ((client, session), (local, str(made.cast(session)))):
        status, stdout, stderr = await who.run("export", what, "--format", "v2")
        assert (status, stderr) == (0, "")
        header, *events = map(json.loads, stdout.splitlines())
        assert header == {
            "version": 2,
            "width": 80,
            "height": 24,
            "timestamp": NOON // 1000,
            "title": "default/shell/shell",
            "command": "sh",
        }
        assert events == [[0.0, "o", "hello\r\n"], [0.25, "o", "wörld\r\n"], [0.5, "o", "\x1b[31mred\x1b[0m\rRED\r\n"]]
        status, stdout, stderr = await who.run("export", what, "--format", "text")
        assert (status, stdout.decode(), stderr) == (0, "hello\nwörld\nRED\n", "")
    into = tmp_path / "x.txt"
    assert await local.run("export", "-", "--format", "text", "-o", str(into), given=data) == (0, b"", "")
    assert into.read_text() == "hello\nwörld\nRED\n"
    status, _, stderr = await local.run("export", "-", "--format", "text", given=b"not a cast\n")
    assert (status, stderr) == (1, "k8s-ws-proxy: line 1 can't be read as asciicast: it isn't JSON in UTF-8\n")


async def test_a_reader_gets_of_v2_what_it_gets_of_v3(local, made):
    data = cast_of(*(b"piece %d\r\n" % number for number in range(500)), every=1 / 3)
    session = made.finished(data)
    _, stdout, _ = await local.run("export", str(made.cast(session)), "--format", "v2")
    events = []
    for each in (data, stdout):
        reader = CastReader()
        events.append([event for event in reader.feed(each) + reader.end() if event.code != "x"])
    assert [(event.code, event.data) for event in events[0]] == [(event.code, event.data) for event in events[1]]
    assert [event.at for event in events[0]] == pytest.approx([event.at for event in events[1]], abs=1e-5)


async def test_playing_into_a_pipe(local, made):
    session = made.finished(cast_of(b"one\r\n", b"two\r\n", every=0.5))
    status, stdout, stderr = await local.run("play", str(made.cast(session)))
    assert (status, stdout, stderr) == (0, b"one\r\ntwo\r\n", "")
    slow = made.finished(cast_of(b"one\r\n", b"two\r\n", every=3600))
    for words in (("--idle-limit", "0.01"), ("--speed", "1000000")):
        assert (await local.run("play", str(made.cast(slow)), *words))[:2] == (0, b"one\r\ntwo\r\n")


async def test_what_would_do_more_than_draw_is_left_out(local, made):
    session = made.finished(cast_of(NASTY))
    status, stdout, _ = await local.run("play", str(made.cast(session)), "--speed", "100")
    assert (status, stdout) == (0, b"before \xef\xbf\xbd5n after\r\n")  # that byte was no UTF-8
    status, stdout, _ = await local.run("play", str(made.cast(session)), "--speed", "100", "--raw")
    assert b"\x1b]52;c;" in stdout


async def test_a_torn_one_is_played_to_where_it_was_torn(local, made):
    data = cast_of(b"one\r\n", b"two\r\n")
    status, stdout, stderr = await local.run("play", "-", "--speed", "100", given=data[:-10])
    assert (status, stdout) == (0, b"one\r\ntwo\r\n")
    assert "torn" in stderr


async def test_a_proxy_that_waits_for_nobody_is_not_waited_with(start, made, tmp_path):
    """More than the sockets hold comes after a pause that is longer than the proxy's patience."""
    daemon = await start(RECORDING_DIR=str(made.root), WS_HANDSHAKE_TIMEOUT="1s")
    client = Client(daemon.url, tmp_path / "secret", tmp_path, "recordings")
    begun = b'{"version":3,"term":{"cols":80,"rows":24}}\n[0,"o","begun\\r\\n"]\n[4,"o","on\\r\\n"]\n'
    line = b"x" * 8000 + b"\r\n"
    session = made.finished(begun + b'[0,"o",%b]\n' % json.dumps(line.decode()).encode() * 2500)
    status, stdout, stderr = await client.run("play", session)
    assert (status, stderr) == (0, "")
    assert stdout == b"begun\r\non\r\n" + line * 2500


async def test_following_what_goes_on(client, made):
    session = made.running(cast_of(b"one\r\n", every=0))
    process = await client.start("play", session, "--follow")
    assert await process.stdout.readline() == b"one\r\n"
    with made.cast(session).open("ab") as file:
        file.write(b'[0.1, "o", "two\\r\\n"]\n')
    assert await process.stdout.readline() == b"two\r\n"
    made.finish(session)
    assert await process.wait() == 0


@pytest.fixture
async def screen():
    screen = Screen()
    yield screen
    screen.close()


@pytest.fixture
async def start_playing(screen, daemon, tmp_path):
    async with programs(screen, tmp_path, K8S_WS_PROXY_URL=daemon.url) as start:

        async def playing(*words):
            return await start("recordings", "play", *words)

        yield playing


async def test_on_a_terminal_it_can_be_stopped_and_stepped_and_left(screen, start_playing, made):
    session = made.finished(cast_of(*(b"<%d>" % number for number in range(1000)), every=3600))
    process = await start_playing(session)
    await screen.until(rb"<0>")
    assert screen.is_raw
    screen.type(b" ")
    for number in (1, 2, 3):
        screen.type(b".")
        await screen.until(rb"<%d>" % number)
    screen.type(b"q")
    assert await process.wait() == 0
    assert screen.is_restored


@pytest.mark.parametrize("key", [b"\x03", b"\x1d", b"q"])
async def test_each_way_out_leaves_the_terminal_as_it_was(screen, start_playing, made, key):
    session = made.finished(cast_of(b"\x1b[?1049h\x1b[?25l\x1b[31mhere", b"x", every=3600))
    process = await start_playing(session)
    await screen.until(rb"here")
    screen.type(key)
    assert await process.wait() == 0
    assert screen.is_restored
    await screen.until(rb"\x1b\[\?1049l.*\x1b\[\?25h.*\x1b\[0m")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_each_signal_leaves_the_terminal_as_it_was(screen, start_playing, made, number):
    session = made.finished(cast_of(b"here", b"x", every=3600))
    process = await start_playing(session)
    await screen.until(rb"here")
    process.send_signal(number)
    assert await process.wait() == -number
    assert screen.is_restored


async def test_what_can_t_be_read_in_the_middle_leaves_it_as_it_was(screen, start_playing, made, tmp_path):
    broken = tmp_path / "broken.cast"
    broken.write_bytes(cast_of(b"here") + b"no event\n")
    process = await start_playing(str(broken), "--speed", "100")
    await screen.until(rb"can't be read as asciicast")
    assert await process.wait() == 1
    assert screen.is_restored


async def test_a_terminal_that_is_too_small_is_told_so(screen, start_playing, made):
    session = made.finished(cast_of(b"here").replace(b'"cols":80', b'"cols":500'))
    process = await start_playing(session, "--speed", "100")
    await screen.until(rb"it is 500x24, and yours \d+x\d+")
    assert await process.wait() == 0


async def test_keys_are_heeded_in_a_flood(screen, start_playing, made):
    session = made.finished(cast_of(*(b"y" * 70 + b"\r\n" for _ in range(200_000)), every=0))
    process = await start_playing(session)
    await screen.until(rb"yyyy")
    screen.type(b"q")
    assert await process.wait() == 0
    assert screen.is_restored


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("list", "--from", "yesterday"), "is no date"),
        (("list", "--dir", "/nowhere", "--url", "http://127.0.0.1:1"), "asks nobody"),
        (("play", "x", "--speed", "0"), "no number above 0"),
        (("play", "x", "--speed", "nan"), "no number above 0"),
        (("get", "01"), "is no session's id"),
        (("get", "01995f3c-7a00-7d21-8c4e-5a1d3b0f6c1e", "-o", "-", "--receipt"), "name one with -o"),
        (("play", "/no/such/file"), "can't be read"),
        (("play", "-", "--follow"), "--follow asks a proxy"),
        (("export", "x"), "required"),
    ],
)
async def test_what_can_t_be_meant(local, words, wanted):
    status, _, stderr = await local.run(*words)
    assert status in (1, 2)
    assert wanted in stderr
