# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which pods get the requests to a release, by the EndpointSlices of its Services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import UnavailableError
from ..core.wait import Clock
from .cluster import Cluster, Object, part
from .rollout import is_ready, staying

# Seconds that slices may be behind the pods, and between two looks.
_BEHIND = 10.0
_PAUSE = 0.5


def serving(cluster: Cluster, services: Sequence[Object], pods: Sequence[Object], clock: Clock | None = None) -> set[str] | None:
    """
    Names of the pods that a Service sends requests to. None where the slices do not tell: without any, or where they may not be read.

    A pod that has just become ready is waited for, since its slice comes a moment later.
    """
    clock = clock or Clock()
    end = clock.now() + _BEHIND
    expected = {str(pod["metadata"]["name"]) for pod in staying(pods) if is_ready(pod) and any(_selects(each, pod) for each in services)}
    while True:
        found = _named(cluster, services)
        if found is None or expected <= found or clock.now() >= end:
            return found
        clock.sleep(_PAUSE)


def _selects(service: Object, pod: Object) -> bool:
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    labels: Mapping[str, Any] = pod["metadata"].get("labels") or {}
    return bool(selector) and selector.items() <= labels.items()


def _named(cluster: Cluster, services: Sequence[Object]) -> set[str] | None:
    slices: list[Object] = []
    for each in services:
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        path = f"/apis/discovery.k8s.io/v1/namespaces/{part(namespace)}/endpointslices"
        try:
            slices += cluster.items(path, labelSelector=f"kubernetes.io/service-name={name}")
        except UnavailableError:
            return None
    return {name for each in slices for name in _ready(each)} if slices else None


def _ready(one: Object) -> Iterator[str]:
    for each in one.get("endpoints") or ():
        target = each.get("targetRef") or {}
        # What is not told counts as ready.
        if target.get("kind") == "Pod" and (each.get("conditions") or {}).get("ready") is not False:
            yield str(target["name"])
