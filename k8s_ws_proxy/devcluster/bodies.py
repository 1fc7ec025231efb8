"""The object in a request's body, in one of the forms that are read here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from k8s_ws_proxy.devcluster import protobuf, status
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    from k8s_ws_proxy.devcluster.http import Request

_BODIES = ("application/json", "application/yaml", protobuf.MEDIA_TYPE)


def document(request: Request) -> dict[str, Any]:
    """The document that came, of whatever kind.

    Raises Failed: 400 for what can't be read, 415 for a form that isn't.
    """
    if request.media_type not in ("", *_BODIES):
        raise Failed(status.unsupported_media_type(_BODIES))
    readers = {"application/yaml": yaml.safe_load, protobuf.MEDIA_TYPE: protobuf.read}
    try:
        found = readers.get(request.media_type, json.loads)(request.body)
    except (ValueError, yaml.YAMLError) as exc:
        raise Failed(status.bad_request(f"couldn't get version/kind; json parse error: {exc}")) from exc
    if not isinstance(found, dict):
        raise Failed(status.bad_request("couldn't get version/kind; json parse error: not an object"))
    return found
