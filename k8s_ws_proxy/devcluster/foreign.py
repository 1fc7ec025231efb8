"""Pods whose processes run elsewhere: a test's real proxies, or thousands that a function answers for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster.world import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k8s_ws_proxy.devcluster.podproxy import Backend


@dataclass(frozen=True, slots=True)
class DaemonSet:
    """A DaemonSet, whose status follows from the pods that name it. Its labels are its selector, too."""

    name: str
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignPod:
    """A pod that is listed and can be reached by the pod proxy, and no more.

    `ports` says what is behind each of its ports; of the others, none listens. `daemonset` is the name of its owner, in
    its own namespace.
    """

    name: str
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    node: str = "dev-node"
    phase: Phase = Phase.RUNNING
    ready: bool = True
    ports: Mapping[int, Backend] = field(default_factory=dict)
    daemonset: str = ""
