# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where pods go: the scheduler's filters, and what it says when no node is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from .. import selectors
from ..api import Value
from ..schemas import quantity
from .manager import NODES, PODS, Item, Manager, condition, is_going

_HARD = ("NoSchedule", "NoExecute")
_TOLERATED_BY_DAEMONS = "node.kubernetes.io/"


def requests(spec: Mapping[str, Any]) -> Counter[str]:
    """What a pod asks for: the sum of its containers, or the largest of its init containers."""
    total: Counter[str] = Counter()
    for container in spec.get("containers") or []:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] += quantity(amount)  # type: ignore[assignment]
    for container in spec.get("initContainers") or []:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = max(total[name], quantity(amount))  # type: ignore[assignment,type-var]
    return total


def _tolerates(spec: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    for each in spec.get("tolerations") or []:
        if each.get("effect") not in (None, "", taint["effect"]) or each.get("key") not in (None, "", taint["key"]):
            continue
        if each.get("operator", "Equal") == "Exists" or each.get("value", "") == taint.get("value", ""):
            return True
    return False


def _affine(spec: Mapping[str, Any], node: Value) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    if terms is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(selectors.expression(each, labels) for each in term.get("matchExpressions") or [])
        and all(selectors.expression(each, fields) for each in term.get("matchFields") or [])
        for term in terms
    )


def misfit(pod: Value, node: Value, *, daemon: bool = False) -> str:
    """Why a pod cannot be on a node, whatever else is there; nothing when it can."""
    spec = pod["spec"]
    if not _affine(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    for taint in node["spec"].get("taints") or []:
        builtin = daemon and taint["key"].startswith(_TOLERATED_BY_DAEMONS)
        if taint["effect"] in _HARD and not builtin and not _tolerates(spec, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if node["spec"].get("unschedulable") and not daemon:
        return "node(s) were unschedulable"
    return ""


class Scheduler:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def place(self, item: Item, pod: Value) -> Value | None:
        """The pod with a node, or None when it has to wait. A refusal is told in its status and in an event."""
        if pod["spec"].get("nodeName"):
            return pod
        why = self._claims(pod)
        nodes = self._manager.api.store.all(NODES)
        reasons = [why or self._why_not(pod, node) for node in nodes]
        fitting = [node for node, reason in zip(nodes, reasons) if not reason]
        if not fitting:
            return self.refuse(pod, self._told(reasons))
        name = min(fitting, key=self._load)["metadata"]["name"]
        placed = self._manager.api.edit(self._manager.resource(PODS), pod, lambda one: one["spec"].update(nodeName=name))
        self._manager.event(
            placed, "Scheduled", f"Successfully assigned {item.namespace}/{item.name} to {name}", component="default-scheduler"
        )
        return placed

    def refuse(self, pod: Value, told: str) -> None:
        conditions = [condition("PodScheduled", False, "Unschedulable", told)]
        self._manager.set_status(PODS, pod, {"phase": "Pending", "conditions": conditions})
        self._manager.event(pod, "FailedScheduling", told, kind="Warning", component="default-scheduler")

    @staticmethod
    def _told(reasons: Sequence[str]) -> str:
        count = f"0/{len(reasons)} nodes are available"
        listed = ", ".join(f"{number} {reason}" for reason, number in sorted(Counter(reasons).items()))
        return f"{count}: {listed}." if reasons else "no nodes available to schedule pods"

    def _claims(self, pod: Value) -> str:
        for volume in pod["spec"].get("volumes") or []:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if not name:
                continue
            claim = self._manager.api.find(("", "persistentvolumeclaims"), pod["metadata"]["namespace"], name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if (claim.get("status") or {}).get("phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _on(self, node: Value) -> list[Value]:
        name = node["metadata"]["name"]
        pods = (each for each in self._manager.api.store.all(PODS) if each["spec"].get("nodeName") == name)
        return [each for each in pods if (each.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]

    def _load(self, node: Value) -> tuple[int, str]:
        return len(self._on(node)), node["metadata"]["name"]

    def _why_not(self, pod: Value, node: Value) -> str:
        why = misfit(pod, node)
        if why:
            return why
        used: Counter[str] = Counter()
        others = self._on(node)
        for each in others:
            used.update(requests(each["spec"]))
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        for name, amount in requests(pod["spec"]).items():
            if used[name] + Decimal(amount) > quantity(allocatable.get(name, 0)):
                return f"Insufficient {name}"
        return "node(s) didn't match pod anti-affinity rules" if self._repelled(pod, node, others) else ""

    def _repelled(self, pod: Value, node: Value, others: Sequence[Value]) -> bool:
        """Required anti-affinity by host name."""
        rules = ((pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        ) or []
        namespace = pod["metadata"]["namespace"]
        near = [each for each in others if each["metadata"]["namespace"] == namespace and not is_going(each)]
        return any(
            rule["topologyKey"] == "kubernetes.io/hostname"
            and any(selectors.matches(rule.get("labelSelector"), each["metadata"].get("labels") or {}) for each in near)
            for rule in rules
        )
