"""k8s-ws-proxy: signed WebSocket terminal sessions, carried to the Kubernetes apiserver."""

__version__ = "0.1.0"
