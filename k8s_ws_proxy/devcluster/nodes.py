"""The node: every container of the world, brought up when it is first needed."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.attach import MainProcess
from k8s_ws_proxy.devcluster.podports import PodPorts
from k8s_ws_proxy.devcluster.process import Process, start_on_pipes, start_on_terminal
from k8s_ws_proxy.devcluster.runtime import Runtime
from k8s_ws_proxy.devcluster.world import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from k8s_ws_proxy.devcluster.log import LogTarget
    from k8s_ws_proxy.devcluster.observed import Observed
    from k8s_ws_proxy.devcluster.subresources import StreamTarget
    from k8s_ws_proxy.devcluster.world import Container, Pod, World


class Node:
    """Containers by namespace, pod and name."""

    def __init__(self, world: World, directory: Path, observed: Observed) -> None:
        self._runtimes: dict[tuple[str, str, str], Runtime] = {}
        self._mains: dict[tuple[str, str, str], MainProcess] = {}
        self.ports = PodPorts(world)
        for number, pod in enumerate(world.pods):
            for container in pod.containers:
                key = (pod.namespace, pod.name, container.name)
                self._runtimes[key] = Runtime(pod, container, directory / str(number), observed)
                self._mains[key] = self._main(pod, container, directory / str(number) / f"{container.name}-logs")

    def main(self, target: StreamTarget | LogTarget) -> MainProcess:
        """The container's own process."""
        return self._mains[_key(target)]

    async def start(self, target: StreamTarget) -> Process:
        """Start what an exec asks for.

        Raises OSError if it can't be started, a missing or empty command included.
        """
        if not target.argv or not target.argv[0]:
            raise FileNotFoundError(errno.ENOENT, "no command specified")
        if any("\0" in argument for argument in target.argv):
            raise OSError(errno.EINVAL, "invalid argument")
        runtime = self._runtimes[_key(target)]
        if target.tty:
            return await start_on_terminal(runtime, target.argv)
        return await start_on_pipes(
            runtime, target.argv, stdin=target.stdin, stdout=target.stdout, stderr=target.stderr
        )

    async def kill_pod(self, namespace: str, name: str) -> None:
        """Kill everything in the pod's containers."""
        runtimes = [runtime for key, runtime in self._runtimes.items() if key[:2] == (namespace, name)]
        await asyncio.gather(*(runtime.kill() for runtime in runtimes))

    async def stop(self) -> None:
        """Kill everything in every container, and let nothing start any more."""
        await asyncio.gather(*(runtime.stop() for runtime in self._runtimes.values()))
        await asyncio.gather(*(main.ended() for main in self._mains.values()))
        await self.ports.stop()

    def _main(self, pod: Pod, container: Container, directory: Path) -> MainProcess:
        runtime = self._runtimes[pod.namespace, pod.name, container.name]

        async def start() -> Process:
            if container.tty:
                return await start_on_terminal(runtime, container.argv)
            stdin = pod.phase is Phase.RUNNING  # what has completed had nothing to wait for
            return await start_on_pipes(runtime, container.argv, stdin=stdin, stdout=True, stderr=True)

        return MainProcess(start, f"devcluster {pod.namespace}/{pod.name}/{container.name}", directory)


def _key(target: StreamTarget | LogTarget) -> tuple[str, str, str]:
    return target.pod.namespace, target.pod.name, target.container.name
