"""Making the Secret where there is none: what the chart's hook runs before each install and upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.rotation.generate import new_key
from k8s_ws_proxy.rotation.secret import SecretStore

if TYPE_CHECKING:
    from k8s_ws_proxy.rotation.api import Api


async def bootstrap(api: Api, name: str, key: str) -> str:
    """See to it that there is a Secret, whoever made it; a sentence that says how it went.

    Raises ClusterApiError for everything but "it is there" and "it was made".
    """
    store = SecretStore(api, name)
    found = await store.get()
    if found is not None:
        if key in (found.get("data") or {}):
            return f"the Secret {store.full_name} is there: left alone"
        return f"the Secret {store.full_name} is there, without an entry {key!r}: left alone, and callers won't find it"
    if await store.create(key, new_key()):
        return f"made the Secret {store.full_name} with a new key in its entry {key!r}"
    return f"somebody else has just made the Secret {store.full_name}: left alone"
