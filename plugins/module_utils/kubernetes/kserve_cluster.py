# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads an InferenceService and what KServe has made of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import InputError, UnavailableError
from .cluster import Cluster, Object, part
from .inspect import MADE_BY, OURS, Wanted, inspect
from .kserve import CONTAINER, CURRENT, MODE, MODELS, PODS, PORTS, SERVERLESS, mode_of
from .kserve_storage import GROUP
from .rollout import Observed, condition
from .service import Release, observe, replicas

KNATIVE = "serving.knative.dev"
# The way in that is no way to single pods.
URL = "url"
_INSTALL = (
    "Install KServe 0.13 or later first: https://kserve.github.io/website. The mode RawDeployment (Standard) needs cert-manager, "
    "Serverless (Knative) Knative Serving and its ingress as well."
)


def release_of(name: str, namespace: str) -> Release:
    """KServe hands the labels of an InferenceService on to all that it makes."""
    return Release(name, namespace, container=CONTAINER, ports=PORTS)


@dataclass(frozen=True)
class Made:
    """service: the InferenceService, None for none. knative: the Service that KServe made of it. observed: Deployment, sets and pods."""

    service: Object | None = None
    knative: Object | None = None
    observed: Observed = field(default_factory=Observed)
    release: Release = field(default_factory=lambda: Release("", ""))

    @property
    def status(self) -> Object:
        return (self.service or {}).get("status") or {}

    @property
    def component(self) -> Object:
        found: Object = (self.status.get("components") or {}).get("predictor") or {}
        return found

    @property
    def mode(self) -> str:
        """By its older name."""
        annotations = ((self.service or {}).get("metadata") or {}).get("annotations") or {}
        return mode_of(str(self.status.get("deploymentMode") or annotations.get(MODE) or ""))

    @property
    def annotations(self) -> Mapping[str, str]:
        """Those of the pods that KServe wants now."""
        owner = self.knative if self.mode == SERVERLESS else self.observed.deployment
        template = ((owner or {}).get("spec") or {}).get("template") or {}
        found: Mapping[str, str] = (template.get("metadata") or {}).get("annotations") or {}
        return found


def path_of(name: str, namespace: str) -> str:
    return f"/apis/{GROUP}/v1beta1/namespaces/{part(namespace)}/inferenceservices/{part(name)}"


def look(cluster: Cluster, name: str, namespace: str) -> Made:
    release = release_of(name, namespace)
    found = Made(cluster.get(path_of(name, namespace)), release=release)
    if found.service is None:
        return found
    if found.mode != SERVERLESS:
        return replace(found, observed=observe(cluster, release))
    knative = cluster.get(f"/apis/{KNATIVE}/v1/namespaces/{part(namespace)}/services/{part(name + '-predictor')}")
    revision = ((knative or {}).get("status") or {}).get("latestCreatedRevisionName") or ""
    release = replace(release, label=f"{KNATIVE}/revision", value=revision)
    return replace(found, knative=knative, release=release, observed=observe(cluster, release) if revision else Observed())


# --- what the cluster knows


def installation(cluster: Cluster) -> dict[str, Any]:
    """version: of KServe, empty where its controller may not be read. names: of the modes that it knows. knative: whether there is Knative.

    Raises InputError without KServe.
    """
    kinds = _kinds(cluster, f"{GROUP}/v1beta1") | _kinds(cluster, f"{GROUP}/v1alpha1")
    lacking = sorted({"InferenceService", "ServingRuntime"} - kinds)
    if lacking:
        raise InputError(f"the cluster knows no {' and no '.join(lacking)} of {GROUP}", where=cluster.url, remedy=_INSTALL)
    version = _version(cluster)
    knative = "Service" in _kinds(cluster, f"{KNATIVE}/v1")
    return {"version": version, "names": _names(cluster, version), "knative": knative}


def _kinds(cluster: Cluster, group: str) -> set[str]:
    return {each["kind"] for each in (cluster.get(f"/apis/{group}") or {}).get("resources") or ()}


def _version(cluster: Cluster) -> str:
    try:
        found = cluster.items("/apis/apps/v1/deployments", labelSelector="control-plane=kserve-controller-manager")
    except UnavailableError:
        return ""
    images = [each["image"] for one in found for each in one["spec"]["template"]["spec"]["containers"] if each["name"] == "manager"]
    tag = images[0].rsplit(":", 1)[-1] if images and ":" in images[0].rsplit("/", 1)[-1] else ""
    return tag.removeprefix("v") if tag[:1] == "v" else ""


def _names(cluster: Cluster, version: str) -> str:
    """From 0.16 on a service's status tells its mode, by the new names."""
    numbers = version.split(".")
    if len(numbers) > 1 and all(each.isdigit() for each in numbers[:2]):
        return "current" if (int(numbers[0]), int(numbers[1])) >= (0, 16) else "legacy"
    try:
        definition = cluster.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.{GROUP}") or {}
    except UnavailableError:
        return ""
    schemas = [
        each["schema"]["openAPIV3Schema"] for each in (definition.get("spec") or {}).get("versions") or () if each["name"] == "v1beta1"
    ]
    known = [((each.get("properties") or {}).get("status") or {}).get("properties") or {} for each in schemas]
    # A definition without fields, as KServe's minimal ones are, tells nothing.
    return "" if not any(known) else "current" if any("deploymentMode" in each for each in known) else "legacy"


@dataclass(frozen=True)
class Question:
    """way: one of access.WAYS, or URL; empty for no endpoint. ingress: see `endpoint`. runtime: one that is to be there already."""

    way: str = ""
    ingress: str = ""
    runtime: str = ""


def read(cluster: Cluster, name: str, namespace: str, wanted: Wanted, asked: Question) -> dict[str, Any]:
    """What module server_kserve_info tells."""
    installed = installation(cluster)
    made = look(cluster, name, namespace)
    serverless = made.mode == SERVERLESS
    through = asked.way == URL or bool(asked.way and serverless)
    found = inspect(cluster, release_of(name, namespace), replace(wanted, kserve=True, access="" if through else asked.way))
    found.pop("release")
    if serverless:
        # Of several revisions, each of which has a Deployment.
        found["replicas"] = replicas(made.observed.pods, made.release)
        found["rollout"] = f"{sum(each['ready'] for each in found['replicas'])} pods of the newest revision are ready"
    labels = f"{MADE_BY}={OURS},app.kubernetes.io/instance={name}"
    runtimes = cluster.items(f"/apis/{GROUP}/v1alpha1/namespaces/{part(namespace)}/servingruntimes", labelSelector=labels)
    account = cluster.get(f"/api/v1/namespaces/{part(namespace)}/serviceaccounts/{part(name)}")
    known = {
        **found,
        "kserve": installed,
        "service": _service(made),
        "runtimes": sorted(each["metadata"]["name"] for each in runtimes),
        "account": _account(account),
        "current": [each for value in (made.service, account, *runtimes) for each in held(value)],
        "served": _served(cluster, name, namespace),
        "runtime": _runtime(cluster, namespace, asked.runtime) if asked.runtime else {},
    }
    if through:
        known.update(access=URL, endpoint=endpoint(made, asked.ingress), pem={})
    return known


def _runtime(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """What a runtime serves; empty where there is none. One of the namespace comes before one of the cluster."""
    places = (f"namespaces/{part(namespace)}/servingruntimes", "clusterservingruntimes")
    found = next(filter(None, (cluster.get(f"/apis/{GROUP}/v1alpha1/{each}/{part(name)}") for each in places)), None)
    if found is None:
        return {}
    spec = found["spec"]
    return {
        "disabled": bool(spec.get("disabled")),
        "formats": sorted({each["name"] for each in spec.get("supportedModelFormats") or ()}),
        # One that says nothing takes any.
        "protocols": list(spec.get("protocolVersions") or ()),
    }


_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def held(value: Object | None) -> list[Any]:
    """The definition that was applied last, where the object still is as it says: nothing would come of applying that again."""
    try:
        definition = json.loads(((value or {}).get("metadata") or {}).get("annotations", {})[_APPLIED])
    except (KeyError, TypeError, ValueError):
        return []
    return [definition] if _holds(definition, value) else []


def _holds(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(key in there and _holds(each, there[key]) for key, each in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(wanted) == len(there) and all(map(_holds, wanted, there))
    return bool(wanted == there)


def _service(made: Made) -> dict[str, Any]:
    if made.service is None:
        return {}
    metadata, spec = made.service["metadata"], made.service["spec"]["predictor"]
    ready = condition(made.service, "Ready")
    annotations = spec.get("annotations") or {}
    return {
        "name": metadata["name"],
        "ours": (metadata.get("labels") or {}).get(MADE_BY) == OURS,
        "mode": made.mode,
        "mode_name": _mode_name(made),
        "ready": ready.get("status") == "True",
        "message": ready.get("message") or ready.get("reason") or "",
        "url": made.status.get("url") or "",
        "pods": annotations.get(PODS, ""),
        "models": annotations.get(MODELS, ""),
        "min_replicas": int(spec.get("minReplicas", 1)),
        "canary": spec.get("canaryTrafficPercent"),
        "runtime": (spec.get("model") or {}).get("runtime", ""),
        "traffic": [
            {name: each.get(name) for name in ("revisionName", "percent", "latestRevision")} for each in made.component.get("traffic") or ()
        ],
    }


def _mode_name(made: Made) -> str:
    """What the mode of a service that is there has to be called."""
    told = str(made.status.get("deploymentMode") or "")
    return "current" if told in CURRENT.values() else "legacy" if told in CURRENT else ""


def _account(found: Object | None) -> dict[str, Any]:
    if not found:
        return {}
    ours = (found["metadata"].get("labels") or {}).get(MADE_BY) == OURS
    return {"ours": ours, "secrets": [each["name"] for each in found.get("secrets") or ()]}


def _served(cluster: Cluster, name: str, namespace: str) -> dict[str, Any]:
    """The definitions that served last, as the role keeps them."""
    found = cluster.get(f"/api/v1/namespaces/{part(namespace)}/configmaps/{part(name + '-served')}") or {}
    try:
        value = json.loads((found.get("data") or {}).get("definitions", "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# --- the way in by the service's own address


def endpoint(made: Made, ingress: str) -> dict[str, Any]:
    """`triton_endpoint` by the URL that KServe tells; empty without one. ingress: URL of the gateway, where the host's name leads nowhere.

    Raises InputError where neither leads there.
    """
    url = str(made.status.get("url") or "")
    if not url:
        return {}
    protocol = str(((made.service or {})["spec"]["predictor"].get("model") or {}).get("protocolVersion", "v2"))
    host = urlsplit(url).netloc
    if protocol == "grpc-v2":
        return {"grpc": _grpc(ingress or url)} if not ingress else _no_authority(host)
    if ingress:
        return {"http": ingress.rstrip("/"), "headers": {"Host": host}}
    if not _known(urlsplit(url).hostname or ""):
        raise InputError(f"the name {host} leads nowhere from here", where="server_kserve_ingress", remedy=_GATEWAY)
    return {"http": url.rstrip("/")}


_GATEWAY = "Give the URL of the gateway, for example that of Service istio-ingressgateway in istio-system, or have the name in the DNS."


def _grpc(url: str) -> str:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return f"{'grpcs' if secure else 'grpc'}://{parts.hostname}:{parts.port or (443 if secure else 80)}"


def _no_authority(host: str) -> dict[str, Any]:
    raise InputError(
        "gRPC has no header for the host's name", where="server_kserve_ingress", remedy=f"Have {host} in the DNS, and leave this out."
    )


def _known(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


# --- what KServe says of it


def complaints(made: Made, events: Sequence[Object]) -> list[str]:
    """Conditions that are not true, why a model was not loaded, and the last warnings about the service itself."""
    if made.service is None:
        return []
    found: list[str] = []
    for each in made.status.get("conditions") or ():
        if each.get("status") == "False" and each.get("type") not in ("Stopped",):
            told = ": ".join(filter(None, (each.get("reason"), each.get("message"))))
            found.append(f"condition {each['type']} is False" + (f" ({told})" if told else ""))
    failure = (made.status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure and (made.status.get("modelStatus") or {}).get("transitionStatus") in ("InvalidSpec", "BlockedByFailedLoad"):
        found.append(f"KServe says {failure.get('reason', '')}: {str(failure.get('message') or '').strip()}")
    uid = made.service["metadata"]["uid"]
    mine = [each for each in events if each.get("type") == "Warning" and (each.get("involvedObject") or {}).get("uid") == uid]
    unique = list(dict.fromkeys(f"event {each.get('reason', '')}: {each.get('message', '')}" for each in mine))
    return found + unique[-3:]
