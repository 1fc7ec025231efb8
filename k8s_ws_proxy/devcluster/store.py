"""Objects and their versions, as etcd and the apiserver's registry keep them: create, read, replace, delete, and lists
in pages of one moment.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.devcluster import status
from k8s_ws_proxy.devcluster.status import Failed

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator

    from k8s_ws_proxy.devcluster.resources import Resource

    Object = dict[str, Any]
    Key = tuple[str, str]

_SNAPSHOTS = 64
"""Lists that are kept for whoever is still reading their pages; an older one has expired."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. `token` leads to the next one, and is empty at the end; `remaining` may be unknown."""

    items: list[Object]
    version: int
    token: str = ""
    remaining: int | None = None


class Store:
    """Objects by resource, namespace and name. One that is stored is only ever replaced: keep it, don't write to it.

    `now` is the wall clock, `unique` makes uids, `changed` is called after each write.
    """

    def __init__(
        self, now: Callable[[], dt.datetime], unique: Callable[[], str], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._now = now
        self._unique = unique
        self._changed = changed
        self._objects: dict[str, dict[Key, Object]] = {}
        self._history: dict[tuple[str, Key], list[tuple[dt.datetime, Object | None]]] = {}
        self._snapshots: dict[tuple[str, int], dict[Key, Object]] = {}
        self.version = 0
        """The resourceVersion of the last write."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """The object.

        Raises Failed, 404.
        """
        found = self.find(resource, namespace, name)
        if found is None:
            raise Failed(status.not_found(resource.qualified, name))
        return found

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._of(resource).get((namespace, name))

    def all(self, resource: Resource, namespace: str = "") -> Iterator[Object]:
        """Every object, of one namespace or of all, by namespace and name."""
        objects = self._of(resource)
        return (objects[key] for key in sorted(objects) if not namespace or key[0] == namespace)

    def as_of(self, resource: Resource, namespace: str, name: str, when: dt.datetime) -> Object | None:
        """The object as it was then; None if it wasn't there."""
        found = None
        for since, value in self._history.get((resource.qualified, (namespace, name)), []):
            if since <= when:
                found = value
        return found

    def create(self, resource: Resource, value: Object) -> Object:
        """Store a new object, under the name in its metadata; what is stored comes back.

        Raises Failed, 409.
        """
        key = _key(value)
        if key in self._of(resource):
            raise Failed(status.already_exists(resource.qualified, key[1]))
        created = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._write(resource, value, {"uid": self._unique(), "creationTimestamp": created})

    def replace(self, resource: Resource, value: Object) -> Object:
        """Store an object over its predecessor; what is stored comes back. Where nothing changes, nothing is written.

        Raises Failed: 404, or 409 if its metadata speaks of another version or of another object.
        """
        old = self.get(resource, *_key(value))
        self.check(resource, old, value["metadata"])
        kept = {name: old["metadata"][name] for name in ("uid", "creationTimestamp")}
        if (
            value | {"metadata": value["metadata"] | kept | {"resourceVersion": old["metadata"]["resourceVersion"]}}
            == old
        ):
            return old
        return self._write(resource, value, kept)

    def delete(self, resource: Resource, namespace: str, name: str) -> Object:
        """Remove an object, which comes back.

        Raises Failed, 404.
        """
        old = self.get(resource, namespace, name)
        del self._of(resource)[namespace, name]
        self.version += 1
        self._remember(resource, (namespace, name), None)
        return old

    def check(self, resource: Resource, old: Object, metadata: Object) -> None:
        """Optimistic concurrency: a resourceVersion or a uid, where one is given, must be the stored object's.

        Raises Failed, 409.
        """
        name = old["metadata"]["name"]
        uid = metadata.get("uid", old["metadata"]["uid"])
        if uid != old["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
            raise Failed(status.conflict(resource.qualified, name, why))
        if metadata.get("resourceVersion", "") not in ("", old["metadata"]["resourceVersion"]):
            raise Failed(status.conflict(resource.qualified, name))

    def page(
        self,
        resource: Resource,
        namespace: str,
        *,
        wanted: Callable[[Object], bool] | None = None,
        limit: int = 0,
        token: str = "",
    ) -> Page:
        """A list from the beginning, or from where `token` says: at most `limit` objects if that isn't 0.

        All pages are of the moment of the first. Raises Failed: 400 for no token of ours, 410 for one that is too old.
        """
        version, start = _parse(token) if token else (self.version, ("", ""))
        objects = self._moment(resource, version, start)
        version = self.version if version < 0 else version
        keys = [key for key in sorted(objects) if key > start and (not namespace or key[0] == namespace)]
        chosen = [key for key in keys if wanted is None or wanted(objects[key])]
        if not limit or len(chosen) <= limit:
            return Page([objects[key] for key in chosen], version)
        self._snapshots.setdefault((resource.qualified, version), dict(objects))
        while len(self._snapshots) > _SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        following = _token(version, chosen[limit - 1])
        # With a selector, the apiserver doesn't know how many of those that remain would match.
        remaining = len(chosen) - limit if wanted is None else None
        return Page([objects[key] for key in chosen[:limit]], version, following, remaining)

    def compact(self) -> None:
        """Forget the past, as etcd does every five minutes: a list that is being read in pages has expired."""
        self._snapshots.clear()

    def _moment(self, resource: Resource, version: int, start: Key) -> dict[Key, Object]:
        if version in (-1, self.version):
            return self._of(resource)
        try:
            return self._snapshots[resource.qualified, version]
        except KeyError:
            raise Failed(status.expired(_token(-1, start))) from None

    def _of(self, resource: Resource) -> dict[Key, Object]:
        return self._objects.setdefault(resource.qualified, {})

    def _write(self, resource: Resource, value: Object, given: Object) -> Object:
        self.version += 1
        metadata = value["metadata"] | given | {"resourceVersion": str(self.version)}
        stored = value | {"metadata": metadata}
        self._of(resource)[_key(value)] = stored
        self._remember(resource, _key(value), stored)
        return stored

    def _remember(self, resource: Resource, key: Key, value: Object | None) -> None:
        self._history.setdefault((resource.qualified, key), []).append((self._now(), value))
        self._changed()


def _key(value: Object) -> Key:
    return value["metadata"].get("namespace", ""), value["metadata"]["name"]


def _token(version: int, start: Key) -> str:
    document = {"v": "meta.k8s.io/v1", "rv": version, "start": "/".join(start) + "\0"}
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _parse(token: str) -> tuple[int, Key]:
    try:
        document = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = document["start"].removesuffix("\0").partition("/")
        return int(document["rv"]), (namespace, name)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise Failed(status.bad_request(f"continue key is not valid: {exc}")) from exc
