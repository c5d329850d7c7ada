# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the schema cannot say: names, references inside an object, combinations that exclude each other, fields that must not change."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import defaults, selectors
from .errors import Cause
from .pod_validation import pod_problems
from .resources import Resource
from .schemas import quantity
from .words import LABEL, LABEL_1035, QUALIFIED, SUBDOMAIN, check_labels, duplicates, is_amount, one_of, required

Value = Mapping[str, Any]
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_ANNOTATIONS_SIZE = 256 * 1024
_DATA_SIZE = 1024 * 1024
_FREE_NAMES = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")


def problems(resource: Resource, value: Value, old: Value | None) -> list[Cause]:
    """Everything that the server would refuse in a new object, or in one that takes the place of `old`."""
    found = list(_metadata(resource, value["metadata"]))
    spec = defaults.pod_spec_of(resource, value)
    if spec is not None:
        found += pod_problems(spec, "spec" if resource.plural == "pods" else "spec.template.spec")
    check = _BY_KIND.get((resource.group, resource.kind))
    if check:
        found += check(value)
    found += _finalizers(value["metadata"], old)
    if old is not None:
        found += _immutable(resource, value, old)
    return found


def _finalizers(metadata: Value, old: Value | None) -> Iterator[Cause]:
    for name in metadata.get("finalizers") or []:
        if not QUALIFIED.fullmatch(name) or ("/" not in name and name not in ("foregroundDeletion", "orphan", "kubernetes")):
            told = f'Invalid value: "{name}": name is neither a standard finalizer name nor is it fully qualified'
            yield Cause("metadata.finalizers", told)
    before = ((old or {}).get("metadata") or {}).get("finalizers") or []
    added = [name for name in metadata.get("finalizers") or [] if name not in before]
    if old and metadata.get("deletionTimestamp") and added:
        told = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
        yield Cause("metadata.finalizers", f"Forbidden: {told}", "FieldValueForbidden")


def _metadata(resource: Resource, metadata: Value) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if resource.key == ("", "services") and not LABEL_1035.fullmatch(name):
        yield Cause("metadata.name", f'Invalid value: "{name}": a DNS-1035 label must consist of lower case alphanumeric characters')
    elif resource.key == ("", "namespaces") and not LABEL.fullmatch(name):
        yield Cause(
            "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 label must consist of lower case alphanumeric characters'
        )
    elif resource.plural not in _FREE_NAMES and not (SUBDOMAIN.fullmatch(name) and len(name) <= 253):
        told = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        yield Cause("metadata.name", f'Invalid value: "{name}": {told}')
    yield from check_labels(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    if sum(len(key) + len(str(text)) for key, text in annotations.items()) > _ANNOTATIONS_SIZE:
        yield Cause("metadata.annotations", f"Too long: may not be more than {_ANNOTATIONS_SIZE} bytes", "FieldValueTooLong")
    for key in annotations:
        if not QUALIFIED.fullmatch(key):
            yield Cause("metadata.annotations", f'Invalid value: "{key}": name part must consist of alphanumeric characters')


def warnings(resource: Resource, value: Value) -> Iterator[str]:
    """What the server accepts and warns of."""
    spec = defaults.pod_spec_of(resource, value) or {}
    path = "spec" if resource.plural == "pods" else "spec.template.spec"
    for kind in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(kind) or []):
            for twice, name in duplicates([each.get("name") for each in container.get("env") or []]):
                where = f"{path}.{kind}[{place}].env[{twice}]"
                yield f'{where}: hides previous definition of "{name}", which may be dropped when using apply'
    if resource.plural == "ingresses" and "kubernetes.io/ingress.class" in (value["metadata"].get("annotations") or {}):
        yield "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"


# --- by kind


def _workload(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    if spec.get("selector") is None:
        yield Cause("spec.selector", "Required value", "FieldValueRequired")
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    yield from check_labels(labels, "spec.template.labels")
    if not spec["selector"].get("matchLabels") and not spec["selector"].get("matchExpressions"):
        yield Cause("spec.selector", "Invalid value: {}: empty selector is invalid for workload")
    elif not selectors.matches(spec["selector"], labels):
        told = ", ".join(f'"{name}":"{each}"' for name, each in labels.items())
        yield Cause("spec.template.metadata.labels", f"Invalid value: {{{told}}}: `selector` does not match template `labels`")
    if (spec.get("replicas") or 0) < 0:
        yield Cause("spec.replicas", f"Invalid value: {spec['replicas']}: must be greater than or equal to 0")
    policy = (spec["template"].get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        yield Cause(
            "spec.template.spec.restartPolicy", f'Unsupported value: "{policy}": supported values: "Always"', "FieldValueNotSupported"
        )


def _deployment(value: Value) -> Iterator[Cause]:
    yield from _workload(value)
    spec = value.get("spec") or {}
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        told = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield Cause("spec.strategy.rollingUpdate", told, "FieldValueForbidden")
    elif rolling is not None and all(str(rolling.get(name)) in ("0", "0%") for name in ("maxSurge", "maxUnavailable")):
        yield Cause("spec.strategy.rollingUpdate.maxUnavailable", "Invalid value: 0: may not be 0 when `maxSurge` is 0")
    ready, deadline = spec.get("minReadySeconds") or 0, spec.get("progressDeadlineSeconds") or 0
    if deadline <= ready:
        yield Cause("spec.progressDeadlineSeconds", f"Invalid value: {deadline}: must be greater than minReadySeconds")


def _job(value: Value) -> Iterator[Cause]:
    if len(value["metadata"].get("name", "")) > 63:
        yield Cause("metadata.name", "Invalid value: must be no more than 63 characters", "FieldValueTooLong")
    policy = (((value.get("spec") or {}).get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        yield required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _cron_job(value: Value) -> Iterator[Cause]:
    schedule = str((value.get("spec") or {}).get("schedule"))
    if not schedule.startswith("@") and len(schedule.split()) != 5:
        told = f'Invalid value: "{schedule}": expected exactly 5 fields, found {len(schedule.split())}: [{" ".join(schedule.split())}]'
        yield Cause("spec.schedule", told)


def _service(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    yield from _type_of_service(spec)
    yield from _service_ports(spec)


def _type_of_service(spec: Value) -> Iterator[Cause]:
    yield from one_of(spec.get("type"), "spec.type", "ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type") == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")
    if spec.get("loadBalancerClass") and spec.get("type") != "LoadBalancer":
        told = "Forbidden: may only be used when `type` is 'LoadBalancer'"
        yield Cause("spec.loadBalancerClass", told, "FieldValueForbidden")
    if spec.get("externalTrafficPolicy") and spec.get("type") not in ("NodePort", "LoadBalancer") and not spec.get("externalIPs"):
        told = f'Invalid value: "{spec["externalTrafficPolicy"]}": may only be set for externally-accessible services'
        yield Cause("spec.externalTrafficPolicy", told)


def _service_ports(spec: Value) -> Iterator[Cause]:
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield Cause("spec.ports", "Required value", "FieldValueRequired")
    for place, port in enumerate(ports):
        if len(ports) > 1 and not port.get("name"):
            yield Cause(f"spec.ports[{place}].name", "Required value", "FieldValueRequired")
        if port.get("nodePort") and not 30000 <= port["nodePort"] <= 32767:
            told = f"Invalid value: {port['nodePort']}: provided port is not in the valid range. The range of valid ports is 30000-32767"
            yield Cause(f"spec.ports[{place}].nodePort", told)
        if port.get("nodePort") and spec.get("type") == "ClusterIP":
            told = "Forbidden: may not be used when `type` is 'ClusterIP'"
            yield Cause(f"spec.ports[{place}].nodePort", told, "FieldValueForbidden")
    for place, name in duplicates([each.get("name") for each in ports if each.get("name")]):
        yield Cause(f"spec.ports[{place}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    for place, pair in duplicates([(each.get("port"), each.get("protocol")) for each in ports]):
        yield Cause(f"spec.ports[{place}]", f"Duplicate value: {pair[0]}/{pair[1]}", "FieldValueDuplicate")


def _data(value: Value) -> Iterator[Cause]:
    for name in value.get("data") or {}:
        if not _CONFIG_KEY.fullmatch(name):
            yield Cause(f"data[{name}]", f'Invalid value: "{name}": a valid config key must consist of alphanumeric characters')
        if name in (value.get("binaryData") or {}):
            yield Cause(f"data[{name}]", f'Invalid value: "{name}": duplicate of key present in binaryData')
    size = sum(len(str(each)) for each in (value.get("data") or {}).values())
    size = size * 3 // 4 if value.get("kind") == "Secret" else size
    if size > _DATA_SIZE:
        yield Cause("data", f"Too long: may not be more than {_DATA_SIZE} bytes", "FieldValueTooLong")


# What secrets of these types must hold; JSON where it is true.
_HELD = {
    "kubernetes.io/dockerconfigjson": {".dockerconfigjson": True}, "kubernetes.io/dockercfg": {".dockercfg": True},
    "kubernetes.io/tls": {"tls.crt": False, "tls.key": False}, "kubernetes.io/ssh-auth": {"ssh-privatekey": False},
}  # fmt: skip


def _secret(value: Value) -> Iterator[Cause]:
    found = list(_data(value))
    yield from found
    for name, is_json in _HELD.get(value.get("type", ""), {}).items() if not found else ():
        if name not in (value.get("data") or {}):
            yield required(f"data[{name}]")
        elif is_json:
            try:
                json.loads(base64.b64decode(value["data"][name]))
            except ValueError as error:
                yield Cause(f"data[{name}]", f'Invalid value: "<secret contents redacted>": {error}')


def _claim(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    for each in spec.get("accessModes") or []:
        yield from one_of(each, "spec.accessModes", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
    amount = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if amount is None:
        yield required("spec.resources[storage]")
    elif not is_amount(amount) or not quantity(amount):
        yield Cause("spec.resources[storage]", f'Invalid value: "{amount}": must be greater than zero')


_OF_ANY_VOLUME = {
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy", "storageClassName",
    "volumeAttributesClassName", "volumeMode",
}  # fmt: skip


def _volume(value: Value) -> Iterator[Cause]:
    kinds = set(value.get("spec") or {}) - _OF_ANY_VOLUME
    if not kinds:
        yield required("spec", "must specify a volume type")
    if len(kinds) > 1:
        yield Cause("spec", "Forbidden: may not specify more than 1 volume type", "FieldValueForbidden")


def _network_policy(value: Value) -> Iterator[Cause]:
    for kind, peers in (("ingress", "from"), ("egress", "to")):
        for place, rule in enumerate((value.get("spec") or {}).get(kind) or []):
            for number, peer in enumerate(rule.get(peers) or []):
                if not peer:
                    yield required(f"spec.{kind}[{place}].{peers}[{number}]", "must specify a peer")


def _autoscaler(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if most < max(least, 1):
        yield Cause("spec.maxReplicas", f"Invalid value: {most}: must be greater than or equal to `minReplicas`")
    if least < 1:
        yield Cause("spec.minReplicas", f"Invalid value: {least}: must be greater than or equal to 1")
    if not (spec.get("scaleTargetRef") or {}).get("apiVersion"):
        yield Cause("spec.scaleTargetRef.apiVersion", 'Invalid value: "": apiVersion must specify API group')
    kinds = {"Resource": "resource", "Pods": "pods", "Object": "object", "External": "external", "ContainerResource": "containerResource"}
    for place, metric in enumerate(spec.get("metrics") or []):
        kind = kinds.get(metric.get("type", ""), "")
        if not metric.get(kind):
            yield required(f"spec.metrics[{place}].{kind}", "must populate information for the given metric source")


def _disruption_budget(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield Cause("spec", "Invalid value: minAvailable and maxUnavailable cannot be both set")


def _ingress(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield Cause("spec", "Invalid value: either `defaultBackend` or `rules` must be specified")
    for place, rule in enumerate(spec.get("rules") or []):
        for path_place, path in enumerate((rule.get("http") or {}).get("paths") or []):
            if path.get("pathType") != "ImplementationSpecific" and not str(path.get("path", "")).startswith("/"):
                yield Cause(f"spec.rules[{place}].http.paths[{path_place}].path", "Invalid value: must be an absolute path")


def _custom_definition(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural')}.{spec.get('group')}"
    if value["metadata"]["name"] != wanted:
        yield Cause("metadata.name", f'Invalid value: must be spec.names.plural+"."+spec.group, that is {wanted}')
    if sum(bool(each.get("storage")) for each in spec.get("versions") or []) != 1:
        yield Cause("spec.versions", "Invalid value: must have exactly one version marked as storage version")


_BY_KIND: dict[tuple[str, str], Callable[[Value], Iterator[Cause]]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _workload,
    ("apps", "StatefulSet"): _workload,
    ("apps", "DaemonSet"): _workload,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Service"): _service,
    ("", "Secret"): _secret,
    ("", "PersistentVolume"): _volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "ConfigMap"): _data,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_definition,
}

# --- fields that must not change

_FIXED: dict[tuple[str, str], Sequence[str]] = {
    ("apps", "Deployment"): ["selector"],
    ("apps", "ReplicaSet"): ["selector"],
    ("apps", "DaemonSet"): ["selector"],
    ("batch", "Job"): ["selector", "template", "completionMode", "manualSelector"],
    ("rbac.authorization.k8s.io", "RoleBinding"): [],
    ("policy", "PodDisruptionBudget"): [],
}
_CHANGEABLE_IN_SETS = {
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
}  # fmt: skip


def _immutable(resource: Resource, new: Value, old: Value) -> Iterator[Cause]:
    kind = (resource.group, resource.kind)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    for name in _FIXED.get(kind, ()):
        if spec.get(name) != before.get(name):
            yield Cause(f"spec.{name}", f"Invalid value: {str(spec.get(name))[:100]}: field is immutable")
    if kind == ("apps", "StatefulSet") and any(spec.get(name) != before.get(name) for name in {*spec, *before} - _CHANGEABLE_IN_SETS):
        names = "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
        names += "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'"
        told = f"Forbidden: updates to statefulset spec for fields other than {names} are forbidden"
        yield Cause("spec", told, "FieldValueForbidden")
    if resource.kind in ("RoleBinding", "ClusterRoleBinding") and new.get("roleRef") != old.get("roleRef"):
        yield Cause("roleRef", "Invalid value: cannot change roleRef")
    if kind == ("storage.k8s.io", "StorageClass") and new.get("parameters") != old.get("parameters"):
        yield Cause("parameters", "Forbidden: updates to parameters are forbidden.", "FieldValueForbidden")
    yield from _immutable_core(resource, new, old)


def _immutable_core(resource: Resource, new: Value, old: Value) -> Iterator[Cause]:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if resource.key == ("", "pods") and _fixed_of_pod(spec) != _fixed_of_pod(before):
        told = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`"
        yield Cause("spec", told, "FieldValueForbidden")
    had_address = resource.key == ("", "services") and before.get("clusterIP") and spec.get("type") != "ExternalName"
    if had_address and spec.get("clusterIP") != before["clusterIP"]:
        yield Cause("spec.clusterIPs[0]", f'Invalid value: ["{spec.get("clusterIP")}"]: may not change once set')
    if resource.key == ("", "persistentvolumeclaims"):
        names = ("accessModes", "storageClassName", "volumeName", "volumeMode", "selector")
        bound = (old.get("status") or {}).get("phase") == "Bound"
        if any(spec.get(name) != before[name] for name in (*names, *(() if bound else ("resources",))) if name in before):
            told = "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
            yield Cause("spec", told, "FieldValueForbidden")
        if _is_smaller(spec, before):
            told = "Forbidden: field can not be less than status.capacity"
            yield Cause("spec.resources.requests.storage", told, "FieldValueForbidden")
    fixed = resource.key in (("", "secrets"), ("", "configmaps")) and old.get("immutable")
    if fixed and any(new.get(name) != old.get(name) for name in ("data", "binaryData", "immutable")):
        yield Cause("data", "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
    if resource.key == ("", "secrets") and new.get("type") != old.get("type"):
        yield Cause("type", f'Invalid value: "{new.get("type")}": field is immutable')


def _is_smaller(spec: Value, before: Value) -> bool:
    amounts = [((each.get("resources") or {}).get("requests") or {}).get("storage") for each in (spec, before)]
    return all(map(is_amount, amounts)) and quantity(amounts[0]) < quantity(amounts[1])


def _fixed_of_pod(spec: Value) -> dict[str, Any]:
    changeable = {"containers", "initContainers", "tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "nodeName"}
    return {
        **{name: each for name, each in spec.items() if name not in changeable},
        "containers": [{**each, "image": ""} for each in spec.get("containers") or []],
        "initContainers": [{**each, "image": ""} for each in spec.get("initContainers") or []],
    }
