"""docs/observed.md, "Channel 3" and "Frames", over real processes."""

import hashlib
import os
import struct

import pytest

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
BOTH = pytest.mark.parametrize("offer", [V5, V4])
CAT = {"stdin": "1", "stdout": "1"}
TTY = {"stdin": "1", "stdout": "1", "tty": "1"}


@BOTH
@pytest.mark.parametrize(
    ("streams", "channel"),
    [
        ({"stdout": "1", "stderr": "1"}, 1),
        ({"stdout": "1"}, 1),
        ({"stderr": "1"}, 2),
        ({"stderr": "1", "stdin": "1"}, 2),
    ],
)
async def test_the_first_message_is_empty(clients, offer, streams, channel):
    ended = await clients.run("true", offer=[offer], streams=streams)
    assert [bytes(frame.data[:1]) for frame in ended.messages()] == [bytes([channel]), b"\x03"]
    assert bytes(ended.frames[0].data) == bytes([channel])


@BOTH
async def test_data_then_status_then_close_1000_then_the_end(clients, offer):
    ended = await clients.sh("echo out; echo err >&2", offer=[offer])
    assert (ended.stdout, ended.stderr) == (b"out\n", b"err\n")
    assert [frame.data[0] for frame in ended.messages()][-1] == 3
    assert ended.frames[-1].opcode is clients.CLOSE
    assert ended.close == (1000, b"")
    assert ended.status == {"metadata": {}, "status": "Success"}


@BOTH
@pytest.mark.parametrize("streams", [{"stdout": "1"}, TTY], ids=["pipes", "tty"])
@pytest.mark.parametrize("code", [1, 3, 127, 255])
async def test_an_exit_code(clients, offer, streams, code):
    ended = await clients.sh(f"exit {code}", offer=[offer], streams=streams)
    assert ended.status["status"] == "Failure"
    assert ended.status["reason"] == "NonZeroExitCode"
    assert ended.status["details"] == {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    assert ended.status["message"].startswith("command terminated with non-zero exit code: ")


async def test_on_v4_the_message_ends_with_the_whole_command_line(clients):
    v4, v5 = [await clients.sh("exit 3", offer=[offer]) for offer in (V4, V5)]
    assert v4.status["message"].endswith("[sh -c exit 3]")
    assert "sh -c" not in v5.status["message"]


@pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143)])
async def test_a_signal_is_128_and_its_number(clients, signal, code):
    assert (await clients.sh(f"kill -{signal} $$")).exit_code == code


async def test_a_pod_deleted_under_the_session_gives_137(cluster, clients):
    client = await clients.exec("sh", "-c", "echo up; exec sleep 5000")
    await client.until(b"up")
    await cluster.delete_pod("default", "shell")
    ended = await client.rest()
    assert (ended.exit_code, ended.close) == (137, (1000, b""))


@pytest.mark.parametrize("streams", [{"stdout": "1"}, TTY], ids=["pipes", "tty"])
async def test_no_message_is_longer_than_32769_bytes_and_none_is_lost(clients, streams):
    script = "stty raw 2>/dev/null; head -c 5000000 /dev/urandom > random; cat random"
    ended = await clients.sh(script, streams=streams)
    assert max(len(frame.data) for frame in ended.messages()) <= 32769
    digest = await clients.run("sha256sum", "random")
    assert digest.stdout.split()[0].decode() == hashlib.sha256(ended.stdout).hexdigest()
    assert len(ended.stdout) == 5000000


async def test_stdin_ends_with_ff_00_on_v5(clients):
    client = await clients.exec("sha256sum", streams=CAT)
    data = os.urandom(1_000_000)
    for start in range(0, len(data), 50_000):
        await client.stdin(data[start : start + 50_000])
    await client.end_stdin()
    ended = await client.rest()
    assert ended.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert ended.exit_code == 0


async def test_what_comes_after_ff_00_is_dropped(clients):
    client = await clients.exec("cat", streams=CAT)
    await client.stdin(b"before")
    await client.end_stdin()
    await client.stdin(b"after")
    await client.end_stdin()
    assert (await client.rest()).stdout == b"before"


async def test_ff_00_does_not_end_cat_on_a_tty(clients):
    client = await clients.exec("cat", streams=TTY)
    await client.end_stdin()
    await client.stdin(b"still here\n")
    await client.until(b"still here\r\nstill here\r\n")
    await client.stdin(b"\x04")
    assert (await client.rest()).exit_code == 0


async def test_v4_ignores_ff_00(clients):
    client = await clients.exec("cat", streams=CAT, offer=[V4])
    await client.end_stdin()
    await client.stdin(b"still here")
    assert await client.message(1) == b"still here"


@pytest.mark.parametrize("message", [b"\xff", b"\xff\x00\x00", b"\xff\x07"])
async def test_a_malformed_ff_gives_close_1000_and_no_status(clients, message):
    client = await clients.exec("cat", streams=CAT)
    await client.send(message)
    ended = await client.rest()
    assert ended.close == (1000, b"")
    assert ended.channel(3) == b""


@BOTH
async def test_pings_are_answered_with_their_payload_and_none_is_sent(clients, offer):
    client = await clients.exec("cat", streams=CAT, offer=[offer])
    for payload in (b"", b"hello", bytes(range(125))):
        await client.ping(payload)
    await client.stdin(b"x")
    frames = [await client.frame() for _ in range(5)]
    assert [bytes(frame.data) for frame in frames if frame.opcode is clients.PONG] == [b"", b"hello", bytes(range(125))]
    assert all(frame.opcode is not clients.PING for frame in frames)


async def test_an_unasked_pong_is_ignored(clients):
    client = await clients.exec("cat", streams=CAT)
    await client.send(b"unasked", opcode=clients.PONG)
    await client.stdin(b"x")
    assert await client.message(1) == b"x"


async def test_fragments_are_not_put_together(clients):
    client = await clients.exec("cat", streams=CAT)
    await client.send(b"\0one ", fin=False)
    await client.send(b"two ", opcode=clients.CONT, fin=False)  # taken for channel 116
    await client.send(b"\0three", opcode=clients.CONT)
    await client.end_stdin()
    assert (await client.rest()).stdout == b"one three"


async def test_an_unmasked_frame_gives_close_1002(clients):
    client = await clients.exec("cat", streams=CAT)
    await client.send(b"\0x", mask=False)
    ended = await client.rest()
    assert ended.close[0] == 1002
    assert ended.channel(3) == b""


async def test_a_message_of_32_mib_is_taken(clients):
    client = await clients.exec("wc", "-c", streams=CAT)
    await client.stdin(bytes((32 << 20) - 1))
    await client.end_stdin()
    assert (await client.rest()).stdout == b"33554431\n"


async def test_a_message_over_32_mib_drops_the_connection(clients):
    client = await clients.exec("cat", streams=CAT)
    client.writer.write(struct.pack("!BBQ", 0x82, 0xFF, (32 << 20) + 1) + b"mask")
    ended = await client.rest()
    assert ended.close is None
    assert ended.channel(3) == b""


@pytest.mark.parametrize(
    "message", [b"", b"\x05x", b"\x63what", b"\x01x", b"\x03{}", b"\x04", b"\x04nonsense", b"\x04[1]"]
)
async def test_what_means_nothing_is_ignored(clients, message):
    client = await clients.exec("cat", streams=CAT)
    await client.send(message)
    await client.stdin(b"x")
    await client.end_stdin()
    assert (await client.rest()).stdout == b"x"


async def test_the_size_is_0_0_before_the_first_resize(clients):
    assert (await clients.run("stty", "size", streams=TTY)).stdout == b"0 0\r\n"


@pytest.mark.parametrize(
    "size", [{"Width": 80, "Height": 24}, {"width": 80, "height": 24}, {"WIDTH": 80, "hEIGHT": 24, "x": None}]
)
async def test_a_resize_in_either_case(clients, size):
    client = await clients.exec("sh", "-c", "read line; stty size", streams=TTY)
    await client.resize(**size)
    await client.stdin(b"\n")
    assert b"24 80\r\n" in (await client.rest()).stdout


@pytest.mark.parametrize(
    "size",
    [{"Width": -1, "Height": 24}, {"Width": 70000, "Height": 24}, {"Width": "80", "Height": 24}, {"Width": True}],
)
async def test_a_size_that_cannot_be_is_ignored(clients, size):
    client = await clients.exec("sh", "-c", "read line; stty size", streams=TTY)
    await client.resize(Width=80, Height=24)
    await client.resize(**size)
    await client.stdin(b"\n")
    assert b"24 80\r\n" in (await client.rest()).stdout


async def test_a_resize_is_signalled_to_the_process(clients):
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do read line; done"
    client = await clients.exec("sh", "-c", script, streams=TTY)
    await client.until(b"ready")
    await client.resize(Width=100, Height=40)
    assert b"40 100" in (await client.rest()).stdout


async def test_a_terminal_is_the_controlling_terminal_of_a_new_session(clients):
    script = (
        "read pid comm state ppid pgrp session tty rest < /proc/$$/stat; echo $((pid == session && pid == pgrp)) $tty"
    )
    ended = await clients.sh(script + "; : > /dev/tty && tty", streams=TTY)
    leader, device, name = ended.stdout.split()
    assert leader == b"1"
    assert int(device) != 0
    assert name.startswith(b"/dev/pts/")


async def test_ctrl_c_on_the_terminal_interrupts(clients):
    client = await clients.exec(
        "sh", "-c", "trap 'echo caught; exit 7' INT; echo ready; while :; do read x; done", streams=TTY
    )
    await client.until(b"ready")
    await client.stdin(b"\x03")
    ended = await client.rest()
    assert b"caught" in ended.stdout
    assert ended.exit_code == 7


@pytest.mark.parametrize("streams", [{"stdout": "1"}, TTY], ids=["pipes", "tty"])
async def test_the_environment_is_the_containers_own(clients, monkeypatch, streams):
    monkeypatch.setenv("TMUX", "/tmp/other,1,0")
    monkeypatch.setenv("SECRET_OF_THE_TEST", "1")
    ended = await clients.run("env", streams=streams)
    names = dict(line.split("=", 1) for line in ended.stdout.decode().split())
    wanted = {"PATH", "HOME", "HOSTNAME", "TMUX_TMPDIR"} | ({"TERM"} if streams is TTY else set())
    assert set(names) == wanted
    assert names["HOSTNAME"] == "shell"
    assert names.get("TERM") == ("xterm" if streams is TTY else None)
    pwd = await clients.run("pwd")
    assert pwd.stdout.decode().strip() == names["HOME"]


async def test_no_descriptor_but_the_three_is_inherited(clients):
    ended = await clients.run("ls", "/proc/self/fd")
    assert ended.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is ls's own, on the directory


async def test_signals_have_their_defaults(clients):
    ended = await clients.run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    blocked, ignored = (int(mask, 16) for mask in ended.stdout.split()[1::2])
    own = 0b11 << 31  # 32 and 33 are the C library's (nptl(7)); nobody can set them, so what was inherited stays
    assert (blocked, ignored & ~own) == (0, 0)


async def test_containers_of_one_pod_share_a_home_and_have_their_own_tmux(clients):
    await clients.run("sh", "-c", "echo shared > file")
    ended = await clients.run("cat", "file", container="side")
    assert ended.stdout == b"shared\n"
    places = [await clients.sh("echo $TMUX_TMPDIR", container=name) for name in ("shell", "side")]
    assert places[0].stdout != places[1].stdout


async def test_a_container_without_tmux(clients):
    script = "command -v tmux || echo none; command -v sh && command -v cat"
    ended = await clients.sh(script, pod="plain", container="plain")
    assert ended.stdout.startswith(b"none\n/")
    assert (ended.stdout.count(b"\n"), ended.exit_code) == (3, 0)


@pytest.mark.parametrize("argument", ["", "two words", "$(id)", "'\"", "snow\u2603man", "line\nfeed", "\udcff\udcfe"])
async def test_an_argument_arrives_as_it_was_sent(clients, argument):
    ended = await clients.run("printf", "%s", argument)
    assert ended.stdout == argument.encode(errors="surrogateescape")


async def test_without_stdin_the_process_reads_nothing_and_input_is_dropped(clients):
    client = await clients.exec("sh", "-c", "cat; echo end", streams={"stdout": "1"})
    await client.stdin(b"unwanted")
    assert (await client.rest()).stdout == b"end\n"


async def test_a_stream_that_was_not_asked_for_is_not_sent(clients):
    ended = await clients.sh("echo out; echo err >&2", streams={"stderr": "1"})
    assert (ended.stdout, ended.stderr) == (b"", b"err\n")
    ended = await clients.sh("echo out; echo err >&2", streams={"stdout": "1"})
    assert (ended.stdout, ended.stderr) == (b"out\n", b"")
    ended = await clients.sh("echo out", streams={"stdin": "1", "tty": "1"})
    assert (ended.stdout, ended.exit_code) == (b"", 0)


async def test_a_process_that_does_not_read_its_input_ends_all_the_same(clients):
    client = await clients.exec("true", streams=CAT)
    ended = await client.rest()
    assert ended.exit_code == 0


async def test_input_after_the_process_closed_its_stdin_is_dropped(clients):
    client = await clients.exec("sh", "-c", "exec <&-; echo closed; kill -STOP $$", streams=CAT)
    await client.until(b"closed")
    await client.stdin(bytes(1_000_000))
    await client.ping(b"alive")
    assert (await client.frame()).opcode is clients.PONG


async def test_a_command_line_of_100000_bytes(clients):
    ended = await clients.run("printf", "%s", "x" * 100_000)
    assert ended.stdout == b"x" * 100_000


@pytest.mark.slow
async def test_a_thousand_short_commands_lose_nothing(clients):
    for number in range(1000):
        ended = await clients.sh(f"echo {number}; exit {number % 200}")
        assert (ended.stdout, ended.exit_code) == (b"%d\n" % number, number % 200)
