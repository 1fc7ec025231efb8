"""What a session may go through, in the order of the tables."""

from benchmarks.targets import base, direct, haproxy, kubectl_proxy, message_relay, nginx, ours

ALL: dict[str, base.Target] = {
    target.name: target
    for target in (
        ours.Ours(),
        ours.Ours("recorded", "k8s-ws-proxy, recorded", recorded=True),
        haproxy.HAProxy(),
        nginx.Nginx(),
        kubectl_proxy.KubectlProxy(),
        message_relay.MessageRelay(),
        direct.Direct(),
        nginx.Nginx("nginx-4k", "nginx, its default 4 KiB buffer", buffer="4k"),
    )
}
# Only when named.
EXTRA = {"nginx-4k"}
