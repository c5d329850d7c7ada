# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The values that the server fills in. A missing default gives false passes: clients compare what they sent with what is kept."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .resources import Resource

Value = dict[str, Any]
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_GROUP_OF_RBAC = "rbac.authorization.k8s.io"


def fill(resource: Resource, value: Value) -> None:
    """Fills in what depends on the object alone."""
    kind = (resource.group, resource.kind)
    if kind in _BY_KIND:
        _BY_KIND[kind](value)
    if kind in _FIRST_STATUS:
        value.setdefault("status", copy.deepcopy(_FIRST_STATUS[kind]))


def pod_spec_of(resource: Resource, value: Mapping[str, Any]) -> Any:
    """The pod's spec in a pod or in what makes pods; None elsewhere."""
    spec = value.get("spec")
    if not isinstance(spec, dict) or resource.custom:
        return None
    if resource.key == ("", "pods"):
        return spec
    if resource.key == ("batch", "cronjobs"):
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = spec.get("template")
    return template.get("spec") if resource.group in ("apps", "batch", "") and isinstance(template, dict) else None


def _defaults(value: Value, **defaults: Any) -> None:
    for name, default in defaults.items():
        value.setdefault(name, default)


# --- pods


def containers_of(spec: Mapping[str, Any]) -> Iterator[Value]:
    yield from spec.get("initContainers") or []
    yield from spec.get("containers") or []


def pod_spec(spec: Value) -> None:
    _defaults(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst")
    _defaults(spec, schedulerName="default-scheduler", securityContext={})
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in containers_of(spec):
        _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)


def _container(container: Value) -> None:
    image = container.get("image", "")
    name = image.rsplit("/", 1)[-1]
    latest = name.endswith(":latest") or (":" not in name and "@" not in name)
    _defaults(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File", resources={})
    _defaults(container, imagePullPolicy="Always" if latest else "IfNotPresent")
    for port in container.get("ports") or []:
        _defaults(port, protocol="TCP")
    for probe in (container[name] for name in _PROBES if container.get(name) is not None):
        _defaults(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
        _action(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _action(hook)
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            _defaults(reference, apiVersion="v1")


def _action(action: Value) -> None:
    if isinstance(action.get("httpGet"), dict):
        _defaults(action["httpGet"], path="/", scheme="HTTP")
    if isinstance(action.get("grpc"), dict):
        _defaults(action["grpc"], service="")


def _volume(volume: Value) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(kind), dict):
            _defaults(volume[kind], defaultMode=420)
    for kind, more in (("hostPath", {"type": ""}), ("image", {"pullPolicy": "IfNotPresent"})):
        if isinstance(volume.get(kind), dict):
            _defaults(volume[kind], **more)
    for item in (volume.get("downwardAPI") or {}).get("items") or []:
        _defaults(item.get("fieldRef", {}), apiVersion="v1")
    for source in (volume.get("projected") or {}).get("sources") or []:
        _defaults(source.get("serviceAccountToken", {}), expirationSeconds=3600)
    if volume.get("ephemeral"):
        _claim_spec(volume["ephemeral"].setdefault("volumeClaimTemplate", {}).setdefault("spec", {}))


def _claim_spec(spec: Value) -> None:
    _defaults(spec, volumeMode="Filesystem")


def _pod(value: Value) -> None:
    spec = value["spec"]
    pod_spec(spec)
    # Of pods alone: a template keeps what was written.
    for container in containers_of(spec):
        for port in container.get("ports") or [] if spec.get("hostNetwork") else ():
            port.setdefault("hostPort", port.get("containerPort"))
        limits = container["resources"].get("limits") or {}
        if limits:
            container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}
    value.setdefault("status", {"phase": "Pending", "qosClass": _qos_class(spec)})
    _defaults(spec, enableServiceLinks=True, serviceAccountName="default", priority=0, preemptionPolicy="PreemptLowerPriority")
    _defaults(spec, serviceAccount=spec["serviceAccountName"])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(each.get("key") in (key, None) for each in spec.get("tolerations") or []):
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            spec.setdefault("tolerations", []).append(toleration)


def _qos_class(spec: Value) -> str:
    """Decided when the pod is made, for good."""
    resources = [container.get("resources") or {} for container in containers_of(spec)]
    amounts = [(each.get("requests") or {}, each.get("limits") or {}) for each in resources]
    if not any(name in part for pair in amounts for part in pair for name in ("cpu", "memory")):
        return "BestEffort"
    equal = all(name in limits and requests.get(name) == limits[name] for requests, limits in amounts for name in ("cpu", "memory"))
    return "Guaranteed" if equal else "Burstable"


def _template(value: Value) -> Value:
    spec: Value = value.setdefault("spec", {})
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        pod_spec(template.setdefault("spec", {}))
    return spec


# --- workloads


def _rolling(strategy: Value, **defaults: Any) -> None:
    _defaults(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _defaults(strategy, rollingUpdate={})
        _defaults(strategy["rollingUpdate"], **defaults)


def _deployment(value: Value) -> None:
    spec = _template(value)
    _defaults(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    _rolling(spec["strategy"], maxUnavailable="25%", maxSurge="25%")


def _replica_set(value: Value) -> None:
    _defaults(_template(value), replicas=1)


def _stateful_set(value: Value) -> None:
    spec = _template(value)
    _defaults(spec, replicas=1, podManagementPolicy="OrderedReady", updateStrategy={}, revisionHistoryLimit=10)
    _defaults(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    _rolling(spec["updateStrategy"], partition=0)
    for claim in spec.get("volumeClaimTemplates") or []:
        _defaults(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={"phase": "Pending"})
        _claim_spec(claim.setdefault("spec", {}))


def _daemon_set(value: Value) -> None:
    spec = _template(value)
    _defaults(spec, updateStrategy={}, revisionHistoryLimit=10)
    _rolling(spec["updateStrategy"], maxSurge=0, maxUnavailable=1)


def _job_spec(spec: Value) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _defaults(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, podReplacementPolicy="TerminatingOrFailed")


def _job(value: Value) -> None:
    spec, uid = _template(value), value["metadata"].get("uid", "")
    if uid and not spec.get("selector") and not spec.get("manualSelector"):
        names = {"batch.kubernetes.io/job-name": value["metadata"]["name"], "job-name": value["metadata"]["name"]}
        labels = {"batch.kubernetes.io/controller-uid": uid, "controller-uid": uid, **names}
        for metadata in (value["metadata"], spec["template"]["metadata"]):
            metadata["labels"] = {**labels, **(metadata.get("labels") or {})}
        spec.update(selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}, manualSelector=False)
    _job_spec(spec)


def _cron_job(value: Value) -> None:
    spec = value.setdefault("spec", {})
    _defaults(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    _template(spec.setdefault("jobTemplate", {}))


# --- services and the rest


def _service(value: Value) -> None:
    spec = value.setdefault("spec", {})
    _defaults(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or []:
        _defaults(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] != "ExternalName":
        _defaults(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    if spec["sessionAffinity"] == "ClientIP":
        _defaults(spec, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _defaults(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _defaults(spec, allocateLoadBalancerNodePorts=True)
    value.setdefault("status", {"loadBalancer": {}})


def _secret(value: Value) -> None:
    _defaults(value, type="Opaque")
    for name, text in (value.pop("stringData", None) or {}).items():
        value.setdefault("data", {})[name] = base64.b64encode(str(text).encode()).decode()


def _namespace(value: Value) -> None:
    _defaults(value, spec={}, status={"phase": "Active"})
    _defaults(value["spec"], finalizers=["kubernetes"])
    value["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = value["metadata"]["name"]


def _claim(value: Value) -> None:
    _claim_spec(value.setdefault("spec", {}))
    value.setdefault("status", {"phase": "Pending"})


def _volume_object(value: Value) -> None:
    spec = value.setdefault("spec", {})
    _defaults(spec, volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    if spec.get("hostPath"):
        _defaults(spec["hostPath"], type="")
    if not spec.get("storageClassName"):
        spec.pop("storageClassName", None)
    value.setdefault("status", {"phase": "Pending"})


def _autoscaler(value: Value) -> None:
    spec = value.setdefault("spec", {})
    _defaults(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if "behavior" in spec:
        percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
        up = spec["behavior"].setdefault("scaleUp", {})
        _defaults(
            up, stabilizationWindowSeconds=0, selectPolicy="Max", policies=[{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]
        )
        _defaults(spec["behavior"].setdefault("scaleDown", {}), selectPolicy="Max", policies=[dict(percent)])


def _network_policy(value: Value) -> None:
    spec = value.setdefault("spec", {})
    _defaults(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"], podSelector={})
    for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
        for port in rule.get("ports") or []:
            _defaults(port, protocol="TCP")


def _binding(value: Value) -> None:
    _defaults(value.setdefault("roleRef", {}), apiGroup=_GROUP_OF_RBAC)
    for subject in value.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            _defaults(subject, apiGroup=_GROUP_OF_RBAC)


def _storage_class(value: Value) -> None:
    _defaults(value, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _priority_class(value: Value) -> None:
    _defaults(value, preemptionPolicy="PreemptLowerPriority")


def _custom_definition(value: Value) -> None:
    spec = value.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    _defaults(names, singular=kind.lower(), listKind=f"{kind}List")
    _defaults(spec, conversion={"strategy": "None"})


def _webhooks(value: Value) -> None:
    for hook in value.get("webhooks") or []:
        _defaults(hook, failurePolicy="Fail", matchPolicy="Equivalent", namespaceSelector={}, objectSelector={}, timeoutSeconds=10)
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            _defaults(service, port=443)
        for rule in hook.get("rules") or []:
            _defaults(rule, scope="*")


def _mutating_webhooks(value: Value) -> None:
    _webhooks(value)
    for hook in value.get("webhooks") or []:
        _defaults(hook, reinvocationPolicy="Never")


# What is told before a controller has looked.
_FIRST_STATUS: Mapping[tuple[str, str], Value] = {
    ("apps", "Deployment"): {},
    ("apps", "ReplicaSet"): {"replicas": 0},
    ("apps", "StatefulSet"): {"replicas": 0, "availableReplicas": 0},
    ("apps", "DaemonSet"): dict.fromkeys(("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"), 0),
    ("batch", "Job"): {},
    ("batch", "CronJob"): {},
    ("autoscaling", "HorizontalPodAutoscaler"): {"currentMetrics": None, "desiredReplicas": 0},
    ("networking.k8s.io", "Ingress"): {"loadBalancer": {}},
    ("policy", "PodDisruptionBudget"): dict.fromkeys(("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"), 0),
}
_BY_KIND: dict[tuple[str, str], Callable[[Value], None]] = {
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("", "Secret"): _secret,
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume_object,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    (_GROUP_OF_RBAC, "RoleBinding"): _binding,
    (_GROUP_OF_RBAC, "ClusterRoleBinding"): _binding,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_definition,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): _webhooks,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): _mutating_webhooks,
}
