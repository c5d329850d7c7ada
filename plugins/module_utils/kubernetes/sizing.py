# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the chart's numbers come to: shared memory, the time a start may take, how replicas are replaced. Pure.

The chart computes the same from its values (templates/_numbers.tpl); a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError

# What one instance of the python backend wants of /dev/shm, and what is there for everybody else.
SHM_MEBIBYTES = 64
SHM_LEAST_MEBIBYTES = 128
# Seconds of a start besides reading models, and how fast they are read: slow enough for a store in another zone.
BASE_SECONDS = 300
BYTES_PER_SECOND = 50_000_000
# What a rollout may take besides a start: pulling an image of 10 GB.
PULL_SECONDS = 600

Object = Mapping[str, Any]


def shared_memory_mebibytes(python_instances: int) -> int:
    """Size of /dev/shm for so many instances of models in Python, in MiB."""
    return max(SHM_LEAST_MEBIBYTES, SHM_MEBIBYTES * (python_instances + 1))


def startup_seconds(size: int, base: int = BASE_SECONDS, rate: int = BYTES_PER_SECOND) -> int:
    """Seconds that a start may take. size: bytes of all models; rate: bytes per second."""
    return base + -(-size // rate)


def rollout_seconds(startup: int, replicas: int = 1, surge: int = 0) -> int:
    """Seconds that a rollout may take: as many starts one after another as it has steps. surge: replicas that start at a time."""
    steps = -(-max(1, replicas) // max(1, surge))
    return PULL_SECONDS + steps * startup


def rollout(replicas: int, gpus: int, spare: int, *, one_node: bool = False) -> dict[str, int | str]:
    """maxSurge and maxUnavailable. gpus: of one replica; spare: GPUs that are free; one_node: a volume that one node alone can mount.

    A new replica comes first where there is room for it; elsewhere it would wait for ever for the GPU that the old one holds.
    """
    surge: int | str = "25%"
    if one_node:
        surge = 0
    elif gpus:
        surge = min(spare // gpus, max(1, replicas))
    return {"maxSurge": surge, "maxUnavailable": 0 if surge else 1}


@dataclass(frozen=True)
class Wanted:
    """What a replica asks of a node. resource: name of the GPUs; count: how many; selector: labels; tolerations: as Kubernetes has them."""

    resource: str
    count: int = 1
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Object] = ()


def spare_gpus(nodes: Iterable[Object], pods: Iterable[Object], wanted: Wanted) -> int:
    """GPUs for as many more replicas as fit on the nodes now.

    nodes, pods: Kubernetes objects of the whole cluster. Pods that wait for such a GPU come first.
    """
    if wanted.count < 1:
        raise InputError("must be 1 or more", where="count", remedy="Ask for spare GPUs only where replicas use some.")
    used: dict[str, int] = {}
    waiting = 0
    for pod in pods:
        held = 0 if pod.get("status", {}).get("phase") in ("Succeeded", "Failed") else requested(pod["spec"], wanted.resource)
        node = pod["spec"].get("nodeName")
        if node:
            used[node] = used.get(node, 0) + held
        else:
            waiting += held
    free = [
        quantity(node.get("status", {}).get("allocatable", {}).get(wanted.resource, 0)) - used.get(node["metadata"]["name"], 0)
        for node in nodes
        if usable(node, wanted)
    ]
    fitting = sum(max(0, each) // wanted.count for each in free)
    return max(0, fitting - -(-waiting // wanted.count)) * wanted.count


def requested(spec: Object, resource: str) -> int:
    """How much of a resource a pod holds: the containers together, or one init container where that wants more."""

    def of(container: Object) -> int:
        resources = container.get("resources") or {}
        return quantity({**(resources.get("limits") or {}), **(resources.get("requests") or {})}.get(resource, 0))

    before = spec.get("initContainers") or ()
    beside = [each for each in before if each.get("restartPolicy") == "Always"]
    together = sum(map(of, [*spec.get("containers", ()), *beside]))
    return max([together, *(of(each) for each in before if each not in beside)])


def quantity(value: object) -> int:
    """A whole number as Kubernetes writes it: 8, "8"; GPUs know no fractions."""
    text = str(value)
    return int(text) if text.isdigit() else 0


def usable(node: Object, wanted: Wanted) -> bool:
    """Whether new pods may come to a node: ready, not cordoned, with the labels, its taints tolerated."""
    spec, labels = node.get("spec", {}), node["metadata"].get("labels") or {}
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in node.get("status", {}).get("conditions", ()))
    taints = [taint for taint in spec.get("taints") or () if taint.get("effect") in ("NoSchedule", "NoExecute")]
    return (
        ready
        and not spec.get("unschedulable")
        and all(labels.get(key) == value for key, value in wanted.selector.items())
        and all(any(tolerated(taint, each) for each in wanted.tolerations) for taint in taints)
    )


def tolerated(taint: Object, toleration: Object) -> bool:
    """Whether a toleration matches a taint, by Kubernetes' rules."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    same = toleration["key"] == taint["key"]
    return same and (toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or ""))
