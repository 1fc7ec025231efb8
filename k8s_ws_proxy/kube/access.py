"""What is known about the apiserver now: its endpoint, read again as files change, and whether it answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import ClusterConfigError
from k8s_ws_proxy.kube.config import Endpoint, load
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.observe.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REREAD: Final = 30.0  # seconds: a bound service-account token is replaced well before it expires, but it does expire


class Access:
    """The endpoint in use. A reading that fails keeps the last good one, and is told once until it is mended."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._endpoint: Endpoint | None = None
        self._reading: asyncio.Task[None] | None = None
        self._failing = False
        self.on_change: Callable[[], None] = lambda: None  # there is another endpoint
        self.answered = False  # ever
        self.reachable = False  # when last tried
        self.last_error = "the apiserver has not answered yet"

    @property
    def endpoint(self) -> Endpoint:
        """The last good reading. Raises ClusterConfigError if there never was one."""
        if self._endpoint is None:
            raise ClusterConfigError(self.last_error)
        return self._endpoint

    @property
    def known(self) -> Endpoint | None:
        """The last good reading, if there ever was one."""
        return self._endpoint

    async def reread(self) -> None:
        """Read the configuration now; callers at the same time share one reading."""
        if self._reading is None:
            self._reading = tasks.start(self._read(), name="read cluster configuration")
            self._reading.add_done_callback(self._done)
        await asyncio.shield(self._reading)

    def suspect(self) -> None:
        """Nobody answers where the apiserver should be: read the configuration again, for the next who dials."""
        tasks.start(self.reread(), name="reread cluster configuration")

    async def keep_fresh(self) -> None:
        """Read again for ever."""
        while True:
            await asyncio.sleep(REREAD)
            await self.reread()

    def succeeded(self) -> None:
        """The apiserver answered."""
        if not self.reachable:
            logger().info("the apiserver answers")
        self.answered = self.reachable = True
        metrics.APISERVER_REACHABLE.set(1)

    def failed(self, error: str) -> None:
        """The apiserver didn't answer."""
        if self.reachable or self.last_error != error:
            logger().error("the apiserver doesn't answer", error=error)
        self.reachable = False
        self.last_error = error
        metrics.APISERVER_REACHABLE.set(0)

    async def _read(self) -> None:
        try:
            endpoint = await asyncio.to_thread(load, self._environ, self._endpoint)
        except ClusterConfigError as error:
            self._tell(str(error))
        else:
            changed, self._endpoint = endpoint != self._endpoint, endpoint
            self._failing = False
            if changed:
                self.on_change()
            metrics.CLUSTER_CONFIG_OK.set(1)

    def _tell(self, error: str) -> None:
        metrics.CLUSTER_CONFIG_OK.set(0)
        if self._endpoint is None:
            self.last_error = error
        if not self._failing:
            in_use = "the last good one" if self._endpoint else "none"
            logger().error("the cluster configuration can't be read", error=error, in_use=in_use)
        self._failing = True

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._reading = None
