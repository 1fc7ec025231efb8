"""Taking the DaemonSet away before its rights go: its pods need them to hang up what their sessions left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from k8s_ws_proxy.errors import ClusterApiTimeout, ClusterApiUnavailable, RotationUnfinished
from k8s_ws_proxy.rotation.api import path_of, told
from k8s_ws_proxy.rotation.pods import selector_of, walk
from k8s_ws_proxy.rotation.secret import refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from k8s_ws_proxy.rotation.api import Api

_LOOK: Final = 1.0  # seconds between two looks at the pods
_NAMED: Final = 10  # pods that are named where some are left
# Annotations that Helm and Argo CD, which run hooks when they should, put on what they install. None of the chart's
# labels would do: `helm template | kubectl apply` brings these, too, and runs the hook's Job at once.
_INSTALLED: Final = frozenset(["meta.helm.sh/release-name", "argocd.argoproj.io/tracking-id"])

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose pods are waited for: the DaemonSet of this uid; without one, which is gone by now, that of this name."""

    name: str
    selector: str = ""
    uid: str | None = None

    def has(self, pod: Mapping[str, Any]) -> bool:
        """Whether the pod is one of its own."""
        owners = pod["metadata"].get("ownerReferences") or ()
        if self.uid is not None:
            return any(each.get("uid") == self.uid for each in owners)
        return any(
            each.get("controller") and (each.get("kind"), each.get("name")) == ("DaemonSet", self.name)
            for each in owners
        )


async def take_down(api: Api, name: str, *, timeout: float, say: Callable[[str], None]) -> None:
    """Delete the DaemonSet ``name`` and wait until its pods are gone, ``timeout`` seconds at most.

    One that neither Helm nor Argo CD has installed is left alone, and that is said. Where there is none, its pods may
    be: an attempt before this one was stopped. Raises RotationUnfinished where some pods are left then, or may be, and
    ClusterApiError.
    """
    full_name = f"{api.namespace}/{name}"
    path = path_of("apis", "apps", "v1", "namespaces", api.namespace, "daemonsets", name)
    answer = await api.request("GET", path)
    if answer.status == 404:
        owner = _Owner(name)
    elif answer.status != 200:
        raise refused(answer, "get", f"the DaemonSet {full_name}", "daemonsets.apps", told(answer))
    else:
        found = answer.json()
        if not found["metadata"].get("annotations", {}).keys() & _INSTALLED:
            say(
                f"the DaemonSet {full_name} wasn't installed by helm, nor by Argo CD: nothing is taken down. "
                f"To remove it: kubectl -n {api.namespace} delete daemonset {name}"
            )
            return
        owner = _Owner(name, selector_of(found["spec"].get("selector") or {}), str(found["metadata"]["uid"]))
    asking = _Asking(say)
    gone = owner.uid is None
    left: list[str] | None = None
    last = f"there is no DaemonSet {full_name}: nothing to do"
    try:
        async with asyncio.timeout(timeout):
            if owner.uid is not None:
                uid = owner.uid
                await asking.until_answered(lambda: _delete(api, path, full_name, uid))
                gone = True
                say(f"deleted the DaemonSet {full_name}: its pods drain, and hang up what their sessions left")
                last = "its pods are gone"
            while left := await asking.until_answered(lambda: _pods(api, owner)):
                say(f"{len(left)} of its pods are still there")
                last = "its pods are gone"
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        if not gone:
            why = f"the apiserver didn't answer within {timeout:g} s"
            raise asking.problem or ClusterApiTimeout(why, within=timeout) from None
        raise RotationUnfinished(_unfinished(full_name, timeout, left, asking.problem)) from None
    say(last)


class _Asking:
    """Asks again while the apiserver fails, and knows how it did last, if it still does."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.problem: ClusterApiUnavailable | None = None

    async def until_answered(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """What ``ask`` finds. Raises ClusterApiError where asking again wouldn't help."""
        while True:
            try:
                answer = await ask()
            except ClusterApiUnavailable as problem:
                self.problem = problem
                self._say(f"{problem}: asking again")
                await asyncio.sleep(_LOOK)
            else:
                self.problem = None
                return answer


async def _delete(api: Api, path: str, full_name: str, uid: str) -> None:
    # In the background: the object is gone at once, and no second one of its name is waited for by mistake.
    options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
    answer = await api.request("DELETE", path, body={"kind": "DeleteOptions", "apiVersion": "v1", **options})
    if answer.status not in (200, 202, 404):
        raise refused(answer, "delete", f"the DaemonSet {full_name}", "daemonsets.apps", told(answer))


async def _pods(api: Api, owner: _Owner) -> list[str]:
    """The names of those that are there."""
    return [name for names in await walk(api, owner.selector, partial(_names, owner=owner)) for name in names]


def _names(items: Iterable[Mapping[str, Any]], *, owner: _Owner) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in items if owner.has(pod)]


def _unfinished(full_name: str, timeout: float, left: list[str] | None, problem: ClusterApiUnavailable | None) -> str:
    why = f" ({problem})" if problem else ""
    after = "What their sessions have left may stay in its containers"
    if left is None:
        return f"whether the pods of the DaemonSet {full_name} are gone isn't known after {timeout:g} s{why}. {after}"
    names = ", ".join(left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
    seen = "were there when the apiserver last answered within" if problem else "are still there after"
    return f"{len(left)} pods of the DaemonSet {full_name} {seen} {timeout:g} s{why}: {names}. {after}"
