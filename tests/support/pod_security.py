"""The `restricted` Pod Security Standard, control by control as the standard lists them.

https://kubernetes.io/docs/concepts/security/pod-security-standards/, "Baseline" and "Restricted", for Linux pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SELINUX = {"container_t", "container_init_t", "container_kvm_t", "container_engine_t", ""}
_HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(pod: dict[str, Any]) -> list[str]:
    """The names of the controls that this pod's spec breaks."""
    return [*_of_pod(pod), *(name for container in _containers(pod) for name in _of_container(pod, container))]


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        container for kind in ("containers", "initContainers", "ephemeralContainers") for container in pod.get(kind, [])
    ]


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "Host Namespaces"
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        yield "HostPath Volumes"
    if any(set(volume) - {"name"} - _VOLUMES for volume in pod.get("volumes", [])):
        yield "Volume Types"
    if any(sysctl["name"] not in _SYSCTLS for sysctl in context.get("sysctls", [])):
        yield "Sysctls"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "HostProcess"
    yield from _of_either(context)


def _of_container(pod: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    pods, own = pod.get("securityContext", {}), container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "Privileged Containers"
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "Capabilities"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "Host Ports"
    if own.get("procMount", "Default") != "Default":
        yield "/proc Mount Type"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "Privilege Escalation"
    if own.get("runAsNonRoot", pods.get("runAsNonRoot")) is not True:
        yield "Running as Non-root"
    if own.get("seccompProfile", pods.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "Seccomp"
    hooks = [*container.get("lifecycle", {}).values(), *(container[name] for name in _HANDLERS if name in container)]
    if any(hook.get(kind, {}).get("host") for hook in hooks for kind in ("httpGet", "tcpSocket")):
        yield "Host Probes / Lifecycle Hooks"
    yield from _of_either(own)


def _of_either(context: dict[str, Any]) -> Iterator[str]:
    """What a pod's and a container's security context may each break."""
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type", "") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield "SELinux"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield "AppArmor"
    if context.get("runAsUser") == 0:
        yield "Running as Non-root user"
