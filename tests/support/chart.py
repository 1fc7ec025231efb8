"""The chart as the real helm renders it, as parsed objects."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from k8s_ws_proxy.devcluster.world import Grant

CHART = Path(__file__).parents[2] / "chart"
CERT_MANAGER = "cert-manager.io/v1"
PROMETHEUS_OPERATOR = "monitoring.coreos.com/v1"
TAG = {"image": {"tag": "1.2.3"}}  # the one value without a default
_SHORT_LIVED = {"GOGC": "off", "GOMAXPROCS": "1"}  # Go collects garbage and starts threads for a third of helm's time
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where pyyaml has it: the same, seven times as fast


class HelmError(Exception):
    """helm refused; the text is what it said."""


def helm(*arguments: str, stdin: str = "") -> str:
    """What helm prints. Raises HelmError."""
    here = Path(sys.executable).parent  # `make helm` puts it there
    found = shutil.which("helm", path=f"{here}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, "there is no helm: `make helm`"
    done = subprocess.run(
        [found, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **_SHORT_LIVED},
    )
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: list[dict[str, Any]]

    def every(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str = "k8s-ws-proxy") -> dict[str, Any]:
        """The only object of this kind and name."""
        (found,) = (found for found in self.every(kind) if found["metadata"]["name"] == name)
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The pod that the DaemonSet makes, its spec."""
        spec: dict[str, Any] = self.every("DaemonSet")[0]["spec"]["template"]["spec"]
        return spec

    @property
    def proxy(self) -> dict[str, Any]:
        """The proxy's container."""
        (container,) = self.pod["containers"]
        assert isinstance(container, dict)
        return container

    @property
    def environ(self) -> dict[str, str]:
        """The proxy's environment, where it is written out."""
        names = [entry["name"] for entry in self.proxy["env"]]
        assert len(names) == len(set(names))
        return {entry["name"]: entry["value"] for entry in self.proxy["env"] if "value" in entry}

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        """The spec of every pod that any object makes, by the object's kind and name."""
        return {
            f"{found['kind']} {found['metadata']['name']}": found["spec"]["template"]["spec"]
            for found in self.objects
            if "template" in found.get("spec", {})
        }


def grants(role: dict[str, Any]) -> tuple[Grant, ...]:
    """What a Role or a ClusterRole allows, for a user of the embedded cluster."""
    namespace = role["metadata"].get("namespace", "")
    return tuple(
        Grant(
            frozenset(
                f"{resource}.{group}".rstrip(".") for resource in rule["resources"] for group in rule["apiGroups"]
            ),
            frozenset(rule["verbs"]),
            frozenset(rule.get("resourceNames", [])),
            namespace,
        )
        for rule in role["rules"]
    )


def notes(
    over: dict[str, Any],
    *,
    namespace: str = "catalyst-system",
    apis: tuple[str, ...] = (),
    kubernetes: str = "1.36",
) -> str:
    """What an install with these values says at its end. Raises HelmError."""
    values = json.dumps({"k8sWsProxy": merged({"enabled": True, **TAG}, over)})
    with tempfile.TemporaryDirectory() as directory:
        # Only `helm install` renders notes, and it takes the APIs from a cluster. So here they are part of an object.
        chart = Path(shutil.copytree(CHART, Path(directory) / "chart"))
        (chart / "templates" / "NOTES.txt").rename(chart / "files" / "notes.txt")
        (chart / "templates" / "notes.yaml").write_text('notes: {{ tpl (.Files.Get "files/notes.txt") . | quote }}')
        where = ["--namespace", namespace, f"--kube-version={kubernetes}", *(f"--api-versions={api}" for api in apis)]
        told = helm("template", "release", str(chart), "--show-only=templates/notes.yaml", "-f-", *where, stdin=values)
    text = yaml.safe_load(told)["notes"]
    assert isinstance(text, str)
    return text


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As helm merges values: key by key, lists as a whole."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def values_at(path: str, value: Any) -> dict[str, Any]:
    """``a.b`` and 1 -> ``{"a": {"b": 1}}``."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def render(
    over: dict[str, Any] | None = None,
    *,
    everywhere: dict[str, Any] | None = None,
    apis: tuple[str, ...] = (CERT_MANAGER, PROMETHEUS_OPERATOR),
    release: str = "release",
    namespace: str = "catalyst-system",
    kubernetes: str = "1.36",
) -> Rendered:
    """The objects with the chart on, a tag, and the values ``over`` under ``k8sWsProxy``. Raises HelmError."""
    values = {"k8sWsProxy": merged({"enabled": True, **TAG}, over or {}), **(everywhere or {})}
    arguments = ["--namespace", namespace, "--kube-version", kubernetes]
    return _template(release, json.dumps(values), (*arguments, *(f"--api-versions={api}" for api in apis)))


@functools.cache
def _template(release: str, values: str, arguments: tuple[str, ...]) -> Rendered:
    told = helm("template", release, str(CHART), "--values", "-", *arguments, stdin=values)
    return Rendered([found for found in yaml.load_all(told, _LOADER) if found])


EVERYTHING: dict[str, Any] = {
    "tls": {
        "enabled": True,
        "extraServerNames": ["proxy.example.com", "192.0.2.7"],
        "reflectClientCertTo": ["guacamole"],
    },
    "podAliasLabel": "app",
    "audit": {
        "log": "file",
        "required": True,
        "nats": {"url": "tls://nats.example:4222", "credentialsSecret": "nats-creds", "caSecret": "nats-ca"},
    },
    "rotation": {"rbac": {"create": True}},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "imagePullSecrets": [{"name": "pull"}],
    "tolerations": [{"operator": "Exists"}],
    "priorityClassName": "system-node-critical",
    "podAnnotations": {"example.com/note": "1"},
    "networkPolicy": {
        "pods": [{"matchLabels": {"app": "catalyst-api"}}],
        "callersFrom": [{"ipBlock": {"cidr": "192.0.2.1/32"}}],
        "adminFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "apiserver": {"cidrs": ["192.0.2.1/32"]},
        "nats": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nats"}}}]},
    },
}
