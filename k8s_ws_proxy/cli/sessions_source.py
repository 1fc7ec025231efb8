"""Who is asked for sessions: one proxy, or whoever else can be asked the same (``sessions_fleet``)."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from yarl import URL

from k8s_ws_proxy.cli.answers import Refused
from k8s_ws_proxy.cli.client import answer_of, upgraded
from k8s_ws_proxy.cli.sessions_table import MalformedAnswer
from k8s_ws_proxy.errors import ProxyError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from k8s_ws_proxy.cli.client import Upgraded
    from k8s_ws_proxy.cli.connection import Connection

    SessionJson = dict[str, Any]
    Take = Callable[[list[SessionJson]], None]

PATH: Final = "/proxy/sessions"
THE_API: Final = "the session API"
"""What v1 signatures aren't enough for."""
_LARGEST: Final = 64 << 20  # bytes of a list; some 6 MiB is what 1500 sessions with long commands have


@dataclass(frozen=True, slots=True)
class Silent:
    """A node that gave no answer; ``pod`` is the proxy's there, where that is known."""

    node: str
    pod: str
    why: str


class Asked(Protocol):
    """Who is asked for something. ``silent`` are those of the ``asked`` who didn't answer the last question."""

    silent: list[Silent]
    asked: int


class Source(Protocol):
    """Where sessions are told of. ``silent`` are those of the ``asked`` who didn't answer the last question.

    ``first`` is the node to ask before others, ``interval`` the seconds between two questions.
    """

    silent: list[Silent]
    asked: int
    first: str
    interval: float

    def now(self) -> float:
        """The clock that sessions' times are by, in Unix seconds."""

    async def gather(self, wanted: Mapping[str, str], take: Take) -> None:
        """Hand ``take`` the sessions that ``wanted`` (the API's parameters) leaves, as they come. Raises ProxyError."""

    async def show(self, session: str) -> SessionJson:
        """The session of that id. Raises ProxyError."""

    async def end(self, session: str, reason: str) -> SessionJson:
        """End it; what it was. Raises ProxyError."""

    def joined(self, session: str, *, peer: bool) -> AbstractAsyncContextManager[Upgraded]:
        """Its terminal, to look at, and with ``peer`` to type into, until the block is left. Raises ProxyError."""


class OneProxy:
    """The proxy at the other end of a connection."""

    interval = 2.0

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._date = ""
        self.silent: list[Silent] = []
        self.asked = 1
        self.first = ""

    def now(self) -> float:
        """The proxy's clock, as its last answer had it."""
        try:
            return parsedate_to_datetime(self._date).timestamp()
        except ValueError:
            return time.time()

    async def gather(self, wanted: Mapping[str, str], take: Take) -> None:
        """See Source."""
        answer = await self._ask("GET", target_of(PATH, wanted))
        with self._understood():
            take(sessions_in(answer))

    async def show(self, session: str) -> SessionJson:
        """See Source."""
        return await self._ask("GET", target_of(f"{PATH}/{session}"))

    async def end(self, session: str, reason: str) -> SessionJson:
        """See Source."""
        return await self._ask("DELETE", target_of(f"{PATH}/{session}", {"reason": reason} if reason else {}))

    def joined(self, session: str, *, peer: bool) -> AbstractAsyncContextManager[Upgraded]:
        """See Source."""
        return upgraded(self._to, joining(session, peer=peer), "")

    async def _ask(self, method: str, target: str) -> SessionJson:
        try:
            body, self._date = await answer_of(self._to, method, target, max_bytes=_LARGEST)
        except Refused as refused:
            if refused.reason == Reason.BAD_PATH.value:
                raise ProxyError(f"{self._to.url} has no session API: an older version?") from refused
            raise
        with self._understood():
            return object_in(body)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except MalformedAnswer as error:
            raise ProxyError(f"{self._to.url} answered, but not as {THE_API} does: is this the proxy?") from error


def joining(session: str, *, peer: bool) -> str:
    """The path to join it by, which needs no query (see through.py)."""
    return f"{PATH}/{session}/{'join' if peer else 'watch'}"


def several(session: str, nodes: Sequence[str]) -> str:
    """What to say where more than one has it, of which a session's id allows none."""
    return (
        f"{' and '.join(sorted(nodes))} each say that they have session {session}, and only one can: "
        "nothing was done, and one of them is not to be trusted"
    )


def object_in(body: bytes) -> SessionJson:
    """The JSON object. Raises MalformedAnswer."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer("the answer isn't JSON") from error
    if not isinstance(found, dict):
        raise MalformedAnswer("the answer isn't an object")
    return found


def sessions_in(answer: SessionJson) -> list[SessionJson]:
    """Those of a list. Raises MalformedAnswer."""
    sessions = answer.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(each, dict) for each in sessions):
        raise MalformedAnswer("the answer has no list of sessions")
    return sessions


def target_of(path: str, query: Mapping[str, str] | None = None) -> str:
    """Path and query as they are sent and signed: nobody on the way has a reason to write them otherwise."""
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in (query or {}).items())
    return URL(f"http://proxy{path}?{pairs}" if pairs else f"http://proxy{path}").raw_path_qs
