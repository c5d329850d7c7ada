# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what a cluster has of GPUs and of those who serve them, and waits until its nodes show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import InputError, ServingError
from . import gpu_nodes
from .cluster import Cluster, Object, part
from .device_plugin import Config, parse_all, same_everywhere
from .gpu_rollout import NO_GPUS, Seen, Wanted, blamed, container_of, decide, explanation, lacking
from .gpu_rollout import gpu_nodes as nodes_with_gpus
from .helm_release import record_name
from .inspect import OURS, kinds_of
from .permissions import Permission, denied
from .rollout import DAEMON_SET, Verdict, is_ready
from .selection import selections
from .service import Release, Waiting, log_of, observe_workloads, patiently, with_logs

_NODES, _POLICIES = "/api/v1/nodes", "/apis/nvidia.com/v1/clusterpolicies"
_PROMETHEUSES = "/apis/monitoring.coreos.com/v1/prometheuses"
_DISCOVERY_LABEL = "app.kubernetes.io/name=node-feature-discovery"
# What the charts make and the role changes: group, resource, verb, and whether it is in the namespace.
_NEEDED: tuple[tuple[str, str, str, bool], ...] = (
    ("", "nodes", "list", False),
    ("", "nodes", "patch", False),
    ("apps", "daemonsets", "list", False),
    ("apps", "daemonsets", "create", True),
    ("", "serviceaccounts", "create", True),
    ("", "secrets", "create", True),
    ("", "pods", "list", False),
    ("", "pods", "create", True),
    ("", "pods", "deletecollection", True),
    ("", "pods/log", "get", True),
    ("rbac.authorization.k8s.io", "clusterroles", "create", False),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "create", False),
    ("apiextensions.k8s.io", "customresourcedefinitions", "create", False),
)


@dataclass(frozen=True)
class Asked:
    """configs: as the user gives them; empty for an absent plugin. default: the name of one. node_configs: node or selector → name of one.

    named: nodes that have GPUs. present: whether these are to say so by a label. releases: `namespace/name` of ours. runtime_class: one
    that must be there. monitored: namespace of the exporter. permissions: whether to ask which are lacking.
    """

    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default: str = ""
    node_configs: Mapping[str, str] = field(default_factory=dict)
    named: Sequence[str] = ()
    present: bool = False
    releases: Sequence[str] = ()
    runtime_class: str = ""
    monitored: str = ""
    permissions: bool = False


def checked(asked: Asked) -> dict[str, Config]:
    """The configurations. Raises InputError for what cannot work whatever the cluster is."""
    configs = parse_all(asked.configs, asked.default) if asked.configs else {}
    for key, name in asked.node_configs.items():
        if asked.configs and name not in configs:
            remedy = f"Name one of {', '.join(sorted(configs))}."
            raise InputError(f"is to have the configuration {name}, which is not described", where=key, remedy=remedy)
        if gpu_nodes.is_selector(key):
            gpu_nodes.check_selector(key)
    return configs


def inspect(cluster: Cluster, release: Release, asked: Asked) -> dict[str, Any]:
    """What is there, and which labels are to be changed. Raises InputError, and UnavailableError for what may not be read."""
    configs = checked(asked)
    # Before anything may be refused.
    lacks = denied(cluster, _needed(release.namespace)) if asked.permissions else []
    if lacks:
        return {"server": cluster.url, "denied": lacks}
    nodes = cluster.items(_NODES)
    chosen, empty = _chosen(cluster, nodes, asked)
    if asked.runtime_class and cluster.get(f"/apis/node.k8s.io/v1/runtimeclasses/{part(asked.runtime_class)}") is None:
        remedy = "Make it, with the handler that the nodes' container runtime has for NVIDIA's, or name none where that is the default."
        raise InputError("is no RuntimeClass of the cluster", where=asked.runtime_class, remedy=remedy)
    labelled = list(asked.named) if asked.present and asked.configs else []
    wanted = Wanted(configs, asked.default, asked.named)
    ours = asked.releases or [f"{release.namespace}/{release.name}"]
    others = _others(cluster, ours)
    return {
        "server": cluster.url,
        "denied": lacks,
        "kinds": kinds_of(cluster, "monitoring.coreos.com"),
        "monitor_labels": _monitor_labels(cluster, asked.monitored) if asked.monitored else {},
        "namespace_exists": cluster.get(f"/api/v1/namespaces/{part(release.namespace)}") is not None,
        "documents": {name: each.document() for name, each in configs.items()},
        "needs_documents": bool(configs) and not same_everywhere(configs),
        "mig_strategies": sorted({each.mig_strategy for each in configs.values()}),
        "shares_by_mps": any(each.sharing == "mps" for each in configs.values()),
        "installed": [each for each in ours if _is_installed(cluster, *each.split("/"))],
        "others": others,
        "definitions": _definitions(cluster, ours, others),
        "nodes": [_described(node, wanted) for node in nodes],
        "unmatched": empty,
        "patches": gpu_nodes.patches(nodes, chosen, labelled, forget_operator=not asked.configs and not others["operator"]),
    }


def _needed(namespace: str) -> list[Permission]:
    return [Permission(group, resource, verb, namespace if inside else "") for group, resource, verb, inside in _NEEDED]


def _chosen(cluster: Cluster, nodes: Sequence[Object], asked: Asked) -> tuple[dict[str, str], list[str]]:
    """Node → configuration, and the selectors that find none."""
    known = [gpu_nodes.name_of(node) for node in nodes]
    missing = sorted(set(asked.named) - set(known)) if asked.configs else []
    if missing:
        raise InputError("is no node of the cluster", where=", ".join(missing), remedy="Name nodes as kubectl get nodes does.")
    selectors = [key for key in asked.node_configs if gpu_nodes.is_selector(key)]
    selected = {key: [gpu_nodes.name_of(node) for node in cluster.items(_NODES, labelSelector=key)] for key in selectors}
    return gpu_nodes.choose(asked.node_configs if asked.configs else {}, known, selected), [key for key in selectors if not selected[key]]


def _others(cluster: Cluster, ours: Sequence[str]) -> dict[str, list[str]]:
    """What serves GPUs and is not ours, in words."""
    daemons, policies = cluster.items("/apis/apps/v1/daemonsets"), cluster.items(_POLICIES)
    discovery = cluster.items("/apis/apps/v1/deployments", labelSelector=_DISCOVERY_LABEL)
    return {
        "plugin": list(gpu_nodes.others([each for each in daemons if gpu_nodes.is_device_plugin(each)], ours, policies)),
        "operator": list(gpu_nodes.others([{"kind": "ClusterPolicy", **each} for each in policies], ours)),
        "exporter": list(gpu_nodes.others([each for each in daemons if gpu_nodes.is_exporter(each)], ours, policies)),
        "discovery": list(gpu_nodes.others([{"kind": "Deployment", **each} for each in discovery], ours)),
    }


def _monitor_labels(cluster: Cluster, namespace: str) -> dict[str, str]:
    """By which the cluster's own Prometheus selects a ServiceMonitor of a namespace; none where there is no such Prometheus."""
    labels = gpu_nodes.labels_of(cluster.get(f"/api/v1/namespaces/{part(namespace)}") or {"metadata": {}})
    found: dict[str, str] = selections(cluster.items(_PROMETHEUSES), (), namespace, labels)["service_monitor"]["labels"]
    return found


def _is_installed(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether a release of ours is there, or something is left of it."""
    release = Release(name, namespace)
    kept = cluster.items(release.core("secrets"), labelSelector=f"owner=helm,name={name}")
    return bool(kept) or cluster.get(f"{release.core('configmaps')}/{record_name(name)}") is not None


def _definitions(cluster: Cluster, ours: Sequence[str], others: Mapping[str, Sequence[str]]) -> list[str]:
    """Custom resource definitions that came with our charts and are of use to nobody else."""
    found = []
    for each in cluster.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions"):
        spec, managers = each["spec"], [one.get("manager") for one in each["metadata"].get("managedFields") or ()]
        served_by = _GROUPS.get(spec["group"])
        if served_by is None or others[served_by] or OURS not in managers:
            continue
        version = next(one["name"] for one in spec["versions"] if one.get("storage"))
        plural = spec["names"]["plural"]
        values = [] if plural in _BY_ITSELF else cluster.items(f"/apis/{spec['group']}/{version}/{plural}")
        if all(gpu_nodes.release_of(value) in ours for value in values):
            found.append(gpu_nodes.name_of(each))
    return found


# API group → whose it is in `_others`. Objects that its owner makes for itself.
_GROUPS = {"nvidia.com": "operator", "resource.nvidia.com": "operator", "nfd.k8s-sigs.io": "discovery"}
_BY_ITSELF = ("nodefeatures", "computedomaincliques")


def _described(node: Object, wanted: Wanted) -> dict[str, Any]:
    labels = gpu_nodes.labels_of(node)
    return {
        "name": gpu_nodes.name_of(node),
        "ready": is_ready(node),
        "gpu": gpu_nodes.name_of(node) in wanted.named or gpu_nodes.has_gpu(node),
        "discovered": gpu_nodes.is_discovered(node),
        "product": labels.get("nvidia.com/gpu.product", ""),
        "config": labels.get(gpu_nodes.CONFIG_LABEL, ""),
        "resources": gpu_nodes.resources(node),
    }


# --- waiting


def shown(seen: Seen, wanted: Wanted) -> list[dict[str, Any]]:
    """Nodes with GPUs, as results tell them."""
    return [{"name": gpu_nodes.name_of(node), "resources": gpu_nodes.resources(node)} for node in nodes_with_gpus(seen, wanted)]


def observe(cluster: Cluster, release: Release) -> Seen:
    """Nodes, and what Helm made for the release, with what the GPU operator makes of that."""
    nodes = cluster.items(_NODES)
    policies = [each for each in cluster.items(_POLICIES) if gpu_nodes.release_of(each) == f"{release.namespace}/{release.name}"]
    looks = dict(observe_workloads(cluster, release, []))
    uids = {each["metadata"]["uid"] for each in policies}
    operands = [
        (DAEMON_SET, gpu_nodes.name_of(each))
        for each in (cluster.items(release.apps("daemonsets")) if policies else ())
        if any(owner["uid"] in uids for owner in each["metadata"].get("ownerReferences") or ())
    ]
    return Seen(nodes, {**looks, **(observe_workloads(cluster, release, operands) if operands else {})}, policies)


def wait(waiting: Waiting, wanted: Wanted) -> tuple[Seen, Verdict]:
    """Returns when all nodes with GPUs show them, or when none has some and none must. Raises UnavailableError, or DeadlineError, whose
    texts say why they do not."""

    def once() -> tuple[Seen, Verdict]:
        seen = observe(waiting.cluster, waiting.release)
        return seen, decide(seen, wanted)

    return patiently(
        once,
        waiting,
        lambda kind, seen, text: _failure(kind, waiting, seen, wanted, text),
        lambda seen, verdict: not wanted.required and not verdict.bad and not nodes_with_gpus(seen, wanted),
    )


def _failure(kind: type[ServingError], waiting: Waiting, seen: Seen, wanted: Wanted, text: str) -> ServingError:
    cluster, release = waiting.cluster, waiting.release
    logs = {gpu_nodes.name_of(pod): _log(cluster, release, pod) for pod in blamed(seen, wanted)[:_MOST_LOGS]}
    looks = {name: with_logs(cluster, release, each) for name, each in seen.looks.items()}
    events = cluster.items(release.core("events"))
    trouble = explanation(replace(seen, looks=looks, events=events, logs=logs), wanted)
    found = {gpu_nodes.name_of(node): lacking(node, wanted) for node in nodes_with_gpus(seen, wanted)}
    lacks = {name: each for name, each in found.items() if each}
    remedy = "\n".join(trouble) or (_NO_GPUS_REMEDY if text.startswith(NO_GPUS) else "")
    return kind(text, where=f"{release.namespace}/{release.name}", remedy=remedy, trouble=trouble, lacking=lacks)


_MOST_LOGS = 10
_NO_GPUS_REMEDY = "Add nodes with GPUs, name those that have some, or let the play go on without."


def _log(cluster: Cluster, release: Release, pod: Object) -> str:
    """Of the plugin's own container, of its run before where it was started again; of an init container that is in the way."""
    status = pod.get("status") or {}
    waiting = next((each for each in status.get("initContainerStatuses") or () if not each.get("ready", True)), None)
    name = str(waiting["name"]) if waiting else container_of(pod)
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    again = any(each["name"] == name and each.get("restartCount") for each in states)
    return log_of(cluster, release, pod, name, again)
