"""A Secret mounted as a directory, as the kubelet does it: late, sooner if the pod changes, all entries at once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.resources import PODS, SECRETS
from k8s_ws_proxy.devcluster.status import Failed
from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from k8s_ws_proxy.devcluster.observed import Observed
    from k8s_ws_proxy.devcluster.store import Object, Store


class SecretVolume:
    """The directory of one mount. Entries are links through `..data`, and that one is swapped (kubelet: AtomicWriter).

    While there is no such Secret the directory stays as it is.
    """

    def __init__(
        self, store: Store, observed: Observed, namespace: str, name: str, directory: Path, pod: str = ""
    ) -> None:
        self._store = store
        self._observed = observed
        self._namespace = namespace
        self._name = name
        self._directory = directory
        self._pod = pod
        self.version = ""
        """The resourceVersion that the directory holds; `Observed.wait_for` sees it change."""

    async def follow(self, lag: float) -> None:
        """Write each change, `lag` seconds after it was made, or when an annotation of the pod changes, which has its
        kubelet look at it again. What changed again meanwhile is written once.
        """
        while True:
            before = self._annotations()
            await self._observed.wait_for(lambda: self._current() not in {"", self.version})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(lag):
                    await self._annotated(before)
            await self.write()

    async def _annotated(self, before: object) -> None:
        await self._observed.wait_for(lambda: self._annotations() != before)

    def _annotations(self) -> object:
        with contextlib.suppress(Failed):
            return self._store.get(PODS, self._namespace, self._pod)["metadata"].get("annotations")
        return None

    async def write(self) -> None:
        """Write what the Secret holds now, if it is there."""
        with contextlib.suppress(Failed):
            secret = self._store.get(SECRETS, self._namespace, self._name)
            await asyncio.to_thread(self._write, secret)
            self.version = secret["metadata"]["resourceVersion"]
            self._observed.changed()

    def _current(self) -> str:
        with contextlib.suppress(Failed):
            version = self._store.get(SECRETS, self._namespace, self._name)["metadata"]["resourceVersion"]
            assert isinstance(version, str)
            return version
        return ""

    def _write(self, secret: Object) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        entries = {name: base64.b64decode(value) for name, value in secret.get("data", {}).items()}
        payload = Path(tempfile.mkdtemp(prefix="..", dir=self._directory))
        for name, value in entries.items():
            (payload / name).write_bytes(value)
        data, beside = self._directory / "..data", self._directory / "..data_tmp"
        old = data.readlink() if data.is_symlink() else None
        beside.symlink_to(payload.name)
        beside.rename(data)
        for name in entries:
            with contextlib.suppress(FileExistsError):
                (self._directory / name).symlink_to(f"..data/{name}")
        for entry in self._directory.iterdir():
            if not entry.name.startswith("..") and entry.name not in entries:
                entry.unlink()
        if old is not None:
            shutil.rmtree(self._directory / old)


@contextlib.asynccontextmanager
async def mounted(volume: SecretVolume, lag: float) -> AsyncIterator[SecretVolume]:
    """The volume written once, and followed as long as this lasts."""
    await volume.write()
    following = tasks.start(volume.follow(lag), name="devcluster secret volume")
    try:
        yield volume
    finally:
        following.cancel()
        await asyncio.wait((following,))
