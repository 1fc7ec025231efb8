"""The embedded stand-in for a cluster: an apiserver's exec and attach over real local processes."""

from k8s_ws_proxy.devcluster.cluster import DevCluster
from k8s_ws_proxy.devcluster.faults import Death, Faults
from k8s_ws_proxy.devcluster.observed import Observed, Seen
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, Container, Phase, Pod, User, World, grant

__all__ = [
    "DEFAULT_WORLD",
    "Container",
    "Death",
    "DevCluster",
    "Faults",
    "Observed",
    "Phase",
    "Pod",
    "Seen",
    "User",
    "World",
    "grant",
]
