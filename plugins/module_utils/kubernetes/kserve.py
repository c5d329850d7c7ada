# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The InferenceService of KServe that a service asks for, and what belongs to it. Pure.

The runtime and the Secret are named by what they hold, so a rollout that fails finds the former ones. The annotation `PODS` tells which
pods are wanted: KServe hands it on to them, whatever its version says of observed generations. What only scales is no part of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..core.errors import InputError
from ..server.options import triton_args
from .kserve_storage import GROUP, Credentials, Place, credentials, place

HTTP, GRPC = "http", "grpc"
PORTS: Mapping[str, int] = {HTTP: 8080, GRPC: 9000, "metrics": 8002}
CONTAINER = "kserve-container"
PODS, MODELS = "serving.triton/pods", "serving.triton/models"
MODE = f"{GROUP}/deploymentMode"
# KServe 0.16 renamed the modes, and refuses to change a service's from one name to the other. Ours are those that everybody knows.
RAW, SERVERLESS = "RawDeployment", "Serverless"
CURRENT: Mapping[str, str] = {RAW: "Standard", SERVERLESS: "Knative"}
MODES = (RAW, SERVERLESS, *CURRENT.values())
_METRICS = {RAW: ("cpu", "memory"), SERVERLESS: ("concurrency", "rps")}
_SCALES = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
_OURS = {"app.kubernetes.io/managed-by": "serving.triton"}
# What this collection or KServe decides.
_DECIDED = (
    "model-repository", "model-store", "backend-directory", "cache-directory", "http-restricted-api", "grpc-restricted-protocol",
    "grpc-use-ssl", "grpc-use-ssl-mutual", "grpc-server-cert", "grpc-server-key", "grpc-root-cert", "http-port", "grpc-port",
    "metrics-port", "http-address", "grpc-address", "metrics-address", "allow-http", "allow-grpc", "load-model", "help",
)  # fmt: skip
_ROLES = ("eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id")


def mode_of(name: str) -> str:
    """The mode by its older name."""
    return next((ours for ours, theirs in CURRENT.items() if name == theirs), name)


@dataclass(frozen=True)
class Wanted:
    """What is asked for, by the names of the role's variables. names: which names of the modes KServe knows: current, legacy, or empty."""

    name: str
    namespace: str
    mode: str = RAW
    names: str = ""
    protocols: Sequence[str] = ()
    repository: str = ""
    storage_uri: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    s3: Mapping[str, Any] = field(default_factory=dict)
    google_credentials: str = ""
    image: str = ""
    image_pull_secrets: Sequence[str] = ()
    runtime: str = ""
    service_account: str = ""
    service_account_annotations: Mapping[str, str] = field(default_factory=dict)
    min_replicas: int = 1
    max_replicas: int = 0
    scale_metric: str = ""
    scale_target: int = 0
    canary_percent: Any = ""
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    resources: Mapping[str, Any] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    predictor: Mapping[str, Any] = field(default_factory=dict)
    models: str = ""
    shm_mebibytes: int = 0
    startup_seconds: int = 120

    @property
    def raw(self) -> bool:
        return mode_of(self.mode) == RAW

    @property
    def exposed(self) -> Sequence[str]:
        return self.protocols or ((HTTP, GRPC) if self.raw else (HTTP,))

    @property
    def canary(self) -> int | None:
        """The share of requests that a new revision gets; None for all."""
        return None if self.canary_percent in ("", None) else int(self.canary_percent)


def wanted(given: Mapping[str, Any]) -> Wanted:
    """Raises InputError for what cannot work, whatever the cluster."""
    known = {each.name for each in fields(Wanted)}
    found = Wanted(**{key: value for key, value in given.items() if key in known and value is not None})
    for check in (_check_names, _check_mode, _check_scale, _check_canary, _check_options):
        check(found)
    return found


@dataclass(frozen=True)
class Planned:
    """Definitions; empty for those that are not wanted. reads: how its server takes models in, none or poll."""

    service: Mapping[str, Any]
    runtime: Mapping[str, Any]
    account: Mapping[str, Any]
    secret: Mapping[str, Any]
    reads: str

    @property
    def pods(self) -> str:
        return str(self.service["spec"]["predictor"]["annotations"][PODS])


def plan(asked: Wanted) -> Planned:
    """Raises InputError for a repository or credentials that KServe cannot use."""
    there = place(asked.repository, asked.storage_uri)
    reads = str(asked.options.get("model-control-mode", "none"))
    if reads == "poll" and not there.mounted:
        raise InputError(
            f"nothing new appears in the copy that KServe makes of {there.uri}", where="triton_options.model-control-mode", remedy=_NO_LOADS
        )
    cloud_role = any(name in asked.service_account_annotations for name in _ROLES)
    keys = credentials(there, asked.environment, asked.s3, asked.google_credentials, cloud_role)
    secret = _secret(asked, keys)
    account = _account(asked, keys, secret)
    runtime = {} if asked.runtime else _runtime(asked, sorted(keys.rest), secret)
    return Planned(_service(asked, there, runtime, secret), runtime, account, secret, reads)


_NO_LOADS = "Remove it: a release replaces the pods, which read the models when they start. (A volume, pvc://, may be polled.)"


# --- checks


def _refuse(what: str, where: str, remedy: str) -> None:
    raise InputError(what, where=f"server_kserve_{where}", remedy=remedy)


def _check_names(asked: Wanted) -> None:
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", asked.name):
        _refuse(f"'{asked.name}' is no name of an InferenceService", "name", "Use lower case letters, digits and -, a letter first.")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", asked.namespace):
        _refuse(f"'{asked.namespace}' is no name of a namespace", "namespace", "Use up to 63 lower case letters, digits and -.")
    host = f"{asked.name}-predictor-{asked.namespace}"
    if len(host) > 63:
        _refuse(
            f"the host name {host}, which KServe makes of it, has {len(host)} letters",
            "name",
            "Shorten name or namespace: 63 are the most.",
        )


def _check_mode(asked: Wanted) -> None:
    if asked.mode not in MODES:
        _refuse(f"'{asked.mode}' is no deployment mode", "mode", f"Use one of {', '.join(MODES)}.")
    unknown = [each for each in asked.protocols if each not in (HTTP, GRPC)]
    if unknown or len(set(asked.protocols)) < len(asked.protocols):
        _refuse(f"{', '.join(asked.protocols)} are no protocols", "protocols", "Use http, grpc or both.")
    if not asked.raw and len(asked.exposed) > 1:
        _refuse("Knative lets one port out of a pod", "protocols", f"Choose [http] or [grpc], or the mode {RAW}, which lets both out.")


def _check_scale(asked: Wanted) -> None:
    if asked.raw and asked.min_replicas < 1:
        _refuse(f"{RAW} cannot scale to zero", "min_replicas", f"Use 1 or more, or the mode {SERVERLESS}.")
    if asked.min_replicas < 0 or (asked.max_replicas and asked.max_replicas < asked.min_replicas):
        _refuse(
            f"there are no {asked.min_replicas} to {asked.max_replicas} replicas",
            "max_replicas",
            "Use 0 for the same as the least, or more than that.",
        )
    metrics = _METRICS[mode_of(asked.mode)]
    if asked.scale_metric and asked.scale_metric not in metrics:
        _refuse(f"'{asked.scale_metric}' does not scale {asked.mode}", "scale_metric", f"Use {' or '.join(metrics)}.")
    measured = asked.scale_metric or "cpu"
    if asked.raw and asked.max_replicas > asked.min_replicas and not any(measured in (each or {}) for each in asked.resources.values()):
        told = f"the autoscaler measures {measured} against what a replica requests, which is nothing"
        _refuse(told, "resources", f"Set server_kserve_resources.requests.{measured}.")
    percent = asked.raw and asked.scale_metric != "memory"
    if asked.scale_target < 0 or (percent and asked.scale_target > 100):
        _refuse(f"{asked.scale_target} is no target", "scale_target", "Use 1 to 100 percent of cpu, or more than 0 of another metric.")


def _check_canary(asked: Wanted) -> None:
    given = str("" if asked.canary_percent is None else asked.canary_percent)
    if given and (not given.isdigit() or int(given) > 100):
        _refuse(f"'{given}' is no share", "canary_percent", "Use 0 to 100, or leave it out for all.")
    if given and asked.raw:
        told = f"KServe splits requests in the mode {SERVERLESS} alone, and would ignore it here"
        _refuse(told, "canary_percent", "Remove it, or change the mode.")


def _check_options(asked: Wanted) -> None:
    decided = sorted(set(asked.options) & set(_DECIDED))
    if decided:
        raise InputError(f"KServe decides {', '.join(decided)}", where="triton_options", remedy="Remove them.")
    if asked.options.get("model-control-mode") == "explicit":
        raise InputError("a model that is loaded by hand is lost with its pod", where="triton_options.model-control-mode", remedy=_NO_LOADS)
    triton_args(asked.options)


# --- objects


def _metadata(asked: Wanted, name: str, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    labels = {**_OURS, "app.kubernetes.io/instance": asked.name}
    return {"name": name, "namespace": asked.namespace, "labels": labels, **({"annotations": dict(annotations)} if annotations else {})}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def _secret(asked: Wanted, keys: Credentials) -> dict[str, Any]:
    told = {**keys.data, **keys.rest}
    if not told:
        return {}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in told.items()}
    name = f"{asked.name}-secrets-{_digest([data, dict(keys.annotations)])}"
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(asked, name, keys.annotations),
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }


def _account(asked: Wanted, keys: Credentials, secret: Mapping[str, Any]) -> dict[str, Any]:
    """Its name stays, since roles of clouds are bound to it."""
    if asked.service_account:
        if keys.data:
            _refuse("credentials cannot be given to an account that is there already", "service_account", "Leave one of them out.")
        return {}
    annotations = {**asked.service_account_annotations, **keys.account}
    listed = {"secrets": [{"name": secret["metadata"]["name"]}]} if keys.data else {}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(asked, asked.name, annotations), **listed}


def _runtime(asked: Wanted, variables: Sequence[str], secret: Mapping[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER, "image": asked.image, "args": _arguments(asked), "ports": _ports(asked), **_probes(asked),
        "securityContext": {
            "runAsUser": 1000, "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    if variables:
        container["env"] = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret["metadata"]["name"], "key": name}}} for name in variables
        ]
    spec: dict[str, Any] = {
        "supportedModelFormats": [{"name": "triton", "version": "2"}], "protocolVersions": ["v2", "grpc-v2"], "containers": [container],
        "annotations": {"prometheus.kserve.io/port": str(PORTS["metrics"]), "prometheus.kserve.io/path": "/metrics"},
    }  # fmt: skip
    if asked.shm_mebibytes:
        container["volumeMounts"] = [{"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 - of the container
        spec["volumes"] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{asked.shm_mebibytes}Mi"}}]
    if asked.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in asked.image_pull_secrets]
    metadata = _metadata(asked, f"{asked.name}-{_digest(spec)}")
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ServingRuntime", "metadata": metadata, "spec": spec}


def _arguments(asked: Wanted) -> list[str]:
    fixed = {"model-repository": "/mnt/models", "http-port": PORTS[HTTP], "grpc-port": PORTS[GRPC], "metrics-port": PORTS["metrics"]}
    # A server with a model that failed stays up and says why; its readiness keeps requests away.
    return ["tritonserver", *triton_args({**fixed, "exit-on-error": False, **asked.options})]


def _ports(asked: Wanted) -> list[dict[str, Any]]:
    if asked.raw:
        return [{"name": name, "containerPort": PORTS[name], "protocol": "TCP"} for name in (*asked.exposed, "metrics")]
    # Knative knows the protocol by the port's name.
    names = {HTTP: "http1", GRPC: "h2c"}
    return [{"name": names[name], "containerPort": PORTS[name], "protocol": "TCP"} for name in asked.exposed]


def _probes(asked: Wanted) -> dict[str, Any]:
    """In Knative a probe that names no other port; its default waits until the gRPC port is open, which Triton opens last.

    Triton calls itself not ready while it loads any model, so that where a start has a probe of its own, being ready ends that alone.
    """

    def get(path: str) -> dict[str, Any]:
        return {"httpGet": {"path": f"/v2/health/{path}", "port": PORTS[HTTP], "scheme": "HTTP"}}

    pace = {"periodSeconds": 5, "timeoutSeconds": 2}
    if not asked.raw:
        return {"readinessProbe": {**get("ready"), **pace}} if HTTP in asked.exposed else {}
    patience = {"periodSeconds": 10, "failureThreshold": max(3, -(-asked.startup_seconds // 10)), "timeoutSeconds": 2}
    return {
        "startupProbe": {**get("ready"), **patience},
        "readinessProbe": {**get("live"), **pace},
        "livenessProbe": {**get("live"), "periodSeconds": 10, "timeoutSeconds": 5},
    }


def _service(asked: Wanted, there: Place, runtime: Mapping[str, Any], secret: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(asked.predictor)
    pods = _pods(asked, there, runtime, dict(given.pop("model", {})))
    told: dict[str, Any] = dict(given.pop("annotations", {}))
    if asked.models:
        told[MODELS] = asked.models
    scale = _scale(asked)
    only_scales: dict[str, Any] = {name: given.pop(name) for name in _SCALES if name in given}
    names = [each["metadata"]["name"] for each in (runtime, secret) if each]
    # KServe hands labels and annotations of the service on to the pods.
    told[PODS] = _digest([pods, given, told, names, dict(asked.labels), dict(asked.annotations)])
    predictor: dict[str, Any] = {**pods, **scale, **given, **only_scales, "annotations": told}
    name = mode_of(asked.mode)
    written = CURRENT[name] if asked.names == "current" else name if asked.names == "legacy" else asked.mode
    metadata = _metadata(asked, asked.name, {**asked.annotations, MODE: written})
    metadata["labels"].update(asked.labels)
    return {"apiVersion": f"{GROUP}/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": {"predictor": predictor}}


def _pods(asked: Wanted, there: Place, runtime: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = {
        "modelFormat": {"name": "triton"},
        "runtime": asked.runtime or runtime["metadata"]["name"],
        "protocolVersion": "v2" if HTTP in asked.exposed else "grpc-v2",
        "storageUri": there.uri,
    }
    if asked.runtime and asked.options:
        # KServe adds them to the runtime's.
        model["args"] = triton_args(asked.options)
    resources = {kind: dict(asked.resources.get(kind, {})) for kind in ("requests", "limits")}
    if asked.gpus:
        for each in resources.values():
            each.setdefault(asked.gpu_resource, str(asked.gpus))
    if any(resources.values()):
        model["resources"] = {kind: {name: amount_of(each[name]) for name in each} for kind, each in resources.items() if each}
    pods: dict[str, Any] = {"model": {**model, **more}, "serviceAccountName": asked.service_account or asked.name}
    if asked.node_selector:
        pods["nodeSelector"] = dict(asked.node_selector)
    if asked.tolerations:
        pods["tolerations"] = [dict(each) for each in asked.tolerations]
    return pods


def amount_of(value: Any) -> str:
    """A quantity as KServe's webhook writes it back: another way to write it would look like a change in every run."""
    text = str(value)
    found = re.fullmatch(r"(\d+)(?:\.(\d{1,3}))?(m?)", text)
    if not found or (found[2] and found[3]):
        return text
    thousandths = int(found[1]) if found[3] else int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _scale(asked: Wanted) -> dict[str, Any]:
    scale: dict[str, Any] = {"minReplicas": asked.min_replicas}
    if asked.max_replicas or asked.raw:
        scale["maxReplicas"] = max(asked.max_replicas, asked.min_replicas)
    if asked.scale_metric:
        scale["scaleMetric"] = asked.scale_metric
    if asked.scale_target:
        scale["scaleTarget"] = asked.scale_target
    if asked.canary is not None:
        scale["canaryTrafficPercent"] = asked.canary
    return scale
