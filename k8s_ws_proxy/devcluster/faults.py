"""What can be made to go wrong, for the tests of whoever stands between a client and an apiserver."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from k8s_ws_proxy.devcluster.http import Response


class Death(enum.Enum):
    """How a connection ends that is to die."""

    EOF = enum.auto()
    """In order as far as TLS and TCP go, but without status or close frame: what a dying kubelet looks like.
    """
    RESET = enum.auto()
    """A TCP RST."""


@dataclass(frozen=True, slots=True)
class Hang:
    """The upgrade is never answered; the connection stays open until the client leaves."""


@dataclass(frozen=True, slots=True)
class Die:
    """The connection ends when `sent` bytes have gone out after the 101: frame headers count, TLS doesn't.

    Of a log, the bytes of its content count.
    """

    sent: int
    how: Death


@dataclass(frozen=True, slots=True)
class Say:
    """The upgrade is answered with these bytes, whatever they are. Then the connection ends, or, with None, hangs."""

    data: bytes
    then: Death | None


Fault = Response | Hang | Die | Say


@dataclass(slots=True)
class Faults:
    """Faults wait in a queue: each request for a WebSocket or a log takes the next one, before anything else is looked
    at.
    """

    kubelet_up: bool = True
    """False: exec and attach are answered with 500 `error dialing backend`, and logs with 500, too."""
    _queue: deque[Fault] = field(default_factory=deque)
    _denied: set[tuple[str, str]] = field(default_factory=set)
    _refused: dict[tuple[str, str], deque[Response]] = field(default_factory=dict)
    _late: dict[tuple[str, str], deque[Response]] = field(default_factory=dict)

    def refuse(
        self,
        code: int,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
        times: int = 1,
    ) -> None:
        """Answer the next `times` upgrades with this status and body."""
        self._queue.extend([Response(code, body, content_type, headers)] * times)

    def refuse_request(self, verb: str, resource: str, response: Response, *, times: int = 1) -> None:
        """Answer the next `times` plain requests for this (`get`, `pods/proxy`; `list`, `daemonsets.apps`) so."""
        self._refused.setdefault((verb, resource), deque()).extend([response] * times)

    def answer_late(self, verb: str, resource: str, response: Response) -> None:
        """Do what the next request for an object of this kind asks for, and answer it so all the same: it took too
        long.
        """
        self._late.setdefault((verb, resource), deque()).append(response)

    def deny(self, verb: str, resource: str) -> None:
        """Take this right (`patch`, `secrets`) from everybody, whatever was granted."""
        self._denied.add((verb, resource))

    def denies(self, verb: str, resource: str) -> bool:
        """Whether the right was taken away."""
        return (verb, resource) in self._denied

    def take_request(self, verb: str, resource: str) -> Response | None:
        """What the next plain request for this is to be answered with, if that was ordered."""
        waiting = self._refused.get((verb, resource))
        return waiting.popleft() if waiting else None

    def take_late(self, verb: str, resource: str) -> Response | None:
        """What is to be said of a request that was done, in the place of its answer."""
        waiting = self._late.get((verb, resource))
        return waiting.popleft() if waiting else None

    def hang(self, times: int = 1) -> None:
        """Leave the next `times` upgrades without an answer."""
        self._queue.extend([Hang()] * times)

    def say(self, data: bytes, then: Death | None = Death.EOF, times: int = 1) -> None:
        """Answer the next `times` upgrades with these bytes as they are, and end the connection, or hang."""
        self._queue.extend([Say(data, then)] * times)

    def die_after(self, sent: int, how: Death = Death.EOF, times: int = 1) -> None:
        """End the next `times` upgraded connections after exactly `sent` bytes from the server, 0 included."""
        self._queue.extend([Die(sent, how)] * times)

    def clear(self) -> None:
        """Forget all faults."""
        self._queue.clear()
        self._denied.clear()
        self._refused.clear()
        self._late.clear()
        self.kubelet_up = True

    def take(self) -> Fault | None:
        """The next upgrade's fault, if there is one."""
        return self._queue.popleft() if self._queue else None


def throttled(seconds: int = 1) -> Response:
    """The 429 of the apiserver's priority and fairness."""
    body = b"Too many requests, please try again later.\n"
    return Response(429, body, "text/plain; charset=utf-8", (("Retry-After", str(seconds)),))
