# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The queue of what has to be looked at, the thread that does it, and what all controllers share."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..api import Api, Deletion, Request, Value, timestamp
from ..errors import ApiError
from ..resources import Resource
from ..store import Change, Key

BACKGROUND = Deletion()
AT_ONCE = Deletion(grace=0)
INTERNAL = Request("internal")
PODS: Key = ("", "pods")
NODES: Key = ("", "nodes")
# What may go wrong in a controller without ending the thread; a test that closes the cluster is told.
_FAULTS = (ApiError, LookupError, TypeError, ValueError, AttributeError, OSError)


class Item(NamedTuple):
    """An object to be looked at."""

    key: Key
    namespace: str
    name: str


Handler = Callable[[Item, "Value | None"], None]


class Manager:
    """handlers: kind → what looks after its objects (None once they are gone). followers: what else a change concerns."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.handlers: dict[Key, list[Handler]] = {}
        self.followers: list[Callable[[Change], Iterator[Item]]] = [_itself, self._owners]
        self.failures: list[str] = []
        self._queue: list[tuple[float, int, Item]] = []
        self._waiting: dict[Item, float] = {}
        self._count = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="controllers")
        api.store.listeners.append(self._changed)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self.api.store.lock:
            self._stopped = True
            self.api.store.lock.notify_all()
        self._thread.join(10)

    def handle(self, key: Key, handler: Handler) -> None:
        self.handlers.setdefault(key, []).append(handler)

    def enqueue(self, item: Item, delay: float = 0.0) -> None:
        """Looks at an object after this many seconds; an earlier look that is due anyway takes its place."""
        due = time.monotonic() + delay
        if self._waiting.get(item, float("inf")) <= due:
            return
        self._waiting[item] = due
        heapq.heappush(self._queue, (due, next(self._count), item))
        with self.api.store.lock:
            self.api.store.lock.notify_all()

    def settled(self) -> bool:
        """Whether nothing is due now."""
        with self.api.store.lock:
            return not any(due <= time.monotonic() for due in self._waiting.values())

    def _changed(self, change: Change) -> None:
        for follower in self.followers:
            for item in follower(change):
                if item.key in self.handlers:
                    self.enqueue(item)

    def _owners(self, change: Change) -> Iterator[Item]:
        for owner in change.value["metadata"].get("ownerReferences") or []:
            resource = self.api.registry.of_kind(owner["apiVersion"], owner["kind"])
            if resource:
                yield Item(resource.key, change.value["metadata"].get("namespace", "") if resource.namespaced else "", owner["name"])

    def _run(self) -> None:
        lock = self.api.store.lock
        with lock:
            while not self._stopped:
                item = self._next()
                if item is None:
                    due = self._queue[0][0] - time.monotonic() if self._queue else 60.0
                    lock.wait(max(due, 0.0))
                    continue
                self._look(item)
                # Requests come between any two looks.
                lock.wait(0.0)

    def _next(self) -> Item | None:
        while self._queue and self._queue[0][0] <= time.monotonic():
            due, _number, item = heapq.heappop(self._queue)
            if self._waiting.get(item) == due:
                del self._waiting[item]
                return item
        return None

    def _look(self, item: Item) -> None:
        for handler in self.handlers.get(item.key, ()):
            try:
                handler(item, self.api.store.get(item.key, item.namespace, item.name))
            except _FAULTS:
                self.failures.append(f"{item}: {traceback.format_exc()}")

    # --- what controllers share

    def resource(self, key: Key) -> Resource:
        return self.api.registry.preferred(*key)

    def owned(self, key: Key, owner: Value) -> list[Value]:
        """Objects of a kind whose controller this is."""
        uid, namespace = owner["metadata"]["uid"], owner["metadata"].get("namespace", "")
        return [each for each in self.api.store.all(key, namespace) if controller_uid(each) == uid]

    def create(self, key: Key, value: Value) -> Value:
        return self.api.create(self.resource(key), value, Request("internal"))

    def delete(self, key: Key, value: Value, options: Deletion = BACKGROUND) -> None:
        self.api.delete(self.resource(key), value, options)

    def set_status(self, key: Key, value: Value, status: Mapping[str, Any]) -> Value:
        return self.api.set_status(self.resource(key), value, {name: each for name, each in status.items() if each not in (None, [])})

    def event(self, value: Value, reason: str, message: str, *, kind: str = "Normal", component: str = "stand-in") -> None:
        """Tells of something once; the same again only counts."""
        metadata = value["metadata"]
        namespace = metadata.get("namespace") or "default"
        place = self.api.find(("", "namespaces"), None, namespace)
        if place is None or is_going(place):
            return
        about = {"apiVersion": value["apiVersion"], "kind": value["kind"], "name": metadata["name"], "uid": metadata["uid"]}
        if metadata.get("namespace"):
            about["namespace"] = namespace
        for each in self.api.store.all(("", "events"), namespace):
            same = each["involvedObject"]["uid"] == metadata["uid"]
            if same and (each["reason"], each["message"]) == (reason, message):
                return
        now = timestamp()
        name = f"{metadata['name']}.{time.time_ns():x}"
        told = {"reason": reason, "message": message, "type": kind, "count": 1, "firstTimestamp": now, "lastTimestamp": now}
        sources = {"source": {"component": component}, "reportingComponent": component, "reportingInstance": ""}
        self.create(("", "events"), {"metadata": {"name": name, "namespace": namespace}, "involvedObject": about, **told, **sources})


def _itself(change: Change) -> Iterator[Item]:
    yield Item(change.key, change.value["metadata"].get("namespace") or "", change.value["metadata"]["name"])


def controller_uid(value: Value) -> str:
    return next((each["uid"] for each in value["metadata"].get("ownerReferences") or [] if each.get("controller")), "")


def owner_reference(owner: Value) -> dict[str, Any]:
    metadata = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": True}


def condition(kind: str, status: bool, reason: str, message: str = "", **more: str) -> dict[str, str]:
    now = timestamp()
    told = {"type": kind, "status": "True" if status else "False", "reason": reason, "message": message}
    return {**told, "lastTransitionTime": now, **more}


def condition_of(value: Value, kind: str) -> Value:
    found = next((each for each in (value.get("status") or {}).get("conditions") or [] if each["type"] == kind), {})
    return dict(found)


def is_true(value: Value, kind: str) -> bool:
    return condition_of(value, kind).get("status") == "True"


def is_going(value: Value) -> bool:
    return bool(value["metadata"].get("deletionTimestamp"))
