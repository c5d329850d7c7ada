# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which addons a cluster has, whose they are, and what others keep in their kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import UnavailableError
from .cluster import Cluster, Object, part
from .helm_release import record_name
from .inspect import MADE_BY, OURS
from .permissions import Permission, denied

# What all of these addons create.
_NEEDED = tuple(
    Permission(group, resource, "create")
    for group, resource in (
        ("", "namespaces"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
    )
)


@dataclass(frozen=True)
class Addon:
    """releases: Helm releases in the order in which they are made. services: APIs that it serves. images: what its controllers run, the
    last part of the name. names: of these Deployments, where an image says nothing. groups: of its custom resources."""

    releases: tuple[str, ...]
    services: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


ADDONS: Mapping[str, Addon] = {
    "metrics-server": Addon(("metrics-server",), services=("v1beta1.metrics.k8s.io",)),
    "kube-prometheus-stack": Addon(
        ("kube-prometheus-stack",), images=("prometheus-operator",), names=("prometheus-operator",), groups=("monitoring.coreos.com",)
    ),
    "prometheus-adapter": Addon(
        ("prometheus-adapter",), services=("v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io")
    ),
    "keda": Addon(("keda",), images=("keda",), names=("keda-operator",), groups=("keda.sh", "eventing.keda.sh")),
    "istio": Addon(
        ("istio-base", "istiod", "istio-ingressgateway"), images=("pilot",), names=("istiod",),
        groups=("networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What tells of addons. records: our releases → namespace."""

    services: Sequence[Object] = ()
    deployments: Sequence[Object] = ()
    records: Mapping[str, str] = field(default_factory=dict)


def survey(cluster: Cluster, *, objects: bool = False) -> dict[str, Any]:
    """
    Which addons there are. objects: whether to read what lies in the addons' kinds.

    Who may not install addons may not read all of it either: what is lacking is told then. Else raises UnavailableError for what may not
    be read.
    """
    lacking = denied(cluster, _NEEDED)
    try:
        found = _survey(cluster, objects=objects)
    except UnavailableError:
        if not lacking:
            raise
        nobodys = {name: {"ours": {}, "others": "", **_NOTHING} for name in ADDONS}
        found = {"addons": nobodys, "prometheus": [], "namespaces": []}
    return {"server": cluster.url, "denied": lacking, **found}


def _survey(cluster: Cluster, *, objects: bool) -> dict[str, Any]:
    seen = Seen(cluster.items("/apis/apiregistration.k8s.io/v1/apiservices"), cluster.items("/apis/apps/v1/deployments"), _records(cluster))
    found: dict[str, dict[str, Any]] = {name: {**whose(addon, seen), **_NOTHING} for name, addon in ADDONS.items()}
    if objects:
        for name, addon in ADDONS.items():
            found[name] |= _contents(cluster, addon, seen.records)
    return {
        "addons": found,
        "prometheus": sorted({each["metadata"]["namespace"] for each in _prometheuses(cluster)}),
        "namespaces": [each["metadata"]["name"] for each in cluster.items("/api/v1/namespaces")],
    }


_NOTHING: Mapping[str, Any] = {"objects": [], "definitions": []}


def _records(cluster: Cluster) -> dict[str, str]:
    """Releases that are ours, by the ConfigMaps that say so."""
    labels = f"{MADE_BY}={OURS}"
    found = cluster.items("/api/v1/configmaps", labelSelector=labels)
    names = {record_name(release): release for addon in ADDONS.values() for release in addon.releases}
    return {names[each["metadata"]["name"]]: each["metadata"]["namespace"] for each in found if each["metadata"]["name"] in names}


def whose(addon: Addon, seen: Seen) -> dict[str, Any]:
    """ours: our releases of it → namespace. others: where somebody else runs it, in words; empty where nobody does. Pure."""
    return {
        "ours": {name: seen.records[name] for name in addon.releases if name in seen.records},
        "others": next((text for each, text in _signs(addon, seen) if not _is_ours(each, seen.records)), ""),
    }


def _signs(addon: Addon, seen: Seen) -> Iterator[tuple[Object, str]]:
    for service in seen.services:
        name, served_by = service["metadata"]["name"], (service.get("spec") or {}).get("service")
        if name in addon.services and served_by:
            yield service, f"APIService {name}, served by {served_by['namespace']}/{served_by['name']}{_release(service)}"
    for each in seen.deployments:
        metadata = each["metadata"]
        if metadata["name"] in addon.names or any(_basename(image) in addon.images for image in _images(each)):
            yield each, f"Deployment {metadata['namespace']}/{metadata['name']}{_release(each)}"


def _images(deployment: Object) -> list[str]:
    return [str(each.get("image", "")) for each in deployment["spec"]["template"]["spec"]["containers"]]


def _basename(image: str) -> str:
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0]


def _annotations(value: Object) -> Mapping[str, str]:
    return value["metadata"].get("annotations") or {}


def _release(value: Object) -> str:
    name = _annotations(value).get("meta.helm.sh/release-name")
    return f" of Helm release {name}" if name else ""


def _is_ours(value: Object, records: Mapping[str, str]) -> bool:
    annotations = _annotations(value)
    name = annotations.get("meta.helm.sh/release-name", "")
    return name in records and annotations.get("meta.helm.sh/release-namespace") == records[name]


# --- what lies in an addon's kinds


def _contents(cluster: Cluster, addon: Addon, records: Mapping[str, str]) -> dict[str, Any]:
    """definitions: names of its custom resource definitions. objects: of these kinds, without those of our own releases of addons."""
    definitions: list[str] = []
    objects: list[dict[str, str]] = []
    for group in addon.groups:
        version = str(((cluster.get(f"/apis/{group}") or {}).get("preferredVersion") or {}).get("groupVersion") or "")
        for resource in _resources(cluster, version):
            definitions.append(f"{resource['name']}.{group}")
            for each in cluster.items(f"/apis/{version}/{part(resource['name'])}"):
                if not _is_ours(each, records) and not each["metadata"].get("ownerReferences"):
                    objects.append(_told(version, resource["kind"], each))
    return {"definitions": sorted(definitions), "objects": objects}


def _resources(cluster: Cluster, version: str) -> list[Object]:
    found = (cluster.get(f"/apis/{version}") or {}).get("resources") or [] if version else []
    return [each for each in found if "/" not in each["name"]]


def _told(version: str, kind: str, value: Object) -> dict[str, str]:
    metadata = value["metadata"]
    return {"api_version": version, "kind": kind, "namespace": metadata.get("namespace", ""), "name": metadata["name"]}


def _prometheuses(cluster: Cluster) -> list[Object]:
    return cluster.items("/apis/monitoring.coreos.com/v1/prometheuses")
