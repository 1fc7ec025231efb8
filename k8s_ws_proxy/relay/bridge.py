"""A session on two sockets: ``wire.rules.relay`` decides, this reads, writes, waits and closes."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.relay.fanout import WATCHED_BLOCK
from k8s_ws_proxy.relay.late import NeverArrived
from k8s_ws_proxy.relay.leg import SLOW_BLOCK, Leg
from k8s_ws_proxy.relay.read_budget import BLOCK_SIZE, ReadBudget
from k8s_ws_proxy.relay.stream import StreamLost
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN, STDOUT, size_payload
from k8s_ws_proxy.wire.framing.splitter import HEADROOM
from k8s_ws_proxy.wire.rules.lifetime import Lifetime, Limits
from k8s_ws_proxy.wire.rules.liveness import Health
from k8s_ws_proxy.wire.rules.observer import Observer, Tap
from k8s_ws_proxy.wire.rules.relay import CLOSING, CUT_SHORT, RELAYING, Ending, Relay

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.relay.fanout import Fanout

_MOST_WAITING: Final = BLOCK_SIZE + 8 * 1024  # bytes: a block, and pongs to a peer that pings and doesn't read
_UPSTREAM_FLUSH: Final = 0.5  # seconds: with _WATCH before it, a client's end closes upstream within one
_STATUS_GRACE: Final = 5.0  # seconds from the status to upstream's close
_LINGER: Final = 10.0  # seconds for the client to close after us, counted only while nothing is unsent
# Seconds for the client to take what it is owed, until the session has ended whether it did or not. A terminal that
# reads at all has taken a block in the first of them.
_LAST_WORDS: Final = 10.0
_WATCH: Final = 0.25  # seconds between looks at a client that isn't being read


class Bridge:
    """Carries one session to its end. It starts relaying when it is made; there is nothing to await.

    ``on_end`` is called once, when both sides have been told all there is to tell them, or the client has left that
    unread for ``_LAST_WORDS``; ``on_closed`` once after it, when both sockets are closed.
    """

    __slots__ = (
        "_active_at",
        "_aging",
        "_budget",
        "_client",
        "_client_first",
        "_close_from",
        "_holding",
        "_hurried",
        "_last_words",
        "_lingering",
        "_loop",
        "_on_closed",
        "_on_end",
        "_overdue",
        "_period",
        "_stop_flushing",
        "_tap",
        "_told",
        "_turn",
        "_upstream",
        "_watching",
        "fanout",
        "relay",
        "timer",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        budget: ReadBudget,
        client: ByteStream,
        upstream: ByteStream | None,
        *,
        ping_period: float,
        limits: Limits | None = None,
        notices: int = STDOUT,
        on_end: Callable[[Bridge], None],
        on_closed: Callable[[Bridge], None],
        relay: Callable[[Callable[[], bytes]], Relay] = Relay,
    ) -> None:
        self._loop = loop
        self._budget = budget
        self._client: Leg = Leg(client, budget)
        self._upstream: Leg | None = Leg(upstream, budget) if upstream else None
        self._period = ping_period
        self._on_end = on_end
        self._on_closed = on_closed
        self._told = False
        self._active_at = loop.time()
        self._stop_flushing: asyncio.TimerHandle | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._last_words: asyncio.TimerHandle | None = None
        self._hurried: asyncio.TimerHandle | None = None
        self._close_from = 0.0  # the loop's time
        self._tap: Tap | None = None
        self.fanout: Fanout | None = None  # where it is a terminal
        self._client_first = False  # what a peer typed has filled the way: the client has the next turn
        self._turn: asyncio.Handle | None = None
        self.relay = relay(partial(secrets.token_bytes, 4))
        self._aging: asyncio.TimerHandle | None = None
        if limits is not None:
            lifetime = Lifetime(limits, now := loop.time())
            self.relay.limit(lifetime, notices)
            self._aging = loop.call_later(lifetime.wait(now), self._look_at_age, lifetime)
        for stream in (client, upstream):
            if stream is not None:
                stream.repeat_within(ping_period / 2)
        self.timer: asyncio.TimerHandle | None = loop.call_later(ping_period, self._tick)

    @property
    def bytes_from_client(self) -> int:
        """Bytes read from the client since the 101, framing included."""
        return self._client.received

    @property
    def bytes_to_client(self) -> int:
        """Bytes written to the client since the 101, framing included."""
        return self._client.sent

    @property
    def idle_seconds(self) -> float:
        """Seconds since anything passed, either way."""
        return self._loop.time() - self._active_at

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` from here on what passes. For sessions of exec and attach: others have other messages."""
        if self._tap is None:
            self._tap = Tap()
        self._tap.observers = (*self._tap.observers, observer)

    def leave(self, observer: Observer) -> None:
        """Tell ``observer`` no more. It isn't told of the end either."""
        if self._tap is not None and observer in self._tap.observers:
            self._tap.observers = tuple(one for one in self._tap.observers if one is not observer)
            if not self._tap.observers:
                self._tap = None
            self.go_on()

    def go_on(self) -> None:
        """An observer that was full isn't any more."""
        if self.timer is not None:
            self._settle()

    def inject(self, channel: int, payload: bytes) -> bool:
        """Send the apiserver a message of somebody besides the client. False if it can't take one now, or any more.

        Who injects waits then, and tries again: what has to wait here would have no bound.
        """
        if self._upstream is None or self._upstream.waiting or self.relay.phase is CLOSING or self._full:
            return False
        self.relay.inject(channel, payload)
        if channel == STDIN:
            self._budget.note_keystroke()
        self._settle()
        return True

    def type(self, text: bytes) -> bool:
        """Type ``text`` for a peer, as ``inject`` does.

        False also where a message of the client's has gone in part only, and while the client has the next turn.
        """
        if self._client_first or self.relay.client_midway or not self.inject(STDIN, text):
            return False
        self._client_first = self._upstream is not None and self._upstream.waiting > 0
        return True

    def resize(self, columns: int, rows: int, *, observed: bool = False) -> bool:
        """Have the terminal drawn in that size, for a while or, if it is to be ``observed``, from now on.

        Watchers aren't told by this, observers only then. False as above.
        """
        if self._upstream is None or self._upstream.waiting or self.relay.phase is CLOSING:
            return False
        if observed and self._full:
            return False
        self.relay.inject(RESIZE, size_payload(columns, rows))
        pieces, self.relay.to_upstream = self.relay.to_upstream, []
        self._upstream.send(pieces)
        if observed and self._tap is not None:
            self._tap.to_upstream(pieces)
        self._settle()
        return True

    def say(self, text: str) -> None:
        """A line for the person, unless that one has much to read before."""
        if self.timer is not None and self._client.waiting <= BLOCK_SIZE:
            self.relay.say(text)
            self._settle()

    def watched(self, count: int) -> None:
        """So many watch from now on: for a client that asked to be told."""
        if self.timer is not None and self._client.waiting <= BLOCK_SIZE:
            self.relay.watched(count)
            self._settle()

    def start(self, head: bytes, *, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        """greet() and begin()."""
        self.greet(head)
        self.begin(from_client=from_client, from_upstream=from_upstream)

    def greet(self, head: bytes) -> None:
        """Send ``head`` (the 101) to the client; begin() has to follow in the same turn of the loop."""
        self._client.send([head])
        self._client.sent = 0
        self._close_from = self._loop.time() + self.relay.close_after

    def begin(self, *, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        """Relay, first the bytes that came with the handshakes."""
        for early, take in ((from_client, self.relay.client_data), (from_upstream, self.relay.upstream_data)):
            for offset in range(0, len(early), BLOCK_SIZE // 2):
                part = early[offset : offset + BLOCK_SIZE // 2]
                carry = self.relay.client_carry() if early is from_client else self.relay.upstream_carry()
                end = HEADROOM + len(carry) + len(part)
                self._budget.block.buf[HEADROOM:end] = carry + part
                take(self._budget.block, HEADROOM, end)
                self._send()
        self._client.received = len(from_client)
        self.relay.begin()
        self._settle()

    def refuse(self, head: bytes, status: bytes, reason: str) -> None:
        """Instead of start(): send ``head`` (the 101), tell ``status`` on channel 3, and close with 1011."""
        self.greet(head)
        self.relay.fail(status, reason)
        self._settle()

    def drain(self, line: bytes, channel: int, reason: str) -> None:
        """The daemon goes down: tell the client, close with 1001."""
        self.relay.drain(line, channel, reason)
        self._settle()

    def terminate(self, line: bytes, channel: int, reason: str) -> None:
        """Somebody ends the session: tell the client, close with 1008."""
        self.relay.terminate(line, channel, reason)
        self._settle()

    def give_up(self, line: bytes, channel: int, reason: str) -> None:
        """The session can't go on as it has to: tell the client, close with 1011."""
        self.relay.give_up(line, channel, reason)
        self._settle()

    def hurry(self) -> None:
        """Somebody wants it gone that is ending already: it is closed soon, whatever its client has taken by then."""
        if self.timer is not None and self._hurried is None:
            self._hurried = self._loop.call_later(_LAST_WORDS, self._finish)

    def ping_client(self) -> bool:
        """Ping the client out of turn, unless output to it is under way; False once the session is over."""
        if self.timer is None:
            return False
        if not self._client.waiting and not self._client.stream.unsent():
            self.relay.ping_client()
            self._settle()
        return self.timer is not None

    def abort(self) -> None:
        """Close both sockets now; who hasn't been told isn't told any more."""
        self.relay.drain(b"", STDOUT, "")  # where it still relays: the log wants to know how it ended
        self._finish()
        self._drop_upstream()

    def _client_readable(self) -> None:
        if self.timer is None:
            return
        client, relay, budget = self._client, self.relay, self._budget
        client.due = False
        try:
            max_read = relay.max_read_client
            if self._tap is not None and max_read is None:
                max_read = self._tap.max_read_client
            end = client.read(relay.client_carry(), max_read, halted=relay.client_halted)
        except (EOFError, StreamLost):
            if relay.phase is CLOSING:
                self._finish()
                return
            relay.client_end()
            client.stream.on_readable(None)
        else:
            if end is None:
                return
            relay.client_data(budget.block, HEADROOM, end)
            if relay.to_upstream:
                self._active_at = budget.now()
            if relay.keystroke:
                budget.note_keystroke()
        self._settle()

    def _upstream_readable(self) -> None:
        upstream, relay = self._upstream, self.relay
        if upstream is None or relay.phase is CLOSING:
            return
        upstream.due = False
        try:
            max_read = SLOW_BLOCK if self._client.slow else relay.max_read
            if self._tap is not None and max_read is None:
                max_read = self._tap.max_read
            if self.fanout is not None and max_read is None and self.fanout.watched:
                max_read = WATCHED_BLOCK
            end = upstream.read(relay.upstream_carry(), max_read, halted=relay.upstream_halted)
        except EOFError:
            relay.upstream_end()
        except NeverArrived as never:
            relay.fail(never.status, str(never))
        except StreamLost:
            relay.upstream_lost()
        else:
            if end is None:
                return
            relay.upstream_data(self._budget.block, HEADROOM, end)
            if relay.to_client:
                self._active_at = self._budget.now()
        self._settle()

    def _client_writable(self) -> None:
        self._client.flush()
        self._settle()

    def _upstream_writable(self) -> None:
        assert self._upstream is not None
        self._upstream.flush()
        self._settle()

    def _send(self) -> None:
        relay = self.relay
        to_client, to_upstream = relay.to_client, relay.to_upstream
        if to_client:
            relay.to_client = []
            if self.fanout is not None and len(to_client) > 1:
                to_client = [b"".join(to_client)]
            self._client.send(to_client)
            if self.fanout is not None:
                self.fanout.to_client(to_client[0])
            if self._tap is not None:
                self._tap.to_client(to_client)
        if relay.to_client_alone:
            alone, relay.to_client_alone = relay.to_client_alone, []
            self._client.send(alone)
        if to_upstream:
            relay.to_upstream = []
            if self._upstream is not None:
                if self.fanout is not None and len(to_upstream) > 1:
                    to_upstream = [b"".join(to_upstream)]
                self._upstream.send(to_upstream)
                if self._tap is not None:
                    self._tap.to_upstream(to_upstream)
                if self.fanout is not None:
                    self.fanout.to_upstream(to_upstream[0])

    def _settle(self) -> None:
        """After every event: send what there is, then listen for what may come next."""
        self._send()
        client, upstream, relay = self._client, self._upstream, self.relay
        if client.broken and relay.phase is RELAYING:
            relay.client_end()
            self._send()
        if relay.phase is CLOSING:
            self._close_down()
            return
        assert upstream is not None
        # Back-pressure: nothing is read for a side that still has something to take.
        full = self._tap is not None and self._tap.full
        reading = not upstream.waiting and client.waiting <= _MOST_WAITING and not full
        halted = relay.client_halted
        client.stream.on_readable(self._client_readable if reading and not halted else None)
        client.stream.on_writable(self._client_writable if client.waiting else None)
        if halted or client.carried:
            self._go_on(client, self._client_readable, relay.client_carry(), halted and reading)
        taking = not client.waiting and upstream.waiting <= _MOST_WAITING and not full and not relay.behind
        halted = relay.upstream_halted
        upstream.stream.on_readable(self._upstream_readable if taking and not halted else None)
        upstream.stream.on_writable(self._upstream_writable if upstream.waiting else None)
        if halted or upstream.carried:
            self._go_on(upstream, self._upstream_readable, relay.upstream_carry(), halted and taking)
        if self.fanout is not None and not upstream.waiting and not full:
            if not self._client_first:
                self.fanout.go_on()
            elif self._turn is None:  # the client's socket is looked at in the loop's next turn
                self._turn = self._loop.call_soon(self._loop.call_soon, self._peers_again)
        if not taking:
            upstream.unread = True
        if not reading:
            client.unread = True
            if self._watching is None:
                self._watching = self._loop.call_later(_WATCH, self._watch)
        if relay.status_seen and self._overdue is None:
            self._overdue = self._loop.call_later(_STATUS_GRACE, self._status_overdue)

    @property
    def _full(self) -> bool:
        """An observer can't be told more now, of whomever."""
        return self._tap is not None and self._tap.full

    def _peers_again(self) -> None:
        """The client has had its turn: else a peer that floods a slow program would keep out its Ctrl-C."""
        self._turn = None
        self._client_first = False
        if self.timer is not None:
            self._settle()

    def _go_on(self, leg: Leg, callback: Callable[[], None], carry: bytes, due: bool) -> None:
        """Many tiny frames were read from ``leg``: the rest of them has the next turn, and others before it."""
        leg.carry(len(carry) if self.relay.phase is RELAYING else 0)
        leg.unread = True
        if due and not leg.due:
            leg.due = True
            self._loop.call_soon(callback)

    def _watch(self) -> None:
        """A client that isn't read because upstream is slow can't be seen to leave, or heard: ask the kernel."""
        self._watching = None
        if self.relay.phase is RELAYING and self._client.stream.peer_gone():
            self.relay.client_end()
        elif self._upstream is not None and self._upstream.waiting:
            self.relay.client_unread()
        self._settle()

    def _status_overdue(self) -> None:
        self._overdue = None
        if not self._client.waiting:  # else upstream's close may not have been read yet
            self.relay.status_overdue()
        self._settle()

    def _tick(self) -> None:
        self.timer = self._loop.call_later(self._period, self._tick)
        client, upstream = self._client, self._upstream
        if self.relay.phase is CLOSING or upstream is None:
            gone = client.unanswered(self._period)
            client.under_way = client.stream.unsent()
            if gone:
                self._finish()
            return
        self.relay.tick(self._health(client), self._health(upstream))
        self._settle()
        client.under_way, upstream.under_way = client.stream.unsent(), upstream.stream.unsent()

    def _look_at_age(self, lifetime: Lifetime) -> None:
        now = self._loop.time()
        if self.relay.look_at_age(now):
            self._finish()
            return
        self._settle()
        if self.timer is not None:
            self._aging = self._loop.call_later(lifetime.wait(now), self._look_at_age, lifetime)

    def _health(self, leg: Leg) -> Health:
        unread, leg.unread = leg.unread, False
        return Health(
            unread=unread,
            unsent=leg.waiting > 0 or leg.stream.unsent(),
            unanswered=leg.unanswered(self._period),
        )

    def _close_down(self) -> None:
        """CLOSING: both sides get what they are owed; upstream a second for it, the client what it needs."""
        upstream, client = self._upstream, self._client
        if upstream is not None:
            if not upstream.waiting:
                self._drop_upstream()
            else:
                upstream.stream.on_readable(None)
                upstream.stream.on_writable(self._upstream_writable)
                if self._stop_flushing is None:
                    self._stop_flushing = self._loop.call_later(_UPSTREAM_FLUSH, self._drop_upstream)
        if self.timer is None:
            return  # the client's side is closed already
        held = bool(self.relay.farewell) and not self._take_leave()
        if client.broken or self.relay.ending is Ending.CLIENT_SILENT:
            self._tell()
            self._finish()
            return
        client.stream.on_writable(self._client_writable if client.waiting else None)
        client.stream.on_readable(self._client_readable)
        if self._last_words is None:
            over = self._finish if self.relay.ending in CUT_SHORT else self._tell
            self._last_words = self._loop.call_later(_LAST_WORDS, over)
        if held:
            return
        if not client.waiting and self._lingering is None:
            client.stream.end_output()
            self._tell()
            self._lingering = self._loop.call_later(_LINGER, self._linger)
        elif client.waiting and self.relay.ending is Ending.CLIENT_LEFT:
            self._tell()
            self._finish()  # it isn't there to read the rest

    def _take_leave(self) -> bool:
        """Send the close that had to wait; False if it still has to. Upstream doesn't wait for it."""
        early = self._close_from - self._loop.time()
        if early > 0:
            if self._holding is None:
                self._holding = self._loop.call_later(early, self._held_long_enough)
            return False
        farewell, self.relay.farewell = self.relay.farewell, b""
        self._client.send([farewell])
        if self.fanout is not None:
            self.fanout.to_client(farewell)
        return True

    def _held_long_enough(self) -> None:
        self._holding = None
        self._settle()

    def _linger(self) -> None:
        """Closing with unread bytes in our kernel would reset the connection, and cut off what is still under way."""
        if self.timer is None:
            return
        if self._client.stream.unsent() and not self._client.unanswered(self._period):
            self._lingering = self._loop.call_later(_LINGER, self._linger)
        else:
            self._finish()

    def _drop_upstream(self) -> None:
        if self._stop_flushing is not None:
            self._stop_flushing.cancel()
        if self._upstream is not None:
            self._upstream.stream.end_output()
            self._upstream.close()
            self._upstream = None

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._on_end(self)
            if self._tap is not None:
                for observer in self._tap.observers:
                    observer.ended(self.relay)
                self._tap = None
            if self.fanout is not None:
                self.fanout.end()
                self.fanout = None

    def _finish(self) -> None:
        if self.timer is None:
            return
        for handle in (
            self.timer,
            self._lingering,
            self._last_words,
            self._hurried,
            self._aging,
            self._overdue,
            self._watching,
            self._holding,
        ):
            if handle is not None:
                handle.cancel()
        self.timer = None
        self._tell()
        if self._stop_flushing is None:  # else what the client sent before it went still has its second
            self._drop_upstream()
        self._client.close()
        self._on_closed(self)
