"""Sessions that are held open and say nothing, but answer when they are asked whether they live."""

import selectors
from types import TracebackType
from typing import Self

from benchmarks.session import Session, open_session
from benchmarks.targets.base import Endpoint


class Idle:
    """Grows on demand; all are closed when the block is left."""

    def __init__(self, endpoint: Endpoint, *, touched: bool = True) -> None:
        self._endpoint = endpoint
        self._touched = touched
        self._sessions: list[Session] = []
        self._selector = selectors.DefaultSelector()

    def grow(self, total: int) -> None:
        """Up to `total` open sessions. `touched` ones have echoed a keystroke, as shells have."""
        while len(self._sessions) < total:
            session = open_session(self._endpoint, "echo")
            if self._touched:
                session.keystroke()
            self.add(session)

    def add(self, session: Session) -> None:
        """Hold one more, that was opened elsewhere."""
        self._sessions.append(session)
        self._selector.register(session.sock, selectors.EVENT_READ, session)
        if len(self._sessions) % 100 == 0:
            self.answer()

    def answer(self) -> None:
        """Answer the pings that have come, and fail if a session was lost."""
        for key, _ in self._selector.select(0):
            session: Session = key.data
            session.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._selector.close()
        for session in self._sessions:
            session.close()
