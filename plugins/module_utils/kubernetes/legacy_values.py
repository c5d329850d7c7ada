# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values files of the charts that people come from, as values of our chart. Pure. docs/chart.md has the same as tables.

aws: deploy/aws of Triton's repository, and gcp, oci of the same shape. fil: RAPIDS' Forest Inference Library on EKS. instill: Instill AI's
triton-backend. fleetcommand, k8s-onprem, gke-marketplace: those of Triton's repository.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import InputError
from . import legacy_parts as parts
from .translation import Translation

AUTO = "auto"


def translate(values: Mapping[str, Any], chart: str = AUTO) -> tuple[dict[str, Any], list[str]]:
    """Our values, and sentences that say what became what and what has no meaning here. Raises InputError for a chart that is not known."""
    if not isinstance(values, Mapping):
        raise InputError("must be a mapping, as a values file is", where="values", remedy="Read the file with from_yaml.")
    name = detect(values) if chart == AUTO else chart
    if name not in CHARTS:
        near = difflib.get_close_matches(name, CHARTS, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(CHARTS)}."
        raise InputError(f"{name!r} is no chart that can be translated", where="chart", remedy=remedy)
    translation = Translation(values)
    CHARTS[name](translation)
    translation.rest()
    return translation.new, translation.notes


def detect(values: Mapping[str, Any]) -> str:
    """Which chart a values file is of, by the names that only this one has."""
    image: Mapping[str, Any] = values["image"] if isinstance(values.get("image"), Mapping) else {}
    marks = {
        "instill": "tritonEnv" in values or "mode" in values or "condaPackPath" in image,
        "gke-marketplace": bool({"tritonProtocol", "publishedVersion", "gcpMarketplace"} & values.keys()),
        "fil": bool({"initReplicaCount", "DCGMExporterService", "HPATargetAverageValue"} & values.keys()),
        "k8s-onprem": bool({"tags", "serverArgs", "prometheus-adapter"} & values.keys()) or "modelRepositoryServer" in image,
        "fleetcommand": bool({"serverArgs", "serverCommand"} & image.keys()),
        "aws": "imageName" in image or "modelRepositoryPath" in image,
    }
    found = next((name for name, marked in marks.items() if marked), "")
    if not found:
        remedy = f"Say which chart it is of: {', '.join(CHARTS)}. Values of this collection's own chart need no translation."
        raise InputError("it does not look like the values of any chart that can be translated", where="values", remedy=remedy)
    return found


def _aws(t: Translation) -> None:
    t.move("replicaCount", "replicaCount")
    parts.image_name(t)
    parts.repository(t, "image.modelRepositoryPath")
    parts.gpus(t)
    parts.service(t, "LoadBalancer")
    parts.credentials(t, "session_token")


def _fil(t: Translation) -> None:
    t.move("initReplicaCount", "replicaCount", remark="the autoscaler owns the number, so it counts with autoscaling.type none alone")
    parts.image_name(t)
    parts.image_parts(t)
    parts.repository(t, "image.modelRepositoryPath")
    parts.gpus(t)
    parts.server_flags(t)
    parts.replicas(t, 2, 6)
    t.fill("HPATargetAverageValue", "autoscaling.gpuUtilization", 80)
    t.fill("DCGMExporterService", "autoscaling.gpuService", "dcgm-exporter")
    parts.service(t, "NodePort")
    parts.credentials(t, "session_token")
    parts.probes(t)
    parts.istio(t)


def _gke(t: Translation) -> None:
    t.move("initReplicaCount", "replicaCount", remark="the autoscaler owns the number, so it counts with autoscaling.type none alone")
    parts.image_parts(t)
    parts.repository(t, "modelRepositoryPath")
    parts.gpus(t)
    parts.server_flags(t)
    t.move("image.strictModelConfig", "server.options.disable-auto-complete-config", bool, "the newer name of the same")
    library = t.get("image.ldPreloadPath")
    if library:
        t.put("extraEnv", [{"name": "LD_PRELOAD", "value": str(library)}])
        t.say("image.ldPreloadPath became an extraEnv, LD_PRELOAD.")
    parts.replicas(t, 1, 3)
    target = {"type": "AverageValue", "averageValue": str(t.get("HPATargetAverageValue", 85))}
    external = {"metric": {"name": "kubernetes.io|container|accelerator|duty_cycle"}, "target": target}
    t.put("autoscaling.metrics", [{"type": "External", "external": external}])
    t.say("HPATargetAverageValue became the external metric duty_cycle in autoscaling.metrics, for Google's metrics adapter.")
    parts.service(t, "NodePort")
    parts.probes(t)
    parts.istio(t)
    t.drop("tritonProtocol", "HTTP and gRPC are both served, on ports 80 and 31400 of Istio's gateway")
    t.drop("publishedVersion", "image.tag says which version runs")
    t.drop("gcpMarketplace", "this chart is not sold there")


def _instill(t: Translation) -> None:
    for same in ("nameOverride", "fullnameOverride", "replicaCount", "nodeSelector", "tolerations", "affinity", "podAnnotations"):
        if t.get(same) not in (None, {}, [], ""):
            t.move(same, same)
    parts.pull_secrets(t)
    arm = str(t.get("arch", "amd")).startswith("arm")
    cpu = bool(t.get("mode.useCpu", True))
    t.put("arch", "arm64" if arm else "amd64")
    t.say(f"arch became {'arm64' if arm else 'amd64'}, Kubernetes' own name.")
    parts.image_parts(t, lambda tag: f"{tag}-py3-cpu-arm64" if arm else f"{tag}-py3", "as that chart completed it")
    parts.repository(t, "image.modelRepositoryPath", same_path=True)
    parts.conda_pack(t, "m1" if arm else "cpu" if cpu else "gpu")
    if cpu:
        t.put("gpu.count", 0)
        t.say("mode.useCpu became gpu.count 0.")
        t.drop("image.numGpus", "mode.useCpu says that there are none")
    else:
        parts.gpus(t)
        t.say("mode.useCpu is off, so image.numGpus counts.")
    parts.service(t, "NodePort")
    parts.node_ports(t, {"http": "nodePortHttp", "grpc": "nodePortGrpc", "metrics": "nodePortMetrics"}, 31000)
    for port in ("http", "grpc", "metrics"):
        t.move(f"service.port{port.title()}", f"service.ports.{port}")
    parts.disruption_budget(t)
    t.put("server.options.load-model", [])
    t.say("That chart's server loads nothing by itself, so server.options.load-model is empty. Leave it out to load all at the start.")
    t.put("sharedMemory.size", "1Gi")
    t.say("sharedMemory.size is the 1Gi of that chart.")


def _fleetcommand(t: Translation) -> None:
    t.move("replicaCount", "replicaCount")
    parts.image_name(t)
    t.move("image.serverCommand", "server.binary")
    parts.server_args(t, "image.serverArgs")
    parts.gpus(t)
    parts.service(t, "NodePort")
    parts.node_ports(t, {"http": "httpNodePort", "grpc": "grpcNodePort", "metrics": "metricsNodePort"}, 30343)
    parts.credentials(t, "token")
    t.move("serviceMonitor.enabled", "monitoring.serviceMonitor.enabled")


def _onprem(t: Translation) -> None:
    parts.image_name(t)
    parts.nfs(t)
    parts.server_args(t, "serverArgs")
    parts.gpus(t)
    for old, new in (("volumes", "extraVolumes"), ("volumeMounts", "extraVolumeMounts"), ("envFrom", "extraEnvFrom")):
        t.move(old, new)
    parts.resources(t)
    if t.get("tags.autoscaling", True):
        t.put("autoscaling.type", "hpa")
        t.say("tags.autoscaling became autoscaling.type hpa.")
        t.fill("autoscaling.minReplicas", "autoscaling.minReplicas", 1)
        t.fill("autoscaling.maxReplicas", "autoscaling.maxReplicas", 3)
        t.fill("autoscaling.metrics", "autoscaling.metrics", parts.QUEUE_METRICS)
    else:
        t.say("tags.autoscaling is off, and so is autoscaling.type.")
        t.move("autoscaling.minReplicas", "replicaCount")
        t.drop("autoscaling", "tags.autoscaling is off")
    if t.get("tags.loadBalancing", True):
        t.put("traefik.enabled", True)
        t.put("traefik.httpEntryPoints", ["triton-http"])
        t.put("traefik.grpcEntryPoints", ["triton-grpc"])
        t.say("tags.loadBalancing became traefik.enabled, with that chart's entry points.")
    else:
        t.say("tags.loadBalancing is off, and so is traefik.enabled.")
    if t.get("tags.openshift"):
        t.put("openshift", True)
        t.say("tags.openshift became openshift.")
    for part in ("traefik", "prometheus-adapter", "kube-prometheus-stack"):
        t.drop(part, "this chart brings no others along; the role serving.triton.cluster_addons installs them")


CHARTS: Mapping[str, Callable[[Translation], None]] = {
    "aws": _aws,
    "fil": _fil,
    "instill": _instill,
    "fleetcommand": _fleetcommand,
    "k8s-onprem": _onprem,
    "gke-marketplace": _gke,
}
