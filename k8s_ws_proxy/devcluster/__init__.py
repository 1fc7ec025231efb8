"""The embedded stand-in for a cluster: an apiserver's objects, and exec and attach over real local processes."""

from k8s_ws_proxy.devcluster import roles
from k8s_ws_proxy.devcluster.cluster import DevCluster
from k8s_ws_proxy.devcluster.faults import Death, Faults
from k8s_ws_proxy.devcluster.foreign import DaemonSet, ForeignPod
from k8s_ws_proxy.devcluster.http import Request, Response
from k8s_ws_proxy.devcluster.observed import Observed, Seen
from k8s_ws_proxy.devcluster.world import DEFAULT_WORLD, Container, Phase, Pod, User, World, grant

__all__ = [
    "DEFAULT_WORLD",
    "Container",
    "DaemonSet",
    "Death",
    "DevCluster",
    "Faults",
    "ForeignPod",
    "Observed",
    "Phase",
    "Pod",
    "Request",
    "Response",
    "Seen",
    "User",
    "World",
    "grant",
    "roles",
]
