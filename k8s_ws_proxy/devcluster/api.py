"""The apiserver's answers as a function: a request, what its user may and what there is in; an answer, or a stream's or
a proxied request's target out.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from k8s_ws_proxy.devcluster import (
    bodies,
    discovery,
    http,
    impersonation,
    requestinfo,
    resources,
    rest,
    reviews,
    status,
    subresources,
)
from k8s_ws_proxy.devcluster.http import Response
from k8s_ws_proxy.devcluster.log import LogTarget
from k8s_ws_proxy.devcluster.podproxy import ProxyTarget
from k8s_ws_proxy.devcluster.resources import REVIEWS
from k8s_ws_proxy.devcluster.status import Failed
from k8s_ws_proxy.devcluster.subresources import ForwardTarget, Refused, StreamTarget

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.access import Access
    from k8s_ws_proxy.devcluster.faults import Faults
    from k8s_ws_proxy.devcluster.http import Request
    from k8s_ws_proxy.devcluster.rbac import Attributes
    from k8s_ws_proxy.devcluster.state import State

Answer = Response | StreamTarget | ForwardTarget | LogTarget | ProxyTarget


def answer(request: Request, access: Access, state: State, faults: Faults) -> Answer:
    """What the apiserver says to `request`, in the order in which it looks: as whom, rights, then what there is."""
    try:
        return _answer(request, access, state, faults)
    except Refused as refused:
        return refused.response
    except Failed as failed:
        return http.of_status(failed.status)


def _answer(request: Request, access: Access, state: State, faults: Faults) -> Answer:
    location = resources.locate(request.path)
    asked = requestinfo.attributes(request, location, access.user)
    if location is None:
        access.note(access.assume(request, asked))
        return discovery.document(request.path, request.header("accept"))
    if (refused := faults.take_request(asked.verb, location.resource.qualified)) is not None:
        return refused
    asked = access.assume(request, asked)
    access.require(asked)
    if asked.verb not in location.resource.verbs:
        raise Failed(status.method_not_allowed())
    if location.resource in REVIEWS:
        return reviews.answer(bodies.document(request), location.resource, access)
    match location.resource.name:
        case "pods/exec" | "pods/attach":
            _second_check(asked, access)
            return subresources.open_stream(request, state, location, kubelet_up=faults.kubelet_up)
        case "pods/portforward":
            _second_check(asked, access)
            return subresources.open_forward(request, state, location, kubelet_up=faults.kubelet_up)
        case "pods/log":
            return subresources.open_log(request, state, location, kubelet_up=faults.kubelet_up)
        case "pods/proxy":
            return subresources.open_proxy(impersonation.without_headers(request), state, location)
        case _:
            done = rest.answer(asked.verb, location, request, state.store)
            return faults.take_late(asked.verb, location.resource.qualified) or done


def _second_check(asked: Attributes, access: Access) -> None:
    """Who opens a stream by GET needs `create`, too. This check is the subresource's own, and says no more than the
    authorizer's reason, which RBAC has none of as a rule.
    """
    decision = access.decide(dataclasses.replace(asked, verb="create"))
    if not decision.allowed:
        raise Failed(status.forbidden("pods", asked.name, decision.reason))
