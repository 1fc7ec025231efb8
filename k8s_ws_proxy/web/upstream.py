"""What all who ask the apiserver have in common: how long it may take, which pod is meant, how a failure is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.errors import Refusal, UpstreamNotTried, UpstreamRefused, UpstreamTimeout
from k8s_ws_proxy.kube.pods import resolve
from k8s_ws_proxy.sessions.registry import shutting_down
from k8s_ws_proxy.wire.requests.target import AttachTarget, LogTarget, PortForwardTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.kube.apiserver import Apiserver
    from k8s_ws_proxy.kube.pods import Defaults
    from k8s_ws_proxy.sessions.registry import Registry, Slot
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.wire.requests.pod_redaction import Default
    from k8s_ws_proxy.wire.requests.target import Target

# A pod with several, and none named; one that was there when it was found out.
_NOT_THIS_CONTAINER: Final = (b"a container name must be specified", b"is not valid for pod")
_Target = TypeVar("_Target", bound=AttachTarget | LogTarget | PortForwardTarget)
_Reached = TypeVar("_Reached")
_InContainer = TypeVar("_InContainer", bound=AttachTarget | LogTarget)
_FAIR: Final = 0.5  # of the time for a whole handshake, an apiserver that is well has answered


async def reach(
    dial: Callable[[], Awaitable[_Reached]],
    apiserver: Apiserver,
    registry: Registry,
    *,
    until: float,
    within: float,
    drop: Callable[[_Reached], None],
) -> _Reached:
    """What ``dial`` returns, if it does by ``until``, the loop's time, ``within`` seconds after the request began.

    Raises what it raises, UpstreamTimeout, or Refusal: ``no_descriptors``; ``shutting_down`` where the daemon waits no
    longer, and then what was reached in the last moment is given to ``drop``.
    """
    if registry.ending:
        raise shutting_down()
    clock = asyncio.get_running_loop().time
    dialling = clock()
    try:
        async with asyncio.timeout_at(until) as timeout:
            with registry.cutting_short(timeout):
                reached = await dial()
    except UpstreamNotTried as error:
        raise Refusal(error.reason, str(error), detail=error.detail) from error
    except TimeoutError as error:
        if registry.ending:
            raise shutting_down() from error
        if clock() - dialling < within * _FAIR:  # the request took its time: that says nothing of the apiserver
            raise UpstreamTimeout(f"Of the request's {within:g} s too little was left for the apiserver.") from error
        apiserver.timed_out()
        raise UpstreamTimeout(f"The apiserver didn't answer within {within:g} s.") from error
    if registry.ending:
        drop(reached)
        raise shutting_down()
    return reached


async def answered_by(
    ask: Callable[[], Awaitable[_Reached]], apiserver: Apiserver, registry: Registry, *, until: float, within: float
) -> _Reached:
    """What ``ask`` finds out, which leaves nothing to be dropped, as reach() does."""
    return await reach(ask, apiserver, registry, until=until, within=within, drop=lambda _: None)


async def pod_of(target: Target, settings: Settings, apiserver: Apiserver) -> str:
    """The pod's own name, where its segment may be an alias. Raises Refusal, or UpstreamError."""
    if not (label := settings.pod_alias_label):
        return target.pod
    return await resolve(apiserver, target.namespace, target.pod, label=label, node=settings.node_name)


async def resolved(target: _Target, slot: Slot, settings: Settings, apiserver: Apiserver) -> _Target:
    """The target with that name. Raises Refusal, or UpstreamError."""
    if not settings.pod_alias_label:
        return target
    pod = await pod_of(target, settings, apiserver)
    slot.log.resolved(pod)
    return replace(target, pod=pod)


async def in_container(
    target: _InContainer,
    slot: Slot,
    defaults: Defaults,
    apiserver: Apiserver,
    dial: Callable[[_InContainer], Awaitable[_Reached]],
) -> tuple[_Reached, str]:
    """What ``dial`` returns, in the default container where the apiserver wants one named; and what is said of that.

    ``apiserver`` is asked for it, as the caller, after its refusal only; or it is remembered: a pod with one container
    costs nothing.
    """
    if target.container is not None:
        return await dial(target), ""

    async def enter(default: Default) -> tuple[_Reached, str]:
        slot.log.entered(default.container)
        return await dial(replace(target, container=default.container)), default.word

    known = defaults.known(target.namespace, target.pod)
    try:
        return await enter(known) if known else (await dial(target), "")
    except UpstreamRefused as error:
        if error.status != 400 or not any(text in error.body for text in _NOT_THIS_CONTAINER):
            raise
        if (found := await defaults.find(apiserver, target.namespace, target.pod)) is None or found == known:
            raise
    return await enter(found)
