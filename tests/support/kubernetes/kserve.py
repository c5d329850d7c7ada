# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""KServe for the stand-in: its kinds, what its webhooks check and fill in, and what its controller makes of an InferenceService.

    kserve = KServe(cluster, stores={"s3://models/production": folder})
    stand_in.behave("tritonserver", triton_pods(stand_in))

In mode Standard it makes a Deployment and a Service; models are copied from `stores` by an init container, as by the storage initializer,
or a claim is mounted. In mode Knative it makes a Knative Service and keeps its revisions, without pods: scaled to zero. After KServe 0.20.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import Cluster
from .containers import Container
from .controllers.kubelet import Behaviour
from .controllers.manager import INTERNAL, Item, Manager, condition, condition_of, is_going, owner_reference
from .controllers.workloads import DEPLOYMENTS
from .errors import ApiError
from .manifests import custom_definition
from .resources import Resource
from .store import Key

Value = dict[str, Any]
GROUP, KNATIVE = "serving.kserve.io", "serving.knative.dev"
SERVICES: Key = (GROUP, "inferenceservices")
RUNTIMES: Key = (GROUP, "servingruntimes")
CLUSTER_RUNTIMES: Key = (GROUP, "clusterservingruntimes")
KNATIVE_SERVICES: Key = (KNATIVE, "services")
MODE, SOURCE = f"{GROUP}/deploymentMode", f"internal.{GROUP}/storage-initializer-sourceuri"
_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}
# Not handed on to pods.
_KEPT = ("kubectl.kubernetes.io/last-applied-configuration", SOURCE)
_STORAGE = re.compile(r"(s3|gs|pvc|hdfs|webhdfs|https?|hf|oci|oci\+native|oci\+fetch)://")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?$")
_METRICS = {"Standard": ("cpu", "memory"), "Knative": ("concurrency", "rps")}


class RefusedError(Exception):
    """The controller cannot go on. reason: of modelStatus, empty where it tells nothing there."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class KServe:
    """stores: storageUri → the folder that it stands for. keys: variables that the copying container must have, None for any.

    failing: names of images whose Knative revisions do not become ready.
    """

    def __init__(
        self, cluster: Cluster, stores: Mapping[str, Path], keys: Mapping[str, str] | None = None, *, knative: bool = False
    ) -> None:
        self.stores, self.keys, self.failing = dict(stores), dict(keys or {}), {"broken"}
        cluster.apply(*_definitions(knative=knative))
        stand_in = cluster.configured
        stand_in.settle()
        self._stand_in = stand_in
        start = Behaviour(start=lambda pod, spec, _address: Copy(Container(stand_in, pod, spec, {}), self), initial=True)
        stand_in.behave("kserve/storage-initializer", start)
        stand_in.install(self._install)

    def _install(self, manager: Manager) -> None:
        self._manager = manager
        manager.api.admission.webhooks += [self._default, _validate, self._inject]
        manager.handle(SERVICES, self.service)

    # --- webhooks

    @staticmethod
    def _default(resource: Resource, value: Value, _old: Mapping[str, Any] | None) -> None:
        if resource.key == SERVICES:
            annotations = value["metadata"].setdefault("annotations", {})
            annotations[MODE] = _MODES.get(annotations.get(MODE, ""), annotations.get(MODE, "Standard"))
            # Its types have no way to leave it out.
            value["spec"]["predictor"]["model"].setdefault("name", "")

    def _inject(self, resource: Resource, value: Value, old: Mapping[str, Any] | None) -> None:
        """What brings the models into a pod."""
        uri = (value["metadata"].get("annotations") or {}).get(SOURCE, "")
        if resource.key != ("", "pods") or old is not None or not uri:
            return
        spec = value["spec"]
        mount = {"name": "kserve-provision-location", "mountPath": "/mnt/models"}
        server = next(each for each in spec["containers"] if each["name"] == "kserve-container")
        volume: Value = {"name": mount["name"], "emptyDir": {}}
        if uri.startswith("pvc://"):
            claim, _slash, path = uri.removeprefix("pvc://").partition("/")
            volume = {"name": mount["name"], "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            mount = {**mount, **({"subPath": path} if path else {})}
        else:
            container = {"name": "storage-initializer", "image": "kserve/storage-initializer:v0.20.0", "args": [uri, "/mnt/models"]}
            environment = self._credentials(value["metadata"]["namespace"], spec.get("serviceAccountName", "default"))
            spec["initContainers"] = [{**container, "env": environment, "volumeMounts": [mount]}]
        spec.setdefault("volumes", []).append(volume)
        server.setdefault("volumeMounts", []).append({**mount, "readOnly": True})

    def _credentials(self, namespace: str, account: str) -> list[Value]:
        """Variables from the Secrets that the service account lists, and from their annotations."""
        found = self._manager.api.find(("", "serviceaccounts"), namespace, account) or {}
        environment: list[Value] = []
        for each in found.get("secrets") or []:
            secret = self._manager.api.find(("", "secrets"), namespace, each["name"])
            if secret and "AWS_SECRET_ACCESS_KEY" in (secret.get("data") or {}):
                names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
                environment += [{"name": name, "valueFrom": {"secretKeyRef": {"name": each["name"], "key": name}}} for name in names]
                told = {"AWS_DEFAULT_REGION": "s3-region", "S3_ENDPOINT": "s3-endpoint", "S3_USE_HTTPS": "s3-usehttps"}
                annotations = secret["metadata"].get("annotations") or {}
                environment += [
                    {"name": name, "value": annotations[f"{GROUP}/{key}"]} for name, key in told.items() if f"{GROUP}/{key}" in annotations
                ]
        return environment

    # --- the controller

    def service(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        try:
            status = self._made(value)
        except RefusedError as error:
            self._manager.event(value, "InternalError", f"fails to reconcile component: {error.message}", kind="Warning")
            failure = {"reason": error.reason, "message": error.message}
            told = {"transitionStatus": "InvalidSpec", "lastFailureInfo": failure} if error.reason else {}
            status = {"conditions": [_unknown("PredictorReady"), _unknown("Ready")], "modelStatus": told, "deploymentMode": _mode(value)}
        self._manager.set_status(SERVICES, value, status)

    def _made(self, value: Value) -> dict[str, Any]:
        spec, metadata = value["spec"]["predictor"], value["metadata"]
        model = spec["model"]
        if not _STORAGE.match(model["storageUri"]):
            raise RefusedError(
                "", f"StorageURI not supported: storageUri, must be one of: [...] or match https://. [{model['storageUri']}] is not."
            )
        runtime = self._runtime(metadata["namespace"], model)
        template = _template(value, runtime)
        return self._revision(value, template) if _mode(value) == "Knative" else self._deployment(value, template)

    def _runtime(self, namespace: str, model: Mapping[str, Any]) -> Value:
        api, name = self._manager.api, model.get("runtime", "")
        found = api.find(RUNTIMES, namespace, name) or api.find(CLUSTER_RUNTIMES, None, name)
        if found is None:
            raise RefusedError("RuntimeNotRecognized", f"No ServingRuntimes or ClusterServingRuntimes with the name: {name}")
        if model.get("protocolVersion", "v1") not in found["spec"].get("protocolVersions", ["v1"]):
            raise RefusedError("NoSupportingRuntime", f"specified runtime {name} does not support specified protocol version")
        if model["modelFormat"]["name"] not in [each["name"] for each in found["spec"]["supportedModelFormats"]]:
            raise RefusedError("NoSupportingRuntime", f"specified runtime {name} does not support specified framework/version")
        return found

    # --- mode Standard

    def _deployment(self, value: Value, template: Value) -> dict[str, Any]:
        name, metadata = f"{value['metadata']['name']}-predictor", value["metadata"]
        labels = {**template["metadata"]["labels"], "app": f"isvc.{name}"}
        template["metadata"]["labels"] = labels
        # Its autoscaler brings a Deployment to the least number at once.
        spec = {
            "replicas": value["spec"]["predictor"].get("minReplicas", 1),
            "selector": {"matchLabels": {"app": labels["app"]}},
            "template": template,
        }
        ports = template["spec"]["containers"][0].get("ports") or [{"name": name, "containerPort": 8080}]
        served = [
            {"name": port["name"], "port": port["containerPort"] if place else 80, "targetPort": port["containerPort"], "protocol": "TCP"}
            for place, port in enumerate(ports)
        ]
        self._keep(("", "services"), value, name, {"spec": {"selector": {"app": labels["app"]}, "ports": served}}, labels)
        made = self._keep(DEPLOYMENTS, value, name, {"spec": spec}, labels)
        ready = _propagated(made)
        host = f"{metadata['name']}-{metadata['namespace']}.example.com"
        told = [ready, condition("IngressReady", True, ""), {**ready, "type": "Ready"}]
        address = f"http://{name}.{metadata['namespace']}.svc.cluster.local"
        return {
            "conditions": told, "deploymentMode": "Standard", "url": f"http://{host}", "address": {"url": address},
            "components": {"predictor": {"url": f"http://{host}"}}, "modelStatus": {"transitionStatus": "UpToDate"},
        }  # fmt: skip

    def _keep(self, key: Key, owner: Value, name: str, wanted: Value, labels: Mapping[str, str]) -> Value:
        """Makes an object of the service's, or brings its spec to what is wanted."""
        api, namespace = self._manager.api, owner["metadata"]["namespace"]
        resource, there = self._manager.resource(key), self._manager.api.find(key, namespace, name)
        if there is None:
            metadata = {"name": name, "namespace": namespace, "labels": dict(labels), "ownerReferences": [owner_reference(owner)]}
            return self._manager.create(key, {"metadata": metadata, **copy.deepcopy(wanted)})
        kept = {name: there["spec"][name] for name in ("clusterIP", "clusterIPs") if name in there["spec"]}
        return api.update(resource, there, {**copy.deepcopy(there), "spec": {**copy.deepcopy(wanted["spec"]), **kept}}, INTERNAL)

    # --- mode Knative

    def _revision(self, value: Value, template: Value) -> dict[str, Any]:
        name, spec = f"{value['metadata']['name']}-predictor", value["spec"]["predictor"]
        made = self._keep(KNATIVE_SERVICES, value, name, {"spec": {"template": template}}, template["metadata"]["labels"])
        before = made.get("status") or {}
        generation = made["metadata"]["generation"]
        created = f"{name}-{generation:05}"
        works = not any(part in template["spec"]["containers"][0]["image"] for part in self.failing)
        ready = created if works else before.get("latestReadyRevisionName", "")
        why = ("", "") if works else ("RevisionFailed", f'Revision "{created}" failed with message: Container failed with exit 1.')
        state = condition("Ready", works, *why)
        self._manager.set_status(
            KNATIVE_SERVICES,
            made,
            {
                "observedGeneration": generation,
                "latestCreatedRevisionName": created,
                "latestReadyRevisionName": ready,
                "conditions": [state],
            },
        )
        host = f"{name}.{value['metadata']['namespace']}.example.com"
        component = _rolled(
            ((value.get("status") or {}).get("components") or {}).get("predictor") or {}, created, ready, spec.get("canaryTrafficPercent")
        )
        told = [{**state, "type": kind} for kind in ("PredictorReady", "Ready")]
        return {
            "conditions": [*told, condition("IngressReady", True, "")],
            "deploymentMode": "Knative",
            "url": f"http://{host.replace('-predictor', '')}",
            "components": {"predictor": component},
        }


def _rolled(before: Mapping[str, Any], created: str, ready: str, percent: int | None) -> dict[str, Any]:
    """Which revision gets which share, and which was the last that got all."""
    whole = before.get("latestRolledoutRevision", "")
    share = 100 if percent is None or not whole or whole == ready else percent
    traffic = [{"revisionName": ready, "latestRevision": True, "percent": share}]
    if share < 100:
        traffic.append({"revisionName": whole, "latestRevision": False, "percent": 100 - share, "tag": "prev"})
    rolled = {"latestRolledoutRevision": ready, "previousRolledoutRevision": whole} if share == 100 and ready != whole else {}
    return {**before, "latestCreatedRevision": created, "latestReadyRevision": ready, "traffic": traffic if ready else [], **rolled}


def _mode(value: Mapping[str, Any]) -> str:
    """What the status says counts before the annotation."""
    return str((value.get("status") or {}).get("deploymentMode") or value["metadata"]["annotations"][MODE])


def _unknown(kind: str) -> dict[str, str]:
    return {**condition(kind, False, ""), "status": "Unknown"}


def _propagated(deployment: Mapping[str, Any]) -> dict[str, str]:
    """PredictorReady, of the Deployment's conditions."""
    available, progressing = (condition_of(dict(deployment), kind) for kind in ("Available", "Progressing"))
    if available.get("status") == "False" or (progressing.get("status") == "False" and progressing.get("message")):
        worse = available if available.get("status") == "False" else progressing
        return condition("PredictorReady", False, worse.get("reason", ""), worse.get("message", ""))
    if available.get("status") == "True" or progressing.get("reason") == "NewReplicaSetAvailable":
        return condition("PredictorReady", True, "")
    return _unknown("PredictorReady")


def _template(value: Value, runtime: Value) -> Value:
    """The pods: the runtime's container with what the service says over it, arguments one after the other."""
    spec, metadata = value["spec"]["predictor"], value["metadata"]
    model = spec["model"]
    served = copy.deepcopy(runtime["spec"])
    container = next(each for each in served["containers"] if each["name"] == "kserve-container")
    for name in ("image", "resources", "ports"):
        container.update({name: copy.deepcopy(model[name])} if model.get(name) else {})
    container["args"] = [*(container.get("args") or []), *(model.get("args") or [])]
    container["env"] = [
        *(container.get("env") or []),
        *(model.get("env") or []),
        {"name": "INFERENCE_SERVICE_NAME", "value": metadata["name"]},
    ]
    named = ("nodeSelector", "tolerations", "affinity", "volumes", "imagePullSecrets", "serviceAccountName")
    pod = {name: copy.deepcopy(each[name]) for each in (served, spec) for name in named if name in each}
    handed = {name: each for name, each in (metadata.get("annotations") or {}).items() if name not in _KEPT}
    annotations = {**(served.get("annotations") or {}), **handed, SOURCE: model["storageUri"], **(spec.get("annotations") or {})}
    labels = {**(served.get("labels") or {}), **(metadata.get("labels") or {}), **(spec.get("labels") or {})}
    labels.update({f"{GROUP}/inferenceservice": metadata["name"], "component": "predictor"})
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container], **pod}}


def _validate(resource: Resource, value: Value, old: Mapping[str, Any] | None) -> None:
    """What the validating webhook refuses."""
    if resource.key != SERVICES:
        return
    why = next(iter(_complaints(value, old)), "")
    if why:
        told = f'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: {why}'
        raise ApiError(403, "Forbidden", told)


def _complaints(value: Value, old: Mapping[str, Any] | None) -> Sequence[str]:
    spec, name = value["spec"]["predictor"], value["metadata"]["name"]
    found = []
    before = ((old or {}).get("status") or {}).get("deploymentMode")
    mode = value["metadata"]["annotations"][MODE]
    if before and mode != before:
        found.append(f"update rejected: deploymentMode cannot be changed from '{before}' to '{mode}'")
    if not _NAME.match(name):
        found.append(
            f'the InferenceService "{name}" is invalid: a InferenceService name must consist of lower case alphanumeric characters'
        )
    if spec.get("maxReplicas") and spec.get("minReplicas", 1) > spec["maxReplicas"]:
        found.append("MinReplicas cannot be greater than MaxReplicas.")
    if spec["model"].get("name"):
        found.append("the 'name' field is not allowed in standard predictor")
    if spec.get("scaleMetric") and spec["scaleMetric"] not in _METRICS.get(mode, ()):
        found.append(f"[{spec['scaleMetric']}] is not a supported metric")
    return found


class Copy:
    """The storage initializer. See `controllers.kubelet.Process`."""

    def __init__(self, container: Container, kserve: KServe) -> None:
        uri, target = container.words()
        held = container.environment()
        folder = kserve.stores.get(uri.rstrip("/"))
        lacking = [name for name, text in kserve.keys.items() if held.get(name) != text]
        self._code = 1
        if folder is None or not folder.exists():
            self._log = f"RuntimeError: Failed to fetch model. No model found in {uri}."
        elif lacking:
            self._log = (
                f"botocore.exceptions.ClientError: An error occurred (403) when calling HeadBucket: Forbidden ({json.dumps(lacking)})"
            )
        else:
            # Empty objects are left out, as KServe does.
            shutil.copytree(
                folder, target, dirs_exist_ok=True, ignore=lambda place, names: [each for each in names if _empty(Path(place, each))]
            )
            self._code, self._log = 0, f"Successfully copied {uri} to /mnt/models"

    def ready(self) -> bool:
        return False

    def exit_code(self) -> int | None:
        return self._code

    def log(self) -> str:
        return self._log

    def stop(self, grace: float) -> None:
        """It is over already."""


def _empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _definitions(*, knative: bool) -> list[Value]:
    services = custom_definition(GROUP, "InferenceService", "inferenceservices", _PREDICTOR, "v1beta1")
    properties = services["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["status"] = {**properties["status"], "properties": {"deploymentMode": {"type": "string"}}}
    everywhere = custom_definition(GROUP, "ClusterServingRuntime", "clusterservingruntimes", version="v1alpha1")
    everywhere["spec"]["scope"] = "Cluster"
    found = [services, custom_definition(GROUP, "ServingRuntime", "servingruntimes", version="v1alpha1"), everywhere]
    return [*found, custom_definition(KNATIVE, "Service", "services")] if knative else found


_ANY: Value = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_PREDICTOR: Value = {
    "type": "object",
    "properties": {
        "predictor": {
            **_ANY,
            "properties": {
                "minReplicas": {"type": "integer"}, "maxReplicas": {"type": "integer"}, "scaleTarget": {"type": "integer"},
                "scaleMetric": {"type": "string", "enum": ["cpu", "memory", "concurrency", "rps"]},
                "canaryTrafficPercent": {"type": "integer"}, "serviceAccountName": {"type": "string"},
                "model": {**_ANY, "properties": {name: {"type": "string"} for name in ("runtime", "protocolVersion", "storageUri")}},
            },
        }
    },
}  # fmt: skip
