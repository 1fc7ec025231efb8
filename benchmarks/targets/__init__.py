"""What a session may go through, in the order of the tables."""

from benchmarks.targets import base, direct, envoy, haproxy, kubectl_proxy, message_relay, nginx, ours

# Where it stands, the run says.
BEFORE = ours.Ours("before", "k8s-ws-proxy, before")
ALL: dict[str, base.Target] = {
    target.name: target
    for target in (
        ours.Ours(),
        BEFORE,
        ours.Ours("recorded", "k8s-ws-proxy, recorded", recorded=True),
        haproxy.HAProxy(),
        nginx.Nginx(),
        envoy.Envoy(),
        kubectl_proxy.KubectlProxy(),
        message_relay.MessageRelay(),
        direct.Direct(),
        nginx.Nginx("nginx-4k", "nginx, its default 4 KiB buffer", buffer="4k"),
    )
}
# Only when named; `before` by its revision.
EXTRA = {"before", "nginx-4k"}
# What a quick run has time for.
QUICK = ("ours", "haproxy", "nginx", "direct")
