"""What the kubelet does for the proxy's pod: its files stand where they are mounted, its container runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.daemon import running_daemon

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from k8s_ws_proxy.devcluster import DevCluster
    from support.chart import Rendered
    from support.daemon import Daemon


class Node:
    """Runs the pod that the chart's DaemonSet makes; each Secret that it mounts is a directory of the same name."""

    def __init__(self, rendered: Rendered, directory: Path) -> None:
        self._rendered = rendered
        self._directory = directory
        self._mounts = {}
        volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in rendered.pod["volumes"]}
        for mount in rendered.proxy["volumeMounts"]:
            # What is no Secret is an emptyDir.
            self._mounts[mount["mountPath"]] = self.files(volumes[mount["name"]] or f"empty-{mount['name']}")

    def files(self, secret: str) -> Path:
        """Where this Secret's entries stand."""
        return self._directory / secret

    def write(self, secret: str, entries: Mapping[str, bytes]) -> None:
        """Put entries there."""
        self.files(secret).mkdir(exist_ok=True)
        for name, value in entries.items():
            (self.files(secret) / name).write_bytes(value)

    def run(self, cluster: DevCluster) -> AbstractAsyncContextManager[Daemon]:
        """The proxy's container, with the rights of the user ``proxy``."""
        assert self._rendered.proxy["args"] == ["serve"]
        environ = {name: self._here(value) for name, value in self._rendered.environ.items()}
        ports = {name: "127.0.0.1:0" for name in environ if name.endswith("_ADDR")}  # others' tests run beside us
        kubeconfig = cluster.write_kubeconfig(self._directory / "kubeconfig", "proxy")
        return running_daemon(kubeconfig, self._directory, SHARED_SECRET_FILE="", **{**environ, **ports})

    def _here(self, value: str) -> str:
        for path, here in self._mounts.items():
            if value == path or value.startswith(f"{path}/"):
                return str(here) + value.removeprefix(path)
        return value
