"""What of a pod its caller gets to see: what kubectl looks at, and no more.

A pod says a lot about its cluster, and often holds passwords: in the environment of its containers, in arguments, in
annotations. Whoever may only read a log isn't told them by this proxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
_LONGEST_WORD: Final = 1000  # characters
_KINDS: Final = ("containers", "initContainers", "ephemeralContainers")  # a name is in one of them only

_Tree = dict[str, "_Tree | None"]

_CONTAINER: Final[_Tree] = {
    "name": None,
    "stdin": None,
    "tty": None,
    "restartPolicy": None,  # a sidecar's ports may be forwarded, too
    "ports": {"name": None, "containerPort": None, "protocol": None},
}
_POD: Final[_Tree] = {
    "kind": None,
    "apiVersion": None,
    "metadata": {
        "name": None,
        "namespace": None,
        "annotations": {DEFAULT_CONTAINER: None},
    },
    "spec": dict.fromkeys(_KINDS, _CONTAINER),
    "status": {"phase": None},
}


def redacted_pod(pod: object) -> dict[str, Any]:
    """What is shown of ``pod``, an object from the apiserver. Raises ValueError if it isn't a pod's shape."""
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        raise ValueError("not a Pod")
    kept: dict[str, Any] = _kept(pod, _POD)
    return kept


@dataclass(frozen=True, slots=True)
class Default:
    """The container that is meant where none is named, and what is said of it: nothing, if the pod itself says so."""

    container: str
    word: str


def default_container(pod: object) -> Default:
    """As kubectl has it: the one that the pod's annotation names, else the first (kubectl, podcmd.FindOrDefault...).

    Raises ValueError if ``pod`` isn't a pod's shape.
    """
    try:
        view = redacted_pod(pod)
        named = (view["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
        spec = view["spec"]
        names = [each["name"] for each in spec["containers"]]
        if named in names:
            return Default(str(named), "")
        others = [f"{each['name']} (ephem)" for each in spec.get("ephemeralContainers") or ()]
        others += [f"{each['name']} (init)" for each in spec.get("initContainers") or ()]
        word = f'Defaulted container "{names[0]}" out of: {", ".join(names + others)}'
        return Default(names[0], word[:_LONGEST_WORD])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("not a Pod's shape") from error


def lacks_terminal(pod: object, container: str | None) -> bool:
    """Whether the process of ``container``, by default the first, has no terminal. Raises ValueError as above.

    False where the pod has none of that name: nothing is known of it.
    """
    try:
        spec = redacted_pod(pod)["spec"]
        wanted = container or spec["containers"][0]["name"]
        containers = [each for kind in _KINDS for each in spec.get(kind) or ()]
        return any(not each.get("tty") for each in containers if each["name"] == wanted)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("not a Pod's shape") from error


def _kept(value: Any, wanted: _Tree | None) -> Any:
    """``value`` with the named parts only; of a list, those of each element."""
    if value is None or (wanted is None and isinstance(value, str | int)):
        return value
    if wanted is not None and isinstance(value, list):
        return [_kept(each, wanted) for each in value]
    if wanted is not None and isinstance(value, dict):
        return {name: _kept(value[name], below) for name, below in wanted.items() if name in value}
    raise ValueError("not a Pod's shape")
