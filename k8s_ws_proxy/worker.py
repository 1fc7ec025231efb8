"""A thread that does one thing after the other, for an event loop that waits for none of them."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

_Found = TypeVar("_Found")


class Worker:
    """Does what it is told in a thread of its own. A disk that hangs holds it up, and nobody else.

    The thread is a daemon's: the process doesn't wait for it.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.since: float | None = None
        """When it began with what it does, by the loop's time; None while it does nothing."""
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def do(
        self, work: Callable[[], _Found], done: Callable[[_Found], None], failed: Callable[[Exception], None]
    ) -> None:
        """Have ``work`` done after all that was told before; one of the others is called in the loop then."""
        self.do_each([(work, done, failed)])

    def do_each(
        self, works: Sequence[tuple[Callable[[], _Found], Callable[[_Found], None], Callable[[Exception], None]]]
    ) -> None:
        """Have some done, each as by ``do``. What comes of them is told when the last is done.

        Each time that this thread and the loop take turns costs more than a little work does.
        """

        def order() -> None:
            told: list[Callable[[], object]] = []
            for work, done, failed in works:
                self.since = self._loop.time()
                try:
                    told.append(partial(done, work()))
                except Exception as error:  # noqa: BLE001 - whoever asked decides what to do about it
                    told.append(partial(failed, error))
            with contextlib.suppress(RuntimeError):  # the loop is closed by now
                self._loop.call_soon_threadsafe(self._tell, told)

        self._orders.put(order)

    async def result(self, work: Callable[[], _Found]) -> _Found:
        """What ``work`` gives. It is done even where nobody waits for it any more."""
        future: asyncio.Future[_Found] = self._loop.create_future()

        def found(result: _Found) -> None:
            if not future.done():
                future.set_result(result)

        def failed(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        self.do(work, found, failed)
        return await future

    def at_it(self) -> float:
        """Seconds for which it has been doing one thing."""
        since = self.since
        return 0.0 if since is None else self._loop.time() - since

    async def rest(self) -> None:
        """Wait until all is done that it was told before."""
        await self.result(lambda: None)

    def stop(self) -> None:
        """Do what was told before, and then no more."""
        self._orders.put(None)

    def _tell(self, told: Sequence[Callable[[], object]]) -> None:
        for each in told:
            try:
                each()
            except Exception as error:  # noqa: BLE001 - as the loop does it: what goes wrong in one is no other's
                self._loop.call_exception_handler({"message": f"{each!r} failed", "exception": error})

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
            self.since = None
            del order  # it has what was written, which needn't stay until there is something else
