"""What is in the embedded cluster: namespaces, pods, containers and users, as frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Phase(enum.Enum):
    """How far a pod has come; only a running one takes exec and attach."""

    PENDING = "Pending"
    """Not scheduled: it has no host yet."""
    RUNNING = "Running"
    COMPLETED = "Succeeded"
    """Its containers have run to their end."""


ECHO_LINES = ("/bin/sh", "-c", 'while IFS= read -r line; do printf "echo: %s\\n" "$line"; done')
"""A container's own process when nothing else is said: every line it reads comes back with `echo: ` before
it.
"""


@dataclass(frozen=True, slots=True)
class Container:
    """One container. Its own process is what attach reaches, and what writes the log; it is started when somebody first
    asks for either.
    """

    name: str
    argv: tuple[str, ...] = ECHO_LINES
    tty: bool = False
    """The own process has a terminal. Attach follows this, whatever the request's `tty` says, as containerd
    does.
    """
    hidden: frozenset[str] = frozenset()
    """Programs of the host that aren't in this container's PATH."""
    ports: tuple[int, ...] = ()
    """TCP ports it listens on, each with a greeting over HTTP."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod. `node` is empty as long as it is pending."""

    name: str
    containers: tuple[Container, ...]
    namespace: str = "default"
    labels: dict[str, str] = field(default_factory=dict)
    phase: Phase = Phase.RUNNING
    node: str = "dev-node"
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """RBAC in one line: these verbs on these resources. `*` is everything.

    Empty `names` and an empty `namespace` are all of them. With names, what has none (create, list) is not covered.
    """

    resources: frozenset[str]
    verbs: frozenset[str]
    names: frozenset[str] = frozenset()
    namespace: str = ""

    def covers(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Whether `verb` on `resource` (with its subresource, `pods/exec`, and its group, `daemonsets.apps`) is
        granted.
        """
        return (
            bool({"*", verb} & self.verbs)
            and bool({"*", resource} & self.resources)
            and (not self.names or name in self.names)
            and self.namespace in {"", namespace}
        )


def grant(resources: str, verbs: str, *, names: str = "", namespace: str = "") -> Grant:
    """A grant, from lists separated by spaces."""
    return Grant(frozenset(resources.split()), frozenset(verbs.split()), frozenset(names.split()), namespace)


@dataclass(frozen=True, slots=True)
class User:
    """Who may do what. `alias` is the short name that tests and files use, `name` is what the apiserver calls
    it. The grants are what it may wherever they say; roles that are bound to it, or to one of its groups, add to them.
    """

    alias: str
    name: str
    grants: tuple[Grant, ...] = ()
    groups: tuple[str, ...] = ()
    """Those that its token or certificate says; a service account's token has others. system:authenticated comes by
    itself.
    """

    def may(self, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
        """Whether any grant covers `verb` on `resource`."""
        return any(each.covers(verb, resource, namespace, name) for each in self.grants)


@dataclass(frozen=True, slots=True)
class World:
    """Everything the apiserver would know."""

    pods: tuple[Pod, ...]
    users: tuple[User, ...]
    namespaces: tuple[str, ...] = ("default",)
    rbac: tuple[dict[str, Any], ...] = ()
    """Roles, ClusterRoles and their bindings, as the API has them: see roles.py."""

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, or None."""
        return next((pod for pod in self.pods_in(namespace) if pod.name == name), None)

    def pods_in(self, namespace: str) -> tuple[Pod, ...]:
        """All pods of a namespace, in the order they were given."""
        return tuple(pod for pod in self.pods if pod.namespace == namespace)

    def user(self, alias: str) -> User:
        """The user with this alias.

        Raises KeyError if there is none.
        """
        for user in self.users:
            if user.alias == alias:
                return user
        raise KeyError(alias)


USERS = (
    User("admin", "kubernetes-admin", (grant("*", "*"),)),
    User(
        "proxy",
        "system:serviceaccount:default:k8s-ws-proxy",
        (
            grant("pods", "get list"),
            grant("pods/exec pods/attach pods/portforward", "get create"),
            grant("pods/log", "get"),
        ),
    ),
    User(
        "get-only",
        "system:serviceaccount:default:get-only",
        (grant("pods", "get list"), grant("pods/exec", "get")),
    ),
    User("nobody", "system:serviceaccount:default:nobody"),
)

DEFAULT_WORLD = World(
    namespaces=("default", "team-a"),
    pods=(
        Pod("shell", (Container("shell"), Container("side"))),
        Pod("web", (Container("web", ports=(8080,)),), labels={"app": "web"}),
        Pod("term", (Container("term", tty=True),)),
        Pod("pending", (Container("pending"),), phase=Phase.PENDING, node=""),
        Pod("quick", (Container("quick"),), phase=Phase.COMPLETED),
        Pod("plain", (Container("plain", hidden=frozenset({"tmux"})),)),
        Pod("web", (Container("web"),), namespace="team-a", labels={"app": "web"}),
    ),
    users=USERS,
)
