# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the server keeps: objects by kind, one counter of versions, and the changes that watches read."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import expired
from .resources import Resource

Key = tuple[str, str]
"""group and plural"""
Name = tuple[str, str]
"""namespace ("" for cluster-wide objects) and name"""


@dataclass(frozen=True)
class Change:
    """type: ADDED, MODIFIED or DELETED. value: the object after it, or as it was when it was deleted. previous: before it."""

    version: int
    type: str
    key: Key
    value: dict[str, Any]
    previous: dict[str, Any] | None


class Store:
    """Objects are never changed in place: whoever writes brings a new one. `lock` is held around every read and write."""

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.version = 100
        self.listeners: list[Callable[[Change], None]] = []
        self._objects: dict[Key, dict[Name, dict[str, Any]]] = defaultdict(dict)
        self._changes: dict[Key, list[Change]] = defaultdict(list)
        self._compacted = 0

    def get(self, key: Key, namespace: str | None, name: str) -> dict[str, Any] | None:
        return self._objects[key].get((namespace or "", name))

    def all(self, key: Key, namespace: str | None = None) -> list[dict[str, Any]]:
        """Objects of a kind in the order of their names, of one namespace or of all."""
        with self.lock:
            return [value for (there, _name), value in sorted(self._objects[key].items()) if namespace in (None, there)]

    def kinds(self) -> list[Key]:
        return [key for key, values in self._objects.items() if values]

    def owned_by(self, uid: str) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Every object that names this owner."""
        for key in self.kinds():
            for value in self.all(key):
                if any(each.get("uid") == uid for each in value["metadata"].get("ownerReferences") or []):
                    yield key, value

    def write(self, resource: Resource, value: dict[str, Any]) -> dict[str, Any]:
        """Adds or replaces an object under the next version."""
        metadata = value["metadata"]
        place = (metadata.get("namespace") or "", metadata["name"])
        previous = self._objects[resource.key].get(place)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self._objects[resource.key][place] = value
        self._tell(Change(self.version, "MODIFIED" if previous else "ADDED", resource.key, value, previous))
        return value

    def delete(self, resource: Resource, value: dict[str, Any]) -> None:
        metadata = value["metadata"]
        previous = self._objects[resource.key].pop((metadata.get("namespace") or "", metadata["name"]))
        self.version += 1
        gone = {**previous, "metadata": {**previous["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Change(self.version, "DELETED", resource.key, gone, previous))

    def _tell(self, change: Change) -> None:
        self._changes[change.key].append(change)
        for listener in self.listeners:
            listener(change)
        self.lock.notify_all()

    def changes(self, key: Key, after: int) -> list[Change]:
        """Raises ApiError when they are no longer known."""
        if after < self._compacted:
            raise expired(f"too old resource version: {after} ({self._compacted})")
        known = self._changes[key]
        first = len(known)
        while first and known[first - 1].version > after:
            first -= 1
        return known[first:]

    def compact(self) -> None:
        """Forgets all changes, as etcd does after five minutes: watches that begin before now are refused."""
        with self.lock:
            self._compacted = self.version
            self._changes.clear()
