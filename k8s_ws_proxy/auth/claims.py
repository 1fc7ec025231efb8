"""What a request says of who is asking, next to its credential."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.wire.requests.claims import NODE_HEADER, WHO

if TYPE_CHECKING:
    from k8s_ws_proxy.auth.authenticator import Presented


def check_unclaimed(presented: Presented, why: str) -> None:
    """Raises Refusal(``identity_unsigned``), which says ``why``, where the request says who is asking."""
    if claimed := [name for name in WHO if name in presented.headers]:
        raise Refusal(Reason.IDENTITY_UNSIGNED, f"{claimed[0]} can't be believed here. {why}")


def check_node(presented: Presented, node: str) -> None:
    """Raises Refusal(``wrong_node``) for a request that is meant for another node than ``node``, this daemon's.

    A signature is good once on each node: one that covers the header is good on one.
    """
    meant = presented.headers.getall(NODE_HEADER, [])
    if not meant or meant == [node]:
        return
    raise Refusal(
        Reason.WRONG_NODE,
        f"{NODE_HEADER} names another node than this one."
        if node
        else f"{NODE_HEADER} can't be looked at: this proxy doesn't know its node's name (NODE_NAME).",
        detail=f"this is {node}" if node else "",
    )
