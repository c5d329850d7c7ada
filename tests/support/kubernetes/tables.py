# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists as tables: what `kubectl get` shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from .controllers.manager import condition_of, is_true
from .resources import Resource

Value = Mapping[str, Any]
Column = tuple[str, Callable[[Value], Any]]


def age(value: Value) -> str:
    then = datetime.strptime(value["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    seconds = int((datetime.now(timezone.utc) - then).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _status(name: str, default: Any = 0) -> Callable[[Value], Any]:
    return lambda value: (value.get("status") or {}).get(name, default)


def _spec(name: str, default: Any = "") -> Callable[[Value], Any]:
    return lambda value: (value.get("spec") or {}).get(name, default)


def pod_reason(pod: Value) -> str:
    """The STATUS column: Running, Init:0/1, CrashLoopBackOff, Terminating, …"""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status") or {}
    for place, each in enumerate(status.get("initContainerStatuses") or []):
        if not each["ready"]:
            waiting = each["state"].get("waiting", {}).get("reason", "")
            total = len(status["initContainerStatuses"])
            return f"Init:{waiting}" if waiting not in ("", "PodInitializing") else f"Init:{place}/{total}"
    for each in status.get("containerStatuses") or []:
        told = each["state"].get("waiting") or each["state"].get("terminated") or {}
        if told.get("reason"):
            return str(told["reason"])
    return str(status.get("phase", "Pending"))


def _containers_ready(pod: Value) -> str:
    states = (pod.get("status") or {}).get("containerStatuses") or []
    return f"{sum(each['ready'] for each in states)}/{len(pod['spec']['containers'])}"


def _restarts(pod: Value) -> int:
    return sum(each["restartCount"] for each in (pod.get("status") or {}).get("containerStatuses") or [])


def _ports(service: Value) -> str:
    ports = service["spec"].get("ports") or []
    told = (f"{each['port']}:{each['nodePort']}" if each.get("nodePort") else str(each["port"]) for each in ports)
    return ",".join(f"{text}/{each['protocol']}" for text, each in zip(told, ports))


def _external(service: Value) -> str:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    pending = "<pending>" if service["spec"]["type"] == "LoadBalancer" else "<none>"
    return ",".join(each.get("ip") or each.get("hostname", "") for each in ingress) or pending


def _job_status(job: Value) -> str:
    for kind in ("Complete", "Failed"):
        if is_true(job, kind):
            return kind
    return "Running"


def _hosts(ingress: Value) -> str:
    return ",".join(each.get("host", "*") for each in ingress["spec"].get("rules") or []) or "*"


_COLUMNS: dict[tuple[str, str], Sequence[Column]] = {
    ("", "pods"): [("Ready", _containers_ready), ("Status", pod_reason), ("Restarts", _restarts)],
    ("", "services"): [
        ("Type", _spec("type")), ("Cluster-IP", _spec("clusterIP", "<none>")), ("External-IP", _external), ("Port(s)", _ports),
    ],
    ("", "namespaces"): [("Status", _status("phase"))],
    ("", "nodes"): [("Status", lambda node: "Ready" if is_true(node, "Ready") else "NotReady")],
    ("", "secrets"): [("Type", lambda secret: secret.get("type", "")), ("Data", lambda secret: len(secret.get("data") or {}))],
    ("", "configmaps"): [("Data", lambda config: len(config.get("data") or {}))],
    ("", "persistentvolumeclaims"): [
        ("Status", _status("phase")), ("Volume", _spec("volumeName")), ("StorageClass", _spec("storageClassName")),
    ],
    ("", "persistentvolumes"): [("Status", _status("phase")), ("StorageClass", _spec("storageClassName"))],
    ("", "events"): [
        ("Type", lambda event: event.get("type", "")), ("Reason", lambda event: event.get("reason", "")),
        ("Object", lambda event: f"{event['involvedObject']['kind'].lower()}/{event['involvedObject']['name']}"),
        ("Message", lambda event: event.get("message", "")),
    ],
    ("apps", "deployments"): [
        ("Ready", lambda value: f"{_status('readyReplicas')(value)}/{value['spec']['replicas']}"),
        ("Up-to-date", _status("updatedReplicas")), ("Available", _status("availableReplicas")),
    ],
    ("apps", "replicasets"): [("Desired", _spec("replicas")), ("Current", _status("replicas")), ("Ready", _status("readyReplicas"))],
    ("apps", "statefulsets"): [("Ready", lambda value: f"{_status('readyReplicas')(value)}/{value['spec']['replicas']}")],
    ("apps", "daemonsets"): [
        ("Desired", _status("desiredNumberScheduled")), ("Current", _status("currentNumberScheduled")), ("Ready", _status("numberReady")),
    ],
    ("batch", "jobs"): [
        ("Status", _job_status), ("Completions", lambda job: f"{_status('succeeded')(job)}/{job['spec'].get('completions', 1)}"),
    ],
    ("autoscaling", "horizontalpodautoscalers"): [
        ("Reference", lambda value: "{kind}/{name}".format(**value["spec"]["scaleTargetRef"])), ("MinPods", _spec("minReplicas")),
        ("MaxPods", _spec("maxReplicas")), ("Replicas", _status("currentReplicas")),
    ],
    ("networking.k8s.io", "ingresses"): [("Class", _spec("ingressClassName", "<none>")), ("Hosts", _hosts)],
    ("apiextensions.k8s.io", "customresourcedefinitions"): [("Created At", lambda value: value["metadata"]["creationTimestamp"])],
    ("apiregistration.k8s.io", "apiservices"): [("Available", lambda value: condition_of(value, "Available").get("status", "Unknown"))],
}  # fmt: skip


def _columns(resource: Resource) -> Iterator[Column]:
    yield "Name", lambda value: value["metadata"]["name"]
    if resource.custom and resource.columns:
        for each in resource.columns:
            yield each["name"], lambda value, path=each["jsonPath"]: at_path(value, path)  # type: ignore[misc]
        return
    yield from _COLUMNS.get(resource.key, ())
    yield "Age", age


def at_path(value: Any, path: str) -> Any:
    """The part of JSONPath that printer columns use: .a.b, [?(@.type=="Ready")], [0]."""
    for name, kind, wanted, index in re.findall(r"\.?([\w-]+)|\[\?\(@\.([\w-]+)==['\"]([^'\"]*)['\"]\)\]|\[(\d+)\]", path):
        if name:
            value = value.get(name) if isinstance(value, Mapping) else None
        elif kind:
            value = next((each for each in value or [] if each.get(kind) == wanted), None)
        else:
            value = value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
    return "" if value is None else value


def table(resource: Resource, values: Sequence[Value], metadata: Value) -> dict[str, Any]:
    columns = list(_columns(resource))
    kinds = {"name": "string", "format": "", "description": "", "priority": 0}
    head = [{**kinds, "name": name, "type": "string", "format": "name" if name == "Name" else ""} for name, _cell in columns]
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [{"cells": [cell(each) for _name, cell in columns], "object": {**partial, "metadata": each["metadata"]}} for each in values]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": head, "rows": rows}
