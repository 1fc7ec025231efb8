"""guacd's profile without a socket: small messages, one line for a failure."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import BINARY, CLOSE, PING, TEXT, Frame, closing, join, read_frames, server, text

from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.wire.framing.channels import failure
from k8s_ws_proxy.wire.framing.splitter import HEADROOM, Block
from k8s_ws_proxy.wire.rules.guacd import MOST, GuacdRelay, small_messages, split_command, terminal_line
from k8s_ws_proxy.wire.rules.relay import Ending

SIZES = st.one_of(st.integers(0, 300), st.integers(4090, 4100), st.integers(8180, 8200), st.integers(0, 70_000))
FRAMES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([BINARY, TEXT]), st.integers(0, 4), SIZES).map(
            lambda f: Frame(f[0], (bytes((f[1],)) + (b"0123456789" * (f[2] // 10 + 1)))[: f[2]])
        ),
        st.sampled_from([Frame(PING, b"hello"), Frame(CLOSE, b"\x03\xe8")]),
    ),
    max_size=6,
)


def by_channel(frames):
    """The bytes in order, each run of one channel as one."""
    runs = []
    for frame in frames:
        if frame.opcode in (BINARY, TEXT) and frame.payload:
            channel, data = frame.payload[0], frame.payload[1:]
            if runs and isinstance(runs[-1], tuple) and runs[-1][0] == channel:
                runs[-1] = (channel, runs[-1][1] + data)
            else:
                runs.append((channel, data))
        else:
            runs.append(frame)
    return runs


@given(FRAMES, st.lists(st.integers(0, 100_000), max_size=4))
def test_every_message_is_small_and_no_byte_is_lost_or_moved(frames, cuts):
    data = text(frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [memoryview(data)[a:b] for a, b in itertools.pairwise(edges)]
    out = read_frames(join(small_messages(pieces)), masked=False)
    assert all(len(frame.payload) <= MOST and frame.fin for frame in out)
    assert by_channel(out) == by_channel(frames)


def test_what_is_small_stays_as_it_is():
    data = server(1, b"x" * (MOST - 1)) + server(2, b"") + closing(1000)
    assert join(small_messages([data])) == data


def test_a_message_one_byte_too_long_becomes_two():
    out = read_frames(join(small_messages([server(2, b"x" * MOST)])), masked=False)
    assert [len(frame.payload) for frame in out] == [MOST, 2]
    assert {frame.payload[0] for frame in out} == {2}


def relay():
    return GuacdRelay(lambda: b"abcd")


def from_upstream(to, data):
    block = Block(len(data))
    block.buf[HEADROOM : HEADROOM + len(data)] = data
    to.upstream_data(block, HEADROOM, HEADROOM + len(data))
    return read_frames(join(to.to_client), masked=False)


def shown(frames):
    return b"".join(frame.payload[1:] for frame in frames if frame.opcode == BINARY and frame.payload[:1] == b"\1")


def test_a_failure_that_is_no_exit_status_is_told_on_the_terminal():
    status = failure("no such command", reason="InternalError", code=500)
    assert shown(from_upstream(relay(), server(3, status))) == b"\r\nk8s-ws-proxy: no such command\r\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, b""),
        (3, b"\r\nk8s-ws-proxy: The command ended with exit status 3.\r\n"),
        (
            137,
            terminal_line("The command was killed (exit status 137): its pod was deleted, perhaps, or memory ran out."),
        ),
    ],
)
def test_a_command_that_fails_is_told_in_a_line(code, said):
    causes = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    status = {"status": "Failure", "message": "...", "details": causes} if code else {"status": "Success"}
    assert shown(from_upstream(relay(), server(3, json.dumps(status).encode()))) == said


def test_an_upstream_that_is_lost_is_told_once():
    lost = relay()
    lost.upstream_end()
    frames = read_frames(join(lost.to_client), masked=False)
    assert shown(frames).count(b"k8s-ws-proxy") == 1
    assert [frame.payload[:1] for frame in frames] == [b"\1", b"\3"]
    (last,) = read_frames(lost.farewell, masked=False)
    assert last.opcode == CLOSE
    assert lost.ending is Ending.UPSTREAM_LOST


def test_a_recording_that_fails_is_told_once():
    ended = relay()
    text = "this session can't be recorded any more, and it has to be"
    ended.give_up(f"\r\nk8s-ws-proxy: {text}.\r\n".encode(), 1, text)
    frames = read_frames(join(ended.to_client), masked=False)
    assert shown(frames) == terminal_line(text)
    assert [frame.payload[:1] for frame in frames] == [b"\1", b"\3"]
    assert ended.ending is Ending.RECORDING_FAILED


def test_after_the_status_a_recording_that_fails_is_not_told():
    ended = relay()
    from_upstream(ended, server(3, json.dumps({"status": "Success"}).encode()))
    ended.to_client = []
    ended.give_up(b"a line", 1, "a reason")
    ended.give_up(b"a line", 1, "a reason")
    assert ended.to_client == []
    assert ended.ending is Ending.RECORDING_FAILED


def test_a_large_failure_leaves_in_small_messages():
    failed = relay()
    failed.fail(failure("x" * 20_000, reason="InternalError", code=500), "x")
    frames = read_frames(join(failed.to_client), masked=False)
    assert all(len(frame.payload) <= MOST for frame in frames)
    assert len(shown(frames)) < 1100


def test_last_words_leave_in_small_messages():
    dying = relay()
    frames = from_upstream(dying, server(1, b"x" * 20_000)[:50])
    dying.upstream_end()
    frames = read_frames(join(dying.to_client), masked=False)
    assert b"x" in shown(frames)
    assert all(len(frame.payload) <= MOST for frame in frames)


@pytest.mark.parametrize("raw", ["a\x1b[2Jb\r\nc", "tab\there", "\x00\x9b"])
def test_a_line_holds_nothing_that_a_terminal_would_obey(raw):
    line = terminal_line(raw)
    inner = line.decode().removeprefix("\r\n").removesuffix("\r\n")
    assert line.startswith(b"\r\nk8s-ws-proxy: ")
    assert inner.isprintable()


def test_commands():
    assert split_command(("sh",)) == ("sh",)
    assert split_command(("'sh'",)) == ("'sh'",), "no white space, nothing to split"
    assert split_command(("sh -l",)) == ("sh", "-l")
    assert split_command(("sh", "-c", "'echo", "hi;", "exec", "sh'")) == ("sh", "-c", "echo hi; exec sh")
    assert split_command(("a b", "'c'")) == ("a b", "'c'"), "not cut at white space"
    assert split_command(("it's", "b")) == ("it's", "b"), "a quotation stays open"
    assert split_command(("", "")) == ("/bin/sh",)
    assert split_command(("",)) == split_command(("  ",)) == ("/bin/sh",)
    with pytest.raises(Refusal, match="quotation mark") as refused:
        split_command(("sh 'a",))
    assert refused.value.reason.value == "bad_query"
