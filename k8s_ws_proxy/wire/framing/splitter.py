"""One direction of a session: wire bytes in, whole channel messages out.

What leaves is always a sequence of complete, unfragmented messages, wherever the input was cut. So a ping, a status
of our own or a close can follow any block; a peer that dies between any two bytes leaves nothing half-said; and the
apiserver, which takes the first byte of every continuation frame for a channel (docs/observed.md, "Frames"), never
sees one. It costs a look at each header and no copy:

* a message that isn't there as a whole yet leaves as two (or more): its header is rewritten in place to the length
  that is there, and the rest follows under a header of its own, with the channel byte repeated, written into the
  room that the block keeps in front of the data;
* masked payloads aren't unmasked for that: a rest that started at byte ``o`` is right under the same key, turned
  by ``o - 1`` places;
* continuation frames (RFC 6455 §5.4) are the same case;
* the messages that mean something only as a whole (status, resize, the end of a channel, and what a peer types) are
  held until they are;
* where messages have no channel (``Framing.TUNNEL``) all of that holds without the channel byte.

Control frames are taken out and told as events; they are hop by hop here, so that a pong never waits behind the
other leg's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import Framing
from k8s_ws_proxy.wire.framing.frame_scan import scan_whole_frames
from k8s_ws_proxy.wire.framing.frames import FrameViolation, Header

HEADROOM: Final = 16  # bytes: the longest header is 14, and a channel byte
MESSAGE_LIMIT: Final = 32 * 1024 * 1024  # bytes: over it the apiserver drops the connection
STATUS_LIMIT: Final = 65_536  # bytes of a status that are held; the apiserver sends at most 32,769
# Bytes of a resize or a channel's end that are held: as many as scan_whole_frames() passes over unseen, so that it
# makes no difference how they arrive.
RESIZE_LIMIT: Final = 65_535
# Bytes of such a message that comes in fragments. What is put together is held besides the block, and counts towards
# what a session may hold; nobody fragments a resize.
ASSEMBLY_LIMIT: Final = 8_192
# Frames that are looked at one by one in a take(): a block may hold 40,000, of a few microseconds each.
FRAMES_AT_ONCE: Final = 128
_WORTH_CUTTING: Final = 126  # bytes: what there is of a message, if less, waits for the rest

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping that wants a pong with the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """A close frame; nothing after it counts."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """The payload of a message on channel 3, without the channel byte. It was passed on, too."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the protocol; the offending frame and all after it were not passed on."""

    code: int
    text: str


Event = Ping | Closed | Status | Violation


class Block:
    """The memory that a read goes into: one serves all sessions, since a block is gone before the next is read."""

    __slots__ = ("buf", "view")

    def __init__(self, size: int) -> None:
        self.buf = bytearray(HEADROOM + size)
        self.view = memoryview(self.buf)


class MessageSplitter:
    """The state of one direction. ``masked`` is true for what a client sends.

    Only the channels of a terminal's session, or of a peer's in one, mean anything here: with another ``framing``
    nothing is held or told.
    """

    __slots__ = (
        "_assembly",
        "_channel",
        "_channelled",
        "_in_message",
        "_key",
        "_left",
        "_masked",
        "_offset",
        "_total",
        "_watch_limit",
        "_watched",
        "carry",
        "ended",
        "events",
        "halted",
    )

    def __init__(self, *, masked: bool, framing: Framing = Framing.TERMINAL) -> None:
        self._masked = masked
        self._channelled = framing is not Framing.TUNNEL
        self._watched: tuple[int, ...] = ()
        if framing in (Framing.TERMINAL, Framing.PEER):
            self._watched = (channels.RESIZE, channels.CLOSE) if masked else (channels.STATUS,)
        if framing is Framing.PEER and masked:
            self._watched += (channels.STDIN,)
        self._watch_limit = RESIZE_LIMIT if masked else STATUS_LIMIT
        self.carry = b""  # bytes of an incomplete frame: the shell lays them before the next read
        self.events: list[Event] = []  # what the last take() saw, in order
        self.ended = False  # after a close or a violation
        self.halted = False  # the last take() has seen FRAMES_AT_ONCE: ``carry`` can be taken without reading more
        # Of the frame whose payload is being passed on in parts: bytes to come, bytes gone, its key.
        self._left = 0
        self._offset = 0
        self._key = b""
        # Of the message: its channel once known, whether continuation frames are due, its bytes so far, and its
        # payload if it has to be held until it is whole.
        self._channel: int | None = None
        self._in_message = False
        self._total = 0
        self._assembly: bytearray | None = None

    @property
    def between_messages(self) -> bool:
        """Nothing of a message is under way."""
        return not self._left and not self.carry and not self._in_message

    @property
    def midway(self) -> bool:
        """Of a message some has been passed on, or is held, and more is to come."""
        return bool(self._left) or self._in_message

    def take(self, block: Block, start: int, end: int) -> list[Piece]:
        """What may be passed on of ``block[start:end]``, which begins with ``carry`` and goes on with new bytes.

        With many tiny frames that is a part of it, and ``halted`` says so. The pieces may point into the block, and up
        to HEADROOM bytes before ``start``.
        """
        assert not self.ended, "bytes after the end"
        self.events = []
        self.halted = False
        pos = start if self._left else self._scan(block, start, end)
        if pos == end:  # nothing but whole messages, as mostly
            self.carry = b""
            return [block.view[start:end]] if end > start else []
        cut = _Cut(block, start)
        looks = 0
        try:
            if self._left:
                pos = self._scan(block, self._go_on(cut, start, end), end)
            while pos < end:
                if looks == FRAMES_AT_ONCE:
                    self.halted = True
                    break
                looks += 1
                after = self._one(cut, pos, end)
                if after is None:
                    break
                if self.ended:
                    pos = end = after
                else:
                    pos = self._scan(block, after, end)
        except FrameViolation as violation:
            self.events.append(Violation(violation.code, str(violation)))
            self.ended = True
            end = pos
        self.carry = bytes(block.view[pos:end])
        return cut.finish(pos)

    def _scan(self, block: Block, pos: int, end: int) -> int:
        """Step over the whole messages at ``pos`` that need no closer look, unless one is under way."""
        if self._left or self._in_message:
            return pos
        return scan_whole_frames(block.buf, pos, end, masked=self._masked, watching=bool(self._watched))

    def flush_truncated(self) -> list[Piece]:
        """What there is of a message that will never be whole, as one that is: the peer is gone."""
        carry, self.carry = self.carry, b""
        begun = self._in_message and self._channel is not None  # what there was of it has been passed on, or held
        if self.ended or begun or not carry:
            return []
        self.ended = True
        head = frames.parse_header(carry, 0, len(carry), masked=self._masked)
        if head is None or head.opcode >= frames.CLOSE:
            return []
        payload = carry[head.size :]
        if len(payload) < (2 if self._channelled else 1) or frames.mask(payload[:1], head.key)[0] in self._watched:
            return []
        return [frames.header(frames.BINARY, len(payload), head.key) + payload]

    def _go_on(self, cut: _Cut, start: int, end: int) -> int:
        """Pass on more of a message that was cut: as a message of its own, its header in the headroom."""
        part = min(self._left, end - start)
        head = self._rest_header(part)
        cut.first = start - len(head)
        cut.block.buf[cut.first : start] = head
        self._left -= part
        self._offset += part
        return start + part

    def _rest_header(self, part: int) -> bytes:
        """Header and channel byte for ``part`` bytes that stood at ``_offset`` in their frame."""
        assert self._channel is not None
        if not self._channelled:
            turn = self._offset % 4
            return frames.header(frames.BINARY, part, self._key[turn:] + self._key[:turn])
        if not self._key:
            return frames.header(frames.BINARY, part + 1) + bytes((self._channel,))
        turn = (self._offset - 1) % 4
        key = self._key[turn:] + self._key[:turn]
        return frames.header(frames.BINARY, part + 1, key) + bytes((self._channel ^ key[0],))

    def _one(self, cut: _Cut, pos: int, end: int) -> int | None:
        """Deal with the frame at ``pos``; the offset after what was dealt with, None if it must wait for more."""
        head = frames.parse_header(cut.block.buf, pos, end, masked=self._masked)
        if head is None:
            return None
        body = pos + head.size
        if head.opcode >= frames.CLOSE:
            return self._control(cut, head, pos, body, end)
        if (head.opcode == frames.CONTINUATION) != self._in_message:
            raise FrameViolation(frames.PROTOCOL_ERROR, "a fragmented message is not continued as it must be")
        if not self._in_message:
            self._channel, self._total = None, 0
        if self._total + head.length > MESSAGE_LIMIT:
            raise FrameViolation(frames.MESSAGE_TOO_BIG, f"a message is longer than {MESSAGE_LIMIT} bytes")
        if head.length == 0:
            return self._empty(cut, head, pos, body)
        if body == end:
            return None
        channel = self._channel
        if channel is None:
            channel = cut.block.buf[body] ^ (head.key[0] if head.key else 0)
        if channel in self._watched:
            return self._whole(cut, head, pos, body, end, channel)
        if self._channel is None:
            return self._first(cut, head, pos, body, end, channel)
        return self._continued(cut, head, pos, body, end)

    def _control(self, cut: _Cut, head: Header, pos: int, body: int, end: int) -> int | None:
        after = body + head.length
        if after > end:
            return None
        payload = frames.mask(bytes(cut.block.view[body:after]), head.key)
        if head.opcode == frames.PING:
            self.events.append(Ping(payload))
        elif head.opcode == frames.CLOSE:
            self.events.append(Closed(*frames.parse_close(payload)))
            self.ended = True
        cut.leave_out(pos, after)
        return after

    def _empty(self, cut: _Cut, head: Header, pos: int, body: int) -> int:
        """A frame without payload: a message of no bytes is passed on, an empty fragment says nothing."""
        if head.fin and not self._in_message:
            return body
        cut.leave_out(pos, body)
        if head.fin and self._total == 0:
            cut.insert(frames.header(frames.BINARY, 0, head.key))
        elif head.fin and self._assembly is not None:
            self._emit_assembly(cut, head.key)
        self._in_message = not head.fin
        return body

    def _first(self, cut: _Cut, head: Header, pos: int, body: int, end: int, channel: int) -> int | None:
        """The first frame of a message: it leaves under its own key, as long as it is by now."""
        have = min(head.length, end - body)
        if have < head.length and have < _WORTH_CUTTING:
            return None
        if have < head.length or not head.fin or head.opcode == frames.CONTINUATION:
            start = body - len(new := frames.header(frames.BINARY, have, head.key))
            if start > pos:
                cut.leave_out(pos, start)
            cut.block.buf[start:body] = new
        self._channel = channel
        self._begin_frame(head, have)
        return body + have

    def _continued(self, cut: _Cut, head: Header, pos: int, body: int, end: int) -> int:
        """A continuation frame: it leaves as a message of its own, the channel byte put before it."""
        have = min(head.length, end - body)
        cut.leave_out(pos, body)
        self._begin_frame(head, 0)
        cut.insert(self._rest_header(have))
        self._left -= have
        self._offset = have
        return body + have

    def _begin_frame(self, head: Header, have: int) -> None:
        self._left, self._offset, self._key = head.length - have, have, head.key
        self._total += head.length
        self._in_message = not head.fin

    def _whole(self, cut: _Cut, head: Header, pos: int, body: int, end: int, channel: int) -> int | None:
        """A message that counts only as a whole: held until it is."""
        held = len(self._assembly) if self._assembly else 0
        limit = ASSEMBLY_LIMIT if held or not head.fin else self._watch_limit
        if held + head.length > limit:
            raise FrameViolation(frames.MESSAGE_TOO_BIG, f"a message on channel {channel} is longer than {limit} bytes")
        after = body + head.length
        if after > end:
            return None
        payload = frames.mask(bytes(cut.block.view[body:after]), head.key)
        if head.fin and not self._in_message:
            self._tell(payload)
            return after
        self._channel = channel
        self._assembly = (self._assembly or bytearray()) + payload
        self._begin_frame(head, head.length)
        cut.leave_out(pos, after)
        if head.fin:
            self._emit_assembly(cut, head.key)
        return after

    def _emit_assembly(self, cut: _Cut, key: bytes) -> None:
        assert self._assembly is not None
        payload = bytes(self._assembly)
        self._assembly = None
        cut.insert(frames.frame(frames.BINARY, payload, key))
        self._tell(payload)

    def _tell(self, payload: bytes) -> None:
        if payload[0] == channels.STATUS:
            self.events.append(Status(payload[1:]))


class _Cut:
    """What one take() puts together: stretches of the block, and bytes between them."""

    __slots__ = ("block", "first", "pieces")

    def __init__(self, block: Block, first: int) -> None:
        self.block = block
        self.first = first  # where the stretch under way began
        self.pieces: list[Piece] = []

    def leave_out(self, start: int, after: int) -> None:
        """Leave ``block[start:after]`` out."""
        if start > self.first:
            self.pieces.append(self.block.view[self.first : start])
        self.first = after

    def insert(self, data: bytes) -> None:
        """Put bytes of our own where the stretch under way begins; call it right after leave_out()."""
        self.pieces.append(data)

    def finish(self, end: int) -> list[Piece]:
        self.leave_out(end, end)
        return self.pieces
