"""As much of RFC 6455 §5.2 as a source, a sink and a keystroke need."""

from collections.abc import Callable, Iterator

BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA
STDIN, STDOUT, STATUS = b"\x00", b"\x01", b"\x03"
MASK = b"\x5a\xc3\x17\x8e"
CTRL_C = b"\x03"
BLOCK_BYTES = 256 * 1024
# In TLS records of at most 16 KiB these are records of 10 KiB in the mean: what a real apiserver was seen to write.
MIXED_KIB = (20, 8, 32, 12, 28)

SUCCESS = b'{"metadata":{},"status":"Success"}'
NORMAL_CLOSURE = (1000).to_bytes(2, "big")


def _header(size: int, opcode: int, mask_bit: int) -> bytes:
    first = bytes([0x80 | opcode])
    if size < 126:
        return first + bytes([mask_bit | size])
    if size < 65536:
        return first + bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    return first + bytes([mask_bit | 127]) + size.to_bytes(8, "big")


def _masked(payload: bytes, mask: bytes | bytearray) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def server_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """A whole unmasked frame."""
    return _header(len(payload), opcode, 0) + payload


def client_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """A whole masked frame; one mask for all of them, as nothing here depends on its being unpredictable."""
    return _header(len(payload), opcode, 0x80) + MASK + _masked(payload, MASK)


def stdout_frame(size: int) -> bytes:
    """A channel-1 frame whose payload, the channel byte included, is `size` bytes."""
    return server_frame(STDOUT + b"." * (size - 1))


def pattern(size: int) -> bytes:
    """Content of which no piece can be lost or change places without being missed: its period is a prime."""
    period = bytes(0x20 + at % 95 for at in range(997))
    return (period * (size // len(period) + 1))[:size]


def pattern_frame(size: int) -> bytes:
    """As stdout_frame, its content a pattern; the next one goes on where it began."""
    return server_frame(STDOUT + pattern(size - 1))


def tally(count: int) -> bytes:
    """How a flood that was interrupted says how many bytes of it there were."""
    return b"\n%d in all\n" % count


def stdin_frame(size: int) -> bytes:
    """A masked channel-0 frame whose payload, the channel byte included, is `size` bytes."""
    return client_frame(STDIN + b"." * (size - 1))


def repeated(frame: bytes) -> bytes:
    """The frame over and over, whole, in a block of about 256 KiB: built once, written many times."""
    return frame * max(1, BLOCK_BYTES // len(frame))


def burst(frame_of: Callable[[int], bytes]) -> list[bytes]:
    """Messages of 8 to 32 KiB, 20 in the mean, in an order without a trend; each of them is to leave alone."""
    return [frame_of(kib * 1024) for kib in MIXED_KIB]


def take(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the whole frames off the front of `buffer`, as opcode and unmasked payload."""
    while len(buffer) >= 2:
        size = buffer[1] & 0x7F
        masked = buffer[1] & 0x80
        start = 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:start], "big")
        start += 4 if masked else 0
        if len(buffer) < start + size:
            return
        opcode, mask = buffer[0] & 0x0F, buffer[start - 4 : start]
        payload = bytes(buffer[start : start + size])
        del buffer[: start + size]
        yield opcode, _masked(payload, mask) if masked else payload
