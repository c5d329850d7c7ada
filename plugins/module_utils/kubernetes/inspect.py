# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a cluster offers for a release of the chart, and what is there of it already."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..core.errors import UnavailableError
from . import sizing
from .access import PROXY, Known, choose, endpoint
from .cluster import Cluster, Object, part
from .endpoints import serving
from .permissions import Permission, denied
from .revisions import history, revisions, wait_for_helm
from .rollout import is_ready, judge
from .selection import selections
from .service import Release, key_of, observe, replicas
from .serving import served

# What the role does in the namespace: group, resource, verbs.
_NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "secrets", ("get", "list", "create", "update", "patch", "delete")),
    ("", "configmaps", ("get", "create", "update", "patch", "delete")),
    ("", "services", ("get", "list", "create", "update", "patch", "delete")),
    ("", "serviceaccounts", ("get", "create", "patch", "delete")),
    ("", "pods", ("get", "list")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    ("apps", "deployments", ("get", "list", "create", "update", "patch", "delete")),
    ("apps", "replicasets", ("list",)),
    ("discovery.k8s.io", "endpointslices", ("list",)),
)
# What may be wanted of an operator, and where its API says so.
_MONITORING = "monitoring.coreos.com"
_KSERVE_NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "secrets", ("get", "list", "create", "patch", "delete")),
    ("", "configmaps", ("get", "create", "patch", "delete")),
    ("", "serviceaccounts", ("get", "create", "patch", "delete")),
    ("", "services", ("list",)),
    ("", "pods", ("get", "list")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    ("apps", "deployments", ("list",)),
    ("apps", "replicasets", ("list",)),
    ("serving.kserve.io", "inferenceservices", ("get", "list", "create", "patch", "delete")),
    ("serving.kserve.io", "servingruntimes", ("get", "list", "create", "patch", "delete")),
)
MADE_BY = "app.kubernetes.io/managed-by"
OURS = "serving.triton"
_CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Wanted:
    """permissions: whether to ask which are lacking. gpus: of one replica, None for none. access: one of access.WAYS, or empty.

    monitoring: whether to read by which labels objects are monitored. kserve: whether KServe makes the Deployment of an InferenceService,
    instead of Helm. lock_timeout: seconds to wait for a Helm that is at work.
    """

    permissions: bool = False
    gpus: sizing.Wanted | None = None
    replicas: int = 1
    access: str = ""
    grpc_tls: bool = False
    monitoring: bool = False
    kserve: bool = False
    lock_timeout: float = 0


def inspect(cluster: Cluster, release: Release, wanted: Wanted) -> dict[str, Any]:
    """Reads the cluster. Raises UnavailableError for what may not be read; where permissions are asked for, what lacks any is not read."""
    version = cluster.get("/version") or {}
    namespace = cluster.get(f"/api/v1/namespaces/{part(release.namespace)}")
    lacking = denied(cluster, _needed(release, wanted, create_namespace=namespace is None)) if wanted.permissions else []
    readable = namespace is not None and not lacking
    if readable and not wanted.kserve:
        wait_for_helm(cluster, release, wanted.lock_timeout)
    seen = observe(cluster, release) if readable else None
    services = _services(cluster, release) if readable else []
    # KServe's are found by what belongs to the InferenceService.
    named = serving(cluster, services, seen.pods) if seen and not wanted.kserve else None
    pods = replicas(seen.pods, release, named) if seen else []
    found: dict[str, Any] = {
        "version": f"{version.get('major', '')}.{str(version.get('minor', '')).rstrip('+')}",
        "server": cluster.url,
        "kinds": kinds_of(cluster, _MONITORING),
        "denied": lacking,
        "namespace": namespace_of(cluster, release, namespace, more=_KSERVE_CONTENTS if wanted.kserve else {}),
        "release": served(revisions(cluster, release), seen) if seen else history([]),
        "secrets": _secrets(cluster, release) if readable else [],
        "deployment": _deployment(seen.deployment, release.container) if seen else {},
        "rollout": judge(seen).text if seen and seen.deployment else "",
        "replicas": pods,
        "pods_answer": bool(pods) and _answers(pods),
        "services": [_service(each) for each in services],
        "nodes": _node_addresses(cluster),
        "spare_gpus": _spare(cluster, release, wanted),
    }
    if wanted.monitoring:
        found["monitoring"] = _monitoring(cluster, release, namespace) if found["kinds"] else {}
    if not wanted.access:
        return found
    way = choose(wanted.access, found["pods_answer"])
    key = key_of(cluster, release, seen) if seen else ""
    keys = {release.key_header: key} if key else {}
    grpc = "grpcs" if wanted.grpc_tls else "grpc"
    known = Known(release.namespace, pods, found["services"], found["nodes"], cluster.url, cluster.headers, keys, grpc)
    reached = endpoint(way, known)
    return {**found, "access": way, "endpoint": reached, "pem": _pem(cluster) if reached and way == PROXY else {}}


def _pem(cluster: Cluster) -> dict[str, str]:
    """What clients of the API server's proxy need as files. Those of the kubernetes client may go with this process."""
    return {name: Path(path).read_text(encoding="utf-8") for name, path in cluster.tls.items()}


def namespace_of(
    cluster: Cluster, release: Release, namespace: Object | None, together: Sequence[str] = (), *, more: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """others: what else is in it, for a namespace of ours alone, which goes with its last release. together: releases that do not count
    either, since the same run has removed them, or would have. more: of `_CONTENTS`."""
    ours = bool(namespace) and ((namespace or {})["metadata"].get("labels") or {}).get(MADE_BY) == OURS
    releases = [release, *(Release(name, release.namespace) for name in together)]
    return {"exists": namespace is not None, "ours": ours, "others": _others(cluster, releases, more or {}) if ours else []}


def _others(cluster: Cluster, releases: Sequence[Release], more: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for kind, path in {**_CONTENTS, **more}.items():
        things = _readable(cluster, path.format(part(releases[0].namespace)))
        if things is None:
            found.append(f"each {kind}, which may not be listed")
        found += sorted({_named(kind, each) for each in things or () if all(is_others(kind, each, one) for one in releases)})
    return found


# What people keep in a namespace, and where it is listed.
_CONTENTS: Mapping[str, str] = {
    "secret": "/api/v1/namespaces/{}/secrets",
    "configmap": "/api/v1/namespaces/{}/configmaps",
    "service": "/api/v1/namespaces/{}/services",
    "claim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "pod": "/api/v1/namespaces/{}/pods",
    "deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "replicaset": "/apis/apps/v1/namespaces/{}/replicasets",
    "statefulset": "/apis/apps/v1/namespaces/{}/statefulsets",
    "daemonset": "/apis/apps/v1/namespaces/{}/daemonsets",
    "job": "/apis/batch/v1/namespaces/{}/jobs",
    "cronjob": "/apis/batch/v1/namespaces/{}/cronjobs",
}
_KSERVE_CONTENTS: Mapping[str, str] = {
    "inference service": "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices",
    "serving runtime": "/apis/serving.kserve.io/v1alpha1/namespaces/{}/servingruntimes",
}
# What the cluster, OpenShift and Istio put into every namespace.
_EVERYWHERE = ("kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert")
# Who owns others is counted itself. What is left of one that is gone leaves too.
_OWNERS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")


def _named(kind: str, value: Object) -> str:
    """Helm keeps a release in Secrets of its own."""
    labels = value["metadata"].get("labels") or {}
    return f"release {labels['name']}" if kind == "secret" and labels.get("owner") == "helm" else f"{kind} {value['metadata']['name']}"


def is_others(kind: str, value: Object, release: Release) -> bool:
    """Whether an object of the release's namespace would be lost to somebody else if the namespace went with the release."""
    metadata = value["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if kind == "secret" and labels.get("owner") == "helm":
        return bool(labels["name"] != release.name)
    if metadata.get("deletionTimestamp") or any(
        each.get("controller") and each["kind"] in _OWNERS for each in metadata.get("ownerReferences") or ()
    ):
        return False
    if kind == "configmap" and metadata["name"] in _EVERYWHERE:
        return False
    if annotations.get("kubernetes.io/service-account.name") == "default":
        return False
    ours = _belongs(value, release) or annotations.get("meta.helm.sh/release-name") == release.name
    return not ours or annotations.get("helm.sh/resource-policy") == "keep"


def _monitoring(cluster: Cluster, release: Release, namespace: Object | None) -> dict[str, Any]:
    """Who monitors objects of the namespace; empty where that may not be read."""
    prometheuses = _readable(cluster, f"/apis/{_MONITORING}/v1/prometheuses")
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    if prometheuses is None:
        return {}
    return selections(prometheuses, _readable(cluster, "/apis/apps/v1/deployments") or [], release.namespace, labels)


def kinds_of(cluster: Cluster, group: str) -> list[str]:
    """The kinds of an operator's API group, where it is served."""
    resources = (cluster.get(f"/apis/{group}/v1") or {}).get("resources") or []
    return sorted({each["kind"] for each in resources if "/" not in each["name"]})


# --- permissions


def _needed(release: Release, wanted: Wanted, *, create_namespace: bool) -> Iterator[Permission]:
    for group, resource, verbs in _KSERVE_NEEDED if wanted.kserve else _NEEDED:
        for verb in verbs:
            yield Permission(group, resource, verb, release.namespace)
    if create_namespace:
        yield Permission("", "namespaces", "create")


# --- the release


def _secrets(cluster: Cluster, release: Release) -> list[str]:
    """Those that the role has made for the release, the oldest first."""
    labels = f"{MADE_BY}={OURS},app.kubernetes.io/instance={release.name}"
    found = cluster.items(release.core("secrets"), labelSelector=labels)
    found = sorted(found, key=lambda each: (each["metadata"].get("creationTimestamp", ""), each["metadata"]["name"]))
    return [each["metadata"]["name"] for each in found]


def _deployment(deployment: Object | None, container: str) -> dict[str, Any]:
    if deployment is None:
        return {}
    template = deployment["spec"]["template"]
    containers = template["spec"]["containers"]
    return {
        "name": deployment["metadata"]["name"],
        "uid": deployment["metadata"]["uid"],
        "generation": deployment["metadata"].get("generation", 0),
        "replicas": int(deployment["spec"].get("replicas", 1)),
        "ready": int((deployment.get("status") or {}).get("readyReplicas", 0)),
        "image": next((each["image"] for each in containers if each["name"] == container), ""),
        "secrets": sorted(set(_secret_names(template["spec"]))),
        "annotations": dict((template.get("metadata") or {}).get("annotations") or {}),
    }


def _secret_names(value: Any) -> Iterator[str]:
    """Those that a pod's containers and volumes refer to."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in ("secret", "secretRef", "secretKeyRef") and isinstance(each, Mapping):
                yield each.get("secretName") or each.get("name") or ""
            yield from _secret_names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _secret_names(each)


# --- how it is reached


def _answers(pods: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this machine reaches the pods' addresses, by the first that is ready."""
    pod = next((each for each in pods if each["ready"] and each["address"]), None)
    if pod is None:
        return False
    # By what Triton answers: a proxy on the way may take connections to any address.
    connection = http.client.HTTPConnection(pod["address"], pod["ports"]["http"], timeout=_CONNECT_SECONDS)
    try:
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _services(cluster: Cluster, release: Release) -> list[Object]:
    found = cluster.items(release.core("services"), labelSelector=release.selector)
    return [each for each in found if each["spec"].get("clusterIP") != "None"]


def _service(service: Object) -> dict[str, Any]:
    spec = service["spec"]
    balancers = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return {
        "name": service["metadata"]["name"],
        "type": spec.get("type", "ClusterIP"),
        "address": spec.get("clusterIP", ""),
        "balancer": next((each.get("hostname") or each.get("ip") for each in balancers), "") or "",
        "ports": {each["name"]: each["port"] for each in spec.get("ports") or ()},
        "node_ports": {each["name"]: each["nodePort"] for each in spec.get("ports") or () if each.get("nodePort")},
    }


def _node_addresses(cluster: Cluster) -> list[str]:
    """Addresses of ready nodes, those outside first; empty where nodes may not be read."""
    found = [_addresses(node) for node in _readable(cluster, "/api/v1/nodes") or () if is_ready(node)]
    return [each[kind] for each in found for kind in ("ExternalIP", "InternalIP") if kind in each]


def _addresses(node: Object) -> dict[str, str]:
    return {each["type"]: each["address"] for each in (node.get("status") or {}).get("addresses") or ()}


def _readable(cluster: Cluster, path: str) -> list[Object] | None:
    """None where it may not be read."""
    try:
        return cluster.items(path)
    except UnavailableError:
        return None


# --- GPUs


def _spare(cluster: Cluster, release: Release, wanted: Wanted) -> int:
    """GPUs for one more replica when all of the release's have theirs, at most: 0, or as many as a replica has.

    The release's own pods are left out and its replicas counted instead, so that the answer is the same before and after it is deployed.
    """
    if wanted.gpus is None:
        return 0
    nodes, pods = _readable(cluster, "/api/v1/nodes"), _readable(cluster, "/api/v1/pods")
    if nodes is None or pods is None:
        return 0
    others = [pod for pod in pods if not _belongs(pod, release)]
    free = sizing.spare_gpus(nodes, others, wanted.gpus) - wanted.replicas * wanted.gpus.count
    return wanted.gpus.count if free >= wanted.gpus.count else 0


def _belongs(pod: Object, release: Release) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return pod["metadata"].get("namespace") == release.namespace and labels.get("app.kubernetes.io/instance") == release.name
