"""A cluster with proxies on its nodes, and who may ask all of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, User, grant
from support.daemon import running_daemon
from support.site import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.daemon import Daemon
    from support.site import Site

CALLERS = 8080
LOOKING = (
    grant("daemonsets.apps", "get", names="k8s-ws-proxy", namespace=NAMESPACE),
    grant("pods", "list", namespace=NAMESPACE),
    grant("pods/proxy", "get", namespace=NAMESPACE),
)
# What docs/reference/command-line.md says that it takes, and nothing more.
VIEWER = User("viewer", "viewer", LOOKING)
OPERATOR = User("operator", "ops", (*LOOKING, grant("pods/proxy", "delete", namespace=NAMESPACE)))
LISTER = User("lister", "lister", LOOKING[:2])
READER = User("reader", "reader", (grant("daemonsets.apps", "get", namespace=NAMESPACE),))
WORLD = dataclasses.replace(DEFAULT_WORLD, users=(*DEFAULT_WORLD.users, VIEWER, OPERATOR, LISTER, READER))


@contextlib.asynccontextmanager
async def two_nodes(at: Site, home: Path, **environ: str) -> AsyncIterator[list[Daemon]]:
    """Two nodes with real proxies, and one where nothing answers."""
    kubeconfig = at.cluster.write_kubeconfig(home / "kubeconfig-proxy", "proxy")
    async with contextlib.AsyncExitStack() as stack:

        async def start(node: str) -> Daemon:
            own = home / node
            own.mkdir()
            return await stack.enter_async_context(running_daemon(kubeconfig, own, NODE_NAME=node, **environ))

        daemons = await asyncio.gather(*map(start, ("node-a", "node-b")))
        for node, daemon in zip(("node-a", "node-b"), daemons, strict=True):
            at.add_node(node, ("127.0.0.1", daemon.port), port_number=CALLERS)
        at.add_node("node-down")
        yield daemons
