"""Never a byte lost, never a Success that wasn't said: the end of sessions, floods, fragments, deaths."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random

import pytest
from support.caller import (
    PIPES,
    V4,
    V5,
    close,
    end_stdin,
    memory,
    on_terminal,
    opened,
    proxy_exec,
    reset_peak,
    run,
    script,
)

from k8s_ws_proxy.devcluster import Death
from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import STATUS, STDERR, STDIN, STDOUT

MIB = 1 << 20


async def numbered_commands(daemon, count, at_once):
    """``count`` commands of one line each, ``at_once`` of them at a time; what of them is wrong."""
    numbers = iter(range(count))
    wrong = []

    async def caller():
        for number in numbers:
            code = number % 256
            offer = [(V5,), (V4,)][number % 2]
            ended = await run(daemon, script(f"echo {number}; echo e{number} >&2; exit {code}"), subprotocols=offer)
            output = ended.output.get(STDOUT), ended.output.get(STDERR)
            if (
                output != (b"%d\n" % number, b"e%d\n" % number)
                or ended.exit_code != code
                or ended.code != frames.NORMAL
            ):
                wrong.append((number, ended))

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return wrong


@pytest.mark.slow
async def test_1_000_commands_lose_neither_a_byte_nor_an_exit_code(daemon):
    assert await numbered_commands(daemon, 1_000, 4) == []


@pytest.mark.soak
@pytest.mark.parametrize("at_once", [1, 4])
async def test_10_000_commands_lose_neither_a_byte_nor_an_exit_code(daemon, at_once):
    assert await numbered_commands(daemon, 10_000, at_once) == []


async def two_million_lines(daemon, times):
    """``seq 1 2000000``, ``times`` times; how often it didn't arrive as it is."""
    wanted = hashlib.sha256(b"".join(b"%d\n" % number for number in range(1, 2_000_001))).digest()
    wrong = 0
    for _ in range(times):
        ended = await run(daemon, proxy_exec("seq", "1", "2000000", **PIPES))
        came = hashlib.sha256(ended.output.get(STDOUT, b"")).digest()
        wrong += (came, ended.exit_code, ended.code) != (wanted, 0, frames.NORMAL)
    return wrong


async def test_two_million_lines_by_hash(daemon):
    assert await two_million_lines(daemon, 5) == 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_two_million_lines_by_hash_1_000_times(daemon):
    assert await two_million_lines(daemon, 1000) == 0


async def test_a_last_line_after_much_output_is_there_and_so_is_the_exit_code(daemon):
    """The process ends the moment its last byte is written, in many sizes around the buffers on the way."""
    for size in (1, 4095, 4096, 32767, 32768, 32769, 65535, 65536, 131071, 131072, 131073, 1_000_003):
        ended = await run(daemon, script(f"head -c {size} /dev/zero; printf end; exit 9"))
        assert len(ended.output[STDOUT]) == size + 3
        assert ended.output[STDOUT].endswith(b"\0end")
        assert (ended.exit_code, ended.code) == (9, frames.NORMAL)


async def test_256_mib_of_stdin_over_v5_by_hash_in_flat_memory(daemon):
    chunks = [os.urandom(65_536) for _ in range(61)]
    ready = [frames.frame(frames.BINARY, b"\0" + chunk, os.urandom(4)) for chunk in chunks]
    order = random.Random(1)
    digest = hashlib.sha256()
    async with opened(daemon, proxy_exec("sha256sum", **PIPES)) as ws:
        reset_peak(daemon)
        before = memory(daemon, "VmRSS")
        for _ in range(256 * MIB // 65_536):
            number = order.randrange(61)
            digest.update(chunks[number])
            await ws.send_raw(ready[number])
        await end_stdin(ws)
        ended = await ws.finish()
    assert ended.text(STDOUT).split()[0] == digest.hexdigest()
    assert ended.exit_code == 0
    assert memory(daemon) - before < 4 * MIB


async def drain_by_hash(ws, step=None):
    """Hash and length of stdout, and the end, reading with ``step`` between frames."""
    digest, length = hashlib.sha256(), 0
    while (frame := await ws.frame()) is not None:
        if frame.opcode == frames.CLOSE:
            code, _ = frames.parse_close(frame.payload)
        elif frame.opcode == frames.BINARY and frame.payload[:1] == b"\1":
            digest.update(memoryview(frame.payload)[1:])
            length += len(frame.payload) - 1
        elif frame.opcode == frames.BINARY:
            status = channels.parse_status(frame.payload[1:])
        if step is not None:
            await step()
    return digest.hexdigest(), length, code, channels.exit_code(status)


def stream(size):
    """A command whose output says at each place where that is, and that output's hash."""
    return f"seq 1 100000000 | head -c {size}"


async def hash_of(size):
    """What the container's own tools say of ``stream``."""
    process = await asyncio.create_subprocess_shell(
        f"{stream(size)} 2>/dev/null | sha256sum", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.split()[0].decode()


async def test_200_mb_of_stdout_by_hash_in_flat_memory(daemon):
    wanted = await hash_of(200_000_000)
    async with opened(daemon, script(stream(200_000_000) + "; exit 5")) as ws:
        reset_peak(daemon)
        before = memory(daemon, "VmRSS")
        assert await drain_by_hash(ws) == (wanted, 200_000_000, frames.NORMAL, 5)
    assert memory(daemon) - before < 4 * MIB


class Ticker:
    """Ping periods as another session sees them: how a test waits without a clock of its own."""

    def __init__(self, ws):
        self._ws = ws
        self._count = 0
        self._ended = False
        self._changed = asyncio.Condition()

    async def run(self):
        """Answer pings and count them, to the end."""
        while (frame := await self._ws.frame()) is not None and frame.opcode != frames.CLOSE:
            if frame.opcode == frames.PING:
                await self._ws.send_frame(frames.PONG, frame.payload)
                async with self._changed:
                    self._count += 1
                    self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def ticks(self, count):
        """Wait for so many more."""
        async with self._changed:
            wanted = self._count + count
            await self._changed.wait_for(lambda: self._count >= wanted or self._ended)
            assert self._count >= wanted, "its session has ended"


@contextlib.asynccontextmanager
async def ticking(ws):
    """A ticker on a session, answering its pings."""
    ticker = Ticker(ws)
    task = asyncio.get_running_loop().create_task(ticker.run())
    try:
        yield ticker
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def quick(start):
    """A daemon that pings each two seconds, within which a busy machine still has its turn to answer.

    The test, the embedded cluster and its forty floods share a processor.
    """
    return await start(WS_PING_PERIOD="2s")


@pytest.fixture
async def ticker(quick):
    """Of an idle session there."""
    async with opened(quick, proxy_exec("cat", **PIPES)) as ws, ticking(ws) as running:
        yield running


async def test_a_reader_that_pauses_over_a_flood_loses_nothing_and_ends_1000(quick, ticker):
    """It takes nothing, and answers no ping, for four periods: there is output unsent, so nobody takes it for dead."""
    wanted = await hash_of(30_000_000)
    async with opened(quick, script(stream(30_000_000) + "; exit 5"), limit=4096) as ws:
        await ticker.ticks(4)
        assert await drain_by_hash(ws) == (wanted, 30_000_000, frames.NORMAL, 5)
    line = await quick.event("session ended", exit_code=5)
    assert (line["reason"], line["close_code"]) == ("command_ended", frames.NORMAL)


async def test_stalled_readers_leave_memory_flat_and_get_everything_later(quick, ticker):
    """512 KiB a session are promised; 40 that take nothing, over floods."""
    count, size = 40, 12_000_000
    wanted = await hash_of(size)
    reset_peak(quick)
    before = memory(quick, "VmRSS")
    async with asyncio.TaskGroup() as group:
        go = asyncio.Event()

        async def stalled():
            async with opened(quick, script(stream(size)), limit=4096) as ws:
                await go.wait()
                return await drain_by_hash(ws)

        sessions = [group.create_task(stalled()) for _ in range(count)]
        await quick.event("session opened", count=count + 1)
        await ticker.ticks(4)
        held = memory(quick) - before
        go.set()
    assert [session.result() for session in sessions] == [(wanted, size, frames.NORMAL, 0)] * count
    assert held < count * 512 * 1024 // 2


async def test_a_writer_over_a_process_that_does_not_read_loses_nothing(quick, ticker, tmp_path):
    """Pasting into a program that is busy: held back, not cut off, whatever becomes of pings meanwhile."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    # More than all the kernels' buffers on the way may grow to; made beside the loop, where the ticker answers pings.
    data = await asyncio.to_thread(os.urandom, 60_000_000)
    async with opened(quick, script(f"read x <{gate}; sha256sum")) as ws:

        async def paste():
            for start in range(0, len(data), 50_000):
                await ws.send(STDIN, data[start : start + 50_000])
            await end_stdin(ws)

        pasting = asyncio.get_running_loop().create_task(paste())
        await ticker.ticks(4)
        assert not pasting.done(), "nobody reads, and yet everything was taken"
        assert (await run(quick, script(f"echo go >{gate}"))).exit_code == 0
        ended = await ws.finish()
        await pasting
    assert ended.text(STDOUT).split()[0] == hashlib.sha256(data).hexdigest()
    assert (ended.exit_code, ended.code) == (0, frames.NORMAL)


async def test_floods_do_not_starve_a_keystroke(daemon):
    async with asyncio.TaskGroup() as group:

        async def flood():
            async with opened(daemon, script("exec yes")) as ws:
                while await ws.frame():
                    pass

        floods = [group.create_task(flood()) for _ in range(4)]
        async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
            for number in range(100):
                await ws.send(STDIN, b"%d\n" % number)
                assert await ws.until(STDOUT, b"\n") == b"%d\n" % number
        for task in floods:
            task.cancel()


# An empty message on channel 1, "hi\n", the status, the close.
SUCCESS = b'{"metadata":{},"status":"Success"}'
ON_THE_WIRE = [
    (frames.BINARY, b"\1"),
    (frames.BINARY, b"\1hi\n"),
    (frames.BINARY, b"\3" + SUCCESS),
    (frames.CLOSE, frames.close_payload(frames.NORMAL)),
]


def after(sent):
    """What a caller must have of "hi\\n", and whether the status was said, when upstream dies after ``sent`` bytes."""
    wire = b""
    ends = []
    for opcode, payload in ON_THE_WIRE:
        wire += frames.frame(opcode, payload)
        ends.append(len(wire))
    begin = ends[0] + 2 + 1
    return wire[begin : max(begin, min(sent, ends[1]))], sent >= ends[2], len(wire)


@pytest.mark.parametrize("how", list(Death), ids=lambda how: how.name)
@pytest.mark.parametrize("offer", [V5, V4])
async def test_upstream_dies_between_any_two_bytes(daemon, cluster, how, offer):
    total = after(0)[2]
    for sent in range(total + 1):
        cluster.faults.die_after(sent, how)
        output, said, _ = after(sent)
        ended = await run(daemon, script("echo hi"), subprotocols=[offer])
        context = (sent, ended)
        assert ended.output.get(STDOUT, b"") == output, context
        if said:
            assert (ended.output[STATUS], ended.code) == (SUCCESS, frames.NORMAL), context
        else:
            assert ended.status["status"] == "Failure", context
            assert ended.exit_code is None, context
            assert ended.code == frames.INTERNAL_ERROR, context
            assert 0 < len(ended.reason.encode()) <= 123, context


@pytest.mark.parametrize("how", list(Death), ids=lambda how: how.name)
@pytest.mark.parametrize("sent", [10_000, 32_769, 32_774, 100_000, 1_000_000, 10_000_000])
async def test_upstream_dies_in_a_flood(daemon, cluster, how, sent):
    """All that came is passed on: a beginning of what the command wrote, then a Failure that says why."""
    cluster.faults.die_after(sent, how)
    ended = await run(daemon, script("seq 1 100000000"))
    written = ended.output[STDOUT]
    lines = written.split(b"\n")
    assert lines[:-1] == [b"%d" % number for number in range(1, len(lines))]
    assert (b"%d" % len(lines)).startswith(lines[-1])
    if how is Death.EOF:
        # Of what upstream sent only headers and channel bytes are missing: 5 for 32 KiB at best, for a page at worst.
        assert sent - sent // 400 - 20 <= len(written) < sent
    assert ended.status["status"] == "Failure"
    assert (ended.exit_code, ended.code) == (None, frames.INTERNAL_ERROR)
    assert list(ended.output) == [STDOUT, STATUS]


async def test_upstream_dies_under_a_reader_that_pauses(quick, ticker, cluster):
    cluster.faults.die_after(20_000_000)
    async with opened(quick, script("seq 1 100000000"), limit=4096) as ws:
        await ticker.ticks(3)
        ended = await ws.finish()
    assert len(ended.output[STDOUT]) > 19_900_000
    assert ended.status["status"] == "Failure"
    assert ended.code == frames.INTERNAL_ERROR


async def send_in_fragments(ws, payload, sizes, between=None):
    """One message in frames of these sizes, the last one as long as need be."""
    opcode, start = frames.BINARY, 0
    for size in sizes:
        await ws.send_frame(opcode, payload[start : start + size], fin=False)
        opcode, start = frames.CONTINUATION, start + size
        if between is not None:
            await between()
    await ws.send_frame(opcode, payload[start:])


@pytest.mark.parametrize("offer", [V5, V4])
async def test_a_paste_of_1_mib_in_33_fragments_as_chromium_sends_it(daemon, offer):
    data = os.urandom(MIB)
    async with opened(daemon, script(f"head -c {MIB} | sha256sum"), subprotocols=[offer]) as ws:
        await send_in_fragments(ws, b"\0" + data, [32_768] * 32)
        ended = await ws.finish()
    assert ended.text(STDOUT).split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "sizes",
    [[0], [1], [0, 0, 1, 0], [1] * 300, [2, 125, 126, 127, 65_535, 65_536], [200_000, 0, 1]],
    ids=["an empty first one", "only the channel", "empty ones", "single bytes", "every header", "large, empty, one"],
)
async def test_fragments_of_any_size_with_pings_between_them(daemon, sizes):
    data = os.urandom(300_000)
    pings = []

    async def ping():
        pings.append(os.urandom(8))
        await ws.send_frame(frames.PING, pings[-1])

    async with opened(daemon, script(f"head -c {3 * len(data)} | sha256sum")) as ws:
        for _ in range(3):
            await send_in_fragments(ws, b"\0" + data, sizes, ping)
        ponged = set()
        output = b""
        while (frame := await ws.frame()) is not None and frame.opcode != frames.CLOSE:
            if frame.opcode == frames.PONG:
                ponged.add(frame.payload)
            elif frame.payload[:1] == b"\1":
                output += frame.payload[1:]
    assert output.split()[0].decode() == hashlib.sha256(data * 3).hexdigest()
    assert ponged <= set(pings)
    assert pings[-1] in ponged, "the most recent one at least (RFC 6455, 5.5.3)"


async def test_a_resize_and_the_end_of_stdin_in_fragments(daemon):
    async with opened(daemon, on_terminal("read x; stty size")) as ws:
        await send_in_fragments(ws, b'\4{"Width":91,"Height":37}', [1, 0, 5, 7])
        await ws.send(STDIN, b"x\n")
        await ws.until(STDOUT, b"37 91")
    async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
        await ws.send(STDIN, b"x")
        await send_in_fragments(ws, b"\xff\0", [0, 1])
        assert (await ws.finish()).text(STDOUT) == "x"


async def test_a_clients_frames_split_at_every_byte(daemon):
    raw = b"".join(
        frames.frame(opcode, payload, os.urandom(4))
        for opcode, payload in (
            (frames.BINARY, b"\0" + b"a" * 200),
            (frames.PING, b"ping"),
            (frames.BINARY, b"\0"),
            (frames.TEXT, b"\0text"),
            (frames.BINARY, b"\xff\0"),
        )
    )
    for cut in range(1, len(raw)):
        async with opened(daemon, proxy_exec("cat", **PIPES)) as ws:
            await ws.send_raw(raw[:cut])
            if cut % 16 == 0:
                await run(daemon, proxy_exec("true", **PIPES))  # by then the first part has been read by itself
            await ws.send_raw(raw[cut:])
            ended = await ws.finish()
        assert ended.text(STDOUT) == "a" * 200 + "text"
        assert ended.exit_code == 0


@pytest.mark.parametrize("payload", [b"", b"x", b"k8s-ws-proxy", bytes(range(125))], ids=["empty", "x", "ours", "125"])
async def test_a_ping_is_answered_with_its_payload(daemon, payload):
    async with opened(daemon, on_terminal("cat")) as ws:
        await ws.send_frame(frames.PING, payload)
        while (frame := await ws.frame()).opcode != frames.PONG:
            pass
        assert frame.payload == payload


def raw_frame(first, length, payload=b"", *, masked=True, key=b"\1\2\3\4"):
    """A frame's bytes from its first byte and its length field as given."""
    second = (0x80 if masked else 0) | length[0]
    body = frames.mask(payload, key) if masked else payload
    return bytes((first, second)) + bytes(length[1:]) + (key if masked else b"") + body


VIOLATIONS = {
    "an unmasked frame": (raw_frame(0x82, [2], b"\0x", masked=False), 1002),
    "RSV1": (raw_frame(0xC2, [2], b"\0x"), 1002),
    "RSV2": (raw_frame(0xA2, [2], b"\0x"), 1002),
    "RSV3": (raw_frame(0x92, [2], b"\0x"), 1002),
    **{f"opcode {opcode:#x}": (raw_frame(0x80 | opcode, [2], b"\0x"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 15)},
    "a fragmented ping": (raw_frame(0x09, [1], b"x"), 1002),
    "a ping of 126 bytes": (raw_frame(0x89, [126, 0, 126], bytes(126)), 1002),
    "a continuation of nothing": (raw_frame(0x80, [2], b"\0x"), 1002),
    "a message within a message": (raw_frame(0x02, [2], b"\0x") + raw_frame(0x82, [2], b"\0y"), 1002),
    "a length that isn't the shortest, 16 bit": (raw_frame(0x82, [126, 0, 2], b"\0x"), 1002),
    "a length that isn't the shortest, 64 bit": (raw_frame(0x82, [127, 0, 0, 0, 0, 0, 0, 0, 2], b"\0x"), 1002),
    "a length with its highest bit": (raw_frame(0x82, [127, 0x80, 0, 0, 0, 0, 0, 0, 2], b"\0x"), 1002),
    "a message over 32 MiB": (raw_frame(0x82, [127, 0, 0, 0, 0, 2, 0, 0, 1], b"\0x"), 1009),
    "a resize of 100 KB": (raw_frame(0x82, [127, 0, 0, 0, 0, 0, 1, 0x86, 0xA0], b"\4x"), 1009),
    "a close of one byte": (raw_frame(0x88, [1], b"\3"), 1002),
    "a close with 1005": (raw_frame(0x88, [2], b"\x03\xed"), 1002),
    "a close with 1006": (raw_frame(0x88, [2], b"\x03\xee"), 1002),
    "a close with 999": (raw_frame(0x88, [2], b"\x03\xe7"), 1002),
    "a close with 5000": (raw_frame(0x88, [2], b"\x13\x88"), 1002),
    "a close whose reason isn't UTF-8": (raw_frame(0x88, [4], b"\x03\xe8\xff\xfe"), 1007),
}


@pytest.mark.parametrize(("raw", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
async def test_a_violation_ends_the_session_and_nothing_of_it_is_passed_on(daemon, cluster, tmp_path, raw, code):
    seen = tmp_path / "seen"
    async with opened(daemon, script(f"tee {seen}; echo done >>{seen}.done")) as ws:
        await ws.send(STDIN, b"before\n")
        await ws.until(STDOUT, b"before\n")
        await ws.send_raw(raw)
        await ws.send_frame(frames.BINARY, b"\0after\n")
        ended = await ws.finish(reply=False)
    assert (ended.code, ended.output) == (code, {})
    assert ended.reason
    await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 0)
    await cluster.observed.wait_for(lambda: cluster.observed.running == 0)
    # The message that was under way when another began was good so far, and may have gone.
    assert seen.read_bytes() in {b"before\n", b"before\nx"}
    line = await daemon.event("session ended")
    assert (line["level"], line["reason"], line["close_code"]) == ("warning", "client_broke_protocol", code)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999, None])
async def test_a_clients_close_is_answered_with_its_code(daemon, code):
    async with opened(daemon, on_terminal("cat")) as ws:
        await close(ws, code)
        ended = await ws.finish(reply=False)
    assert ended.code == (1005 if code is None else code)


async def test_a_client_that_answers_pings_stays(quick, ticker):
    await ticker.ticks(4)
    assert (await run(quick, proxy_exec("true", **PIPES))).exit_code == 0
    assert "session ended" not in [line["event"] for line in quick.log if line.get("command") == ["cat"]]


async def test_a_client_that_answers_no_ping_is_dropped(quick, ticker, cluster):
    async with opened(quick, on_terminal("echo up; cat")) as ws:
        ended = None
        pings = 0
        while (frame := await ws.frame()) is not None:
            pings += frame.opcode == frames.PING
            if frame.opcode == frames.CLOSE:
                ended = frames.parse_close(frame.payload)
        line = await quick.event("session ended")
        assert (line["level"], line["reason"]) == ("warning", "client_silent")
        assert ended == (frames.GOING_AWAY, "no answer to a ping")
        assert pings == 1
        await cluster.observed.wait_for(lambda: cluster.observed.open_streams == 1)
    await ticker.ticks(2)


async def test_any_byte_from_a_client_counts_as_life(quick):
    """It answers none of four pings, but types without a pause."""
    async with opened(quick, proxy_exec("cat", **PIPES)) as ws:
        pings = 0
        while pings < 4:
            await ws.send(STDIN, b"x")
            while (frame := await ws.frame()).payload != b"\1x":
                assert frame.opcode != frames.CLOSE, frame
                pings += frame.opcode == frames.PING


async def test_a_silent_session_lives(quick, ticker):
    """``sleep`` says nothing for ever; pings on both legs keep the path open, and each is answered."""
    async with opened(quick, script("sleep 5000")) as ws:
        async with ticking(ws) as silent:
            await asyncio.gather(silent.ticks(4), ticker.ticks(4))
        await close(ws)
        assert (await ws.finish()).code == frames.NORMAL
