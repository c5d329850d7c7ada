# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a cluster offers for a release of the chart, and what is there of it already."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..core.errors import UnavailableError
from ..core.wait import Clock
from . import sizing
from .access import PROXY, Known, choose, endpoint
from .cluster import Cluster, Object, part
from .rollout import is_ready, judge
from .service import Release, key_of, observe, replicas

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
)
# What may be wanted of an operator, and where its API says so.
_MONITORING = "monitoring.coreos.com"
MADE_BY = "app.kubernetes.io/managed-by"
OURS = "serving.triton"
_CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Wanted:
    """permissions: whether to ask which are lacking. gpus: of one replica, None for none. access: one of access.WAYS, or empty."""

    permissions: bool = False
    gpus: sizing.Wanted | None = None
    replicas: int = 1
    access: str = ""
    grpc_tls: bool = False


def inspect(cluster: Cluster, release: Release, wanted: Wanted) -> dict[str, Any]:
    """Reads the cluster. Raises UnavailableError for what may not be read."""
    version = cluster.get("/version") or {}
    namespace = cluster.get(f"/api/v1/namespaces/{part(release.namespace)}")
    seen = observe(cluster, release) if namespace else None
    pods = replicas(seen.pods) if seen else []
    found: dict[str, Any] = {
        "version": f"{version.get('major', '')}.{str(version.get('minor', '')).rstrip('+')}",
        "server": cluster.url,
        "kinds": _kinds(cluster, _MONITORING),
        "denied": denied(cluster, release.namespace, create_namespace=namespace is None) if wanted.permissions else [],
        "namespace": _namespace(cluster, release, namespace),
        "release": history(cluster, release) if namespace else _NONE,
        "secrets": _secrets(cluster, release) if namespace else [],
        "deployment": _deployment(seen.deployment) if seen else {},
        "rollout": judge(seen).text if seen and seen.deployment else "",
        "replicas": pods,
        "pods_answer": bool(pods) and _answers(pods),
        "services": _services(cluster, release) if namespace else [],
        "nodes": _node_addresses(cluster),
        "spare_gpus": _spare(cluster, release, wanted),
    }
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


def _namespace(cluster: Cluster, release: Release, namespace: Object | None) -> dict[str, Any]:
    """others: what else is in it, for a namespace of ours alone, which goes with its last release."""
    ours = bool(namespace) and ((namespace or {})["metadata"].get("labels") or {}).get(MADE_BY) == OURS
    return {"exists": namespace is not None, "ours": ours, "others": _others(cluster, release) if ours else []}


def _others(cluster: Cluster, release: Release) -> list[str]:
    helm = {each["metadata"]["labels"]["name"] for each in cluster.items(release.core("secrets"), labelSelector="owner=helm")}
    pods = [each for each in cluster.items(release.core("pods")) if not _belongs(each, release)]
    claims = cluster.items(release.core("persistentvolumeclaims"))
    kept = [each for each in claims if not _belongs(each, release) or _is_kept(each)]
    names = [f"release {name}" for name in sorted(helm - {release.name})]
    return [*names, *(f"pod {each['metadata']['name']}" for each in pods), *(f"claim {each['metadata']['name']}" for each in kept)]


def _is_kept(value: Object) -> bool:
    return (value["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"


def _kinds(cluster: Cluster, group: str) -> list[str]:
    """The kinds of an operator's API group, where it is served."""
    resources = (cluster.get(f"/apis/{group}/v1") or {}).get("resources") or []
    return sorted({each["kind"] for each in resources if "/" not in each["name"]})


# --- permissions


def denied(cluster: Cluster, namespace: str, *, create_namespace: bool) -> list[str]:
    """What is lacking, as `verb resource.group`."""
    asked = [(group, resource, verb) for group, resource, verbs in _NEEDED for verb in verbs]
    found = [
        f"{verb} {resource}{'.' + group if group else ''} in {namespace}"
        for group, resource, verb in asked
        if not _may(cluster, {"namespace": namespace, "group": group, "resource": resource, "verb": verb})
    ]
    if create_namespace and not _may(cluster, {"group": "", "resource": "namespaces", "verb": "create"}):
        found.append("create namespaces")
    return found


def _may(cluster: Cluster, attributes: Mapping[str, str]) -> bool:
    resource, _slash, subresource = attributes["resource"].partition("/")
    spec = {"resourceAttributes": {**attributes, "resource": resource, **({"subresource": subresource} if subresource else {})}}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    answer = cluster.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review) or {}
    return bool((answer.get("status") or {}).get("allowed"))


# --- the release

_NONE: Mapping[str, Any] = {"status": "absent", "revision": 0, "deployed": 0}


def history(cluster: Cluster, release: Release) -> dict[str, Any]:
    """status: of the last revision, as Helm calls it, or absent. deployed: the last revision that was deployed, 0 for none."""
    labels = f"owner=helm,name={release.name}"
    found = [each["metadata"]["labels"] for each in cluster.items(release.core("secrets"), labelSelector=labels)]
    revisions = sorted((int(each["version"]), each["status"]) for each in found)
    if not revisions:
        return dict(_NONE)
    good = [number for number, status in revisions if status in ("deployed", "superseded")]
    return {"status": revisions[-1][1], "revision": revisions[-1][0], "deployed": max(good, default=0)}


PENDING = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
_LOOK_SECONDS = 2.0


def wait_for_helm(cluster: Cluster, release: Release, timeout: float, clock: Clock | None = None) -> None:
    """Returns when no Helm is at work on the release, or after so many seconds: it was killed then."""
    clock = clock or Clock()
    end = clock.now() + timeout
    while clock.now() < end and history(cluster, release)["status"] in PENDING:
        clock.sleep(min(_LOOK_SECONDS, max(0.0, end - clock.now())))


def _secrets(cluster: Cluster, release: Release) -> list[str]:
    """Those that the role has made for the release, the oldest first."""
    labels = f"{MADE_BY}={OURS},app.kubernetes.io/instance={release.name}"
    found = cluster.items(release.core("secrets"), labelSelector=labels)
    found = sorted(found, key=lambda each: (each["metadata"].get("creationTimestamp", ""), each["metadata"]["name"]))
    return [each["metadata"]["name"] for each in found]


def _deployment(deployment: Object | None) -> dict[str, Any]:
    if deployment is None:
        return {}
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {
        "name": deployment["metadata"]["name"],
        "uid": deployment["metadata"]["uid"],
        "generation": deployment["metadata"].get("generation", 0),
        "replicas": int(deployment["spec"].get("replicas", 1)),
        "ready": int((deployment.get("status") or {}).get("readyReplicas", 0)),
        "image": next((each["image"] for each in containers if each["name"] == "triton"), ""),
    }


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


def _services(cluster: Cluster, release: Release) -> list[dict[str, Any]]:
    found = cluster.items(release.core("services"), labelSelector=release.selector)
    return [_service(each) for each in found if each["spec"].get("clusterIP") != "None"]


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
    found = [_addresses(node) for node in _readable(cluster, "/api/v1/nodes") if is_ready(node)]
    return [each[kind] for each in found for kind in ("ExternalIP", "InternalIP") if kind in each]


def _addresses(node: Object) -> dict[str, str]:
    return {each["type"]: each["address"] for each in (node.get("status") or {}).get("addresses") or ()}


def _readable(cluster: Cluster, path: str) -> Iterable[Object]:
    try:
        return cluster.items(path)
    except UnavailableError:
        return []


# --- GPUs


def _spare(cluster: Cluster, release: Release, wanted: Wanted) -> int:
    """GPUs for one more replica when all of the release's have theirs, at most: 0, or as many as a replica has.

    The release's own pods are left out and its replicas counted instead, so that the answer is the same before and after it is deployed.
    """
    if wanted.gpus is None:
        return 0
    nodes, pods = _readable(cluster, "/api/v1/nodes"), _readable(cluster, "/api/v1/pods")
    others = [pod for pod in pods if not _belongs(pod, release)]
    free = sizing.spare_gpus(nodes, others, wanted.gpus) - wanted.replicas * wanted.gpus.count
    return wanted.gpus.count if free >= wanted.gpus.count else 0


def _belongs(pod: Object, release: Release) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return pod["metadata"].get("namespace") == release.namespace and labels.get("app.kubernetes.io/instance") == release.name
