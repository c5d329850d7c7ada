# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the schema cannot say: names, references inside an object, combinations that exclude each other, fields that must not change."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import defaults, selectors
from .errors import Cause
from .resources import Resource
from .schemas import quantity

Value = Mapping[str, Any]
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ACTIONS = ("httpGet", "tcpSocket", "exec", "grpc", "sleep")
_ANNOTATIONS_SIZE = 256 * 1024
_DATA_SIZE = 1024 * 1024
_FREE_NAMES = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")


def problems(resource: Resource, value: Value, old: Value | None) -> list[Cause]:
    """Everything that the server would refuse in a new object, or in one that takes the place of `old`."""
    found = list(_metadata(resource, value["metadata"]))
    spec = defaults.pod_spec_of(resource, value)
    if spec is not None:
        found += _pod(spec, "spec" if resource.plural == "pods" else "spec.template.spec")
    check = _BY_KIND.get((resource.group, resource.kind))
    if check:
        found += check(value)
    if old is not None:
        found += _immutable(resource, value, old)
    return found


def _metadata(resource: Resource, metadata: Value) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if resource.key == ("", "services") and not _LABEL_1035.fullmatch(name):
        yield Cause("metadata.name", f'Invalid value: "{name}": a DNS-1035 label must consist of lower case alphanumeric characters')
    elif resource.key == ("", "namespaces") and not _LABEL.fullmatch(name):
        yield Cause(
            "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 label must consist of lower case alphanumeric characters'
        )
    elif resource.plural not in _FREE_NAMES and not (_SUBDOMAIN.fullmatch(name) and len(name) <= 253):
        told = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        yield Cause("metadata.name", f'Invalid value: "{name}": {told}')
    yield from _labels(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    if sum(len(key) + len(str(text)) for key, text in annotations.items()) > _ANNOTATIONS_SIZE:
        yield Cause("metadata.annotations", f"Too long: may not be more than {_ANNOTATIONS_SIZE} bytes", "FieldValueTooLong")
    for key in annotations:
        if not _QUALIFIED.fullmatch(key):
            yield Cause("metadata.annotations", f'Invalid value: "{key}": name part must consist of alphanumeric characters')


def _labels(labels: Value, path: str) -> Iterator[Cause]:
    for key, value in labels.items():
        if not _QUALIFIED.fullmatch(key):
            yield Cause(path, f'Invalid value: "{key}": name part must consist of alphanumeric characters')
        if not _LABEL_VALUE.fullmatch(str(value)):
            yield Cause(path, f'Invalid value: "{value}": a valid label must be an empty string or consist of alphanumeric characters')


def _duplicates(values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for place, value in enumerate(values):
        if value in values[:place]:
            yield place, value


def warnings(resource: Resource, value: Value) -> Iterator[str]:
    """What the server accepts and warns of."""
    spec = defaults.pod_spec_of(resource, value) or {}
    path = "spec" if resource.plural == "pods" else "spec.template.spec"
    for kind in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(kind) or []):
            for twice, name in _duplicates([each.get("name") for each in container.get("env") or []]):
                where = f"{path}.{kind}[{place}].env[{twice}]"
                yield f'{where}: hides previous definition of "{name}", which may be dropped when using apply'
    if resource.plural == "ingresses" and "kubernetes.io/ingress.class" in (value["metadata"].get("annotations") or {}):
        yield "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"


# --- pods


def _pod(spec: Value, path: str) -> Iterator[Cause]:
    volumes = [each.get("name") for each in spec.get("volumes") or []]
    for place, name in _duplicates(volumes):
        yield Cause(f"{path}.volumes[{place}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    for place, volume in enumerate(spec.get("volumes") or []):
        if len(set(volume) - {"name"}) != 1:
            yield Cause(f"{path}.volumes[{place}]", "Forbidden: may not specify more than 1 volume type", "FieldValueForbidden")
    if not spec.get("containers"):
        yield Cause(f"{path}.containers", "Required value", "FieldValueRequired")
    names = [each.get("name") for each in defaults.containers_of(spec)]
    for _place, name in _duplicates(names):
        yield Cause(f"{path}.containers.name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    for kind in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(kind) or []):
            yield from _container(container, f"{path}.{kind}[{place}]", volumes, init=kind == "initContainers")
    yield from _spreading(spec, path)


def _spreading(spec: Value, path: str) -> Iterator[Cause]:
    for place, each in enumerate(spec.get("tolerations") or []):
        if each.get("operator") == "Exists" and each.get("value"):
            yield Cause(f"{path}.tolerations[{place}].operator", 'Invalid value: value must be empty when `operator` is "Exists"')
        if not each.get("key") and each.get("operator") != "Exists":
            yield Cause(f"{path}.tolerations[{place}].operator", "Invalid value: operator must be Exists when `key` is empty")
    for place, each in enumerate(spec.get("topologySpreadConstraints") or []):
        if (each.get("maxSkew") or 0) < 1:
            yield Cause(f"{path}.topologySpreadConstraints[{place}].maxSkew", "Invalid value: 0: must be greater than zero")


def _container(container: Value, path: str, volumes: Sequence[str], *, init: bool) -> Iterator[Cause]:
    if not _LABEL.fullmatch(container.get("name", "")):
        yield Cause(f"{path}.name", f'Invalid value: "{container.get("name", "")}": a lowercase RFC 1123 label')
    if not container.get("image"):
        yield Cause(f"{path}.image", "Required value", "FieldValueRequired")
    mounts = container.get("volumeMounts") or []
    for place, mount in enumerate(mounts):
        if mount.get("name") not in volumes:
            yield Cause(f"{path}.volumeMounts[{place}].name", f'Not found: "{mount.get("name")}"', "FieldValueNotFound")
    for place, mount_path in _duplicates([each.get("mountPath") for each in mounts]):
        yield Cause(f"{path}.volumeMounts[{place}].mountPath", f'Invalid value: "{mount_path}": must be unique')
    for place, variable in enumerate(container.get("env") or []):
        if variable.get("value") and variable.get("valueFrom"):
            yield Cause(f"{path}.env[{place}].valueFrom", "Invalid value: may not be specified when `value` is not empty")
    yield from _ports(container, path)
    yield from _resources(container.get("resources") or {}, f"{path}.resources")
    yield from _probes(container, path, init=init and container.get("restartPolicy") != "Always")


def _ports(container: Value, path: str) -> Iterator[Cause]:
    ports = container.get("ports") or []
    for place, port in enumerate(ports):
        if port.get("name") and not _PORT_NAME.fullmatch(port["name"]):
            yield Cause(f"{path}.ports[{place}].name", f'Invalid value: "{port["name"]}": must be no more than 15 characters')
        if not 0 < (port.get("containerPort") or 0) < 65536:
            yield Cause(f"{path}.ports[{place}].containerPort", "Invalid value: must be between 1 and 65535, inclusive")
    for place, name in _duplicates([each.get("name") for each in ports if each.get("name")]):
        yield Cause(f"{path}.ports[{place}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")


def _probes(container: Value, path: str, *, init: bool) -> Iterator[Cause]:
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        if init:
            yield Cause(
                f"{path}.{name}", "Forbidden: may not be set for init containers without restartPolicy=Always", "FieldValueForbidden"
            )
        actions = [each for each in _ACTIONS if each in probe]
        if len(actions) != 1:
            told = "must specify a handler type" if not actions else "may not specify more than 1 handler type"
            yield Cause(f"{path}.{name}", f"Required value: {told}", "FieldValueRequired")
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield Cause(f"{path}.{name}.successThreshold", f"Invalid value: {probe['successThreshold']}: must be 1")
        yield from _port_reference(container, probe, f"{path}.{name}")


def _port_reference(container: Value, probe: Value, path: str) -> Iterator[Cause]:
    port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
    if isinstance(port, str) and not _PORT_NAME.fullmatch(port):
        yield Cause(f"{path}.httpGet.port", f'Invalid value: "{port}": must contain at least one letter (a-z)')


def _resources(resources: Value, path: str) -> Iterator[Cause]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, amount in values.items():
            yield from _amount(name, amount, f"{path}.{kind}[{name}]")
    for name, amount in requests.items():
        extended = "/" in name or name.startswith("hugepages-")
        with_limit = name in limits
        if extended and not with_limit:
            yield Cause(
                f"{path}.limits", f"Required value: Limit must be set for non overcommitable resources ({name})", "FieldValueRequired"
            )
        elif with_limit and _is_amount(amount) and _is_amount(limits[name]):
            if quantity(amount) > quantity(limits[name]):
                yield Cause(f"{path}.requests", f'Invalid value: "{amount}": must be less than or equal to {name} limit of {limits[name]}')
            elif extended and quantity(amount) != quantity(limits[name]):
                yield Cause(f"{path}.requests", f'Invalid value: "{amount}": must be equal to {name} limit of {limits[name]}')


def _is_amount(value: Any) -> bool:
    try:
        return quantity(value) >= 0
    except ValueError:
        return False


def _amount(name: str, amount: Any, path: str) -> Iterator[Cause]:
    if not _is_amount(amount):
        yield Cause(path, f'Invalid value: "{amount}": must be a quantity that is not negative')
    elif "/" in name and quantity(amount) != int(quantity(amount)):
        yield Cause(path, f'Invalid value: "{amount}": must be an integer')
    elif "/" not in name and name not in ("cpu", "memory", "ephemeral-storage") and not name.startswith("hugepages-"):
        yield Cause(path, f'Invalid value: "{name}": must be a standard resource type or fully qualified')


# --- by kind


def _workload(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    if spec.get("selector") is None:
        yield Cause("spec.selector", "Required value", "FieldValueRequired")
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    yield from _labels(labels, "spec.template.labels")
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
    if strategy.get("type") == "Recreate" and rolling:
        told = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield Cause("spec.strategy.rollingUpdate", told, "FieldValueForbidden")
    elif rolling and all(str(rolling.get(name)) in ("0", "0%") for name in ("maxSurge", "maxUnavailable")):
        yield Cause("spec.strategy.rollingUpdate.maxUnavailable", "Invalid value: 0: may not be 0 when `maxSurge` is 0")
    ready, deadline = spec.get("minReadySeconds") or 0, spec.get("progressDeadlineSeconds") or 0
    if deadline <= ready:
        yield Cause("spec.progressDeadlineSeconds", f"Invalid value: {deadline}: must be greater than minReadySeconds")


def _job(value: Value) -> Iterator[Cause]:
    if len(value["metadata"].get("name", "")) > 63:
        yield Cause("metadata.name", "Invalid value: must be no more than 63 characters", "FieldValueTooLong")
    policy = (((value.get("spec") or {}).get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        told = f'Required value: valid values: "OnFailure", "Never" (is "{policy}")'
        yield Cause("spec.template.spec.restartPolicy", told, "FieldValueRequired")


def _service(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
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
    for place, name in _duplicates([each.get("name") for each in ports if each.get("name")]):
        yield Cause(f"spec.ports[{place}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    for place, pair in _duplicates([(each.get("port"), each.get("protocol")) for each in ports]):
        yield Cause(f"spec.ports[{place}]", f"Duplicate value: {pair[0]}/{pair[1]}", "FieldValueDuplicate")


def _data(value: Value) -> Iterator[Cause]:
    for name, each in (value.get("data") or {}).items():
        if not _CONFIG_KEY.fullmatch(name):
            yield Cause(f"data[{name}]", f'Invalid value: "{name}": a valid config key must consist of alphanumeric characters')
        if value.get("kind") == "Secret":
            try:
                base64.b64decode(each, validate=True)
            except (binascii.Error, TypeError, ValueError):
                yield Cause(f"data[{name}]", "Invalid value: illegal base64 data")
    size = sum(len(str(each)) for each in (value.get("data") or {}).values())
    size = size * 3 // 4 if value.get("kind") == "Secret" else size
    if size > _DATA_SIZE:
        yield Cause("data", f"Too long: may not be more than {_DATA_SIZE} bytes", "FieldValueTooLong")


def _autoscaler(value: Value) -> Iterator[Cause]:
    spec = value.get("spec") or {}
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if most < max(least, 1):
        yield Cause("spec.maxReplicas", f"Invalid value: {most}: must be greater than or equal to `minReplicas`")
    if least < 1:
        yield Cause("spec.minReplicas", f"Invalid value: {least}: must be greater than or equal to 1")
    kinds = {"Resource": "resource", "Pods": "pods", "Object": "object", "External": "external", "ContainerResource": "containerResource"}
    for place, metric in enumerate(spec.get("metrics") or []):
        if not metric.get(kinds.get(metric.get("type", ""), "")):
            yield Cause(
                f"spec.metrics[{place}]", "Required value: must populate information for the given metric source", "FieldValueRequired"
            )


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
    ("", "Service"): _service,
    ("", "Secret"): _data,
    ("", "ConfigMap"): _data,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("networking.k8s.io", "Ingress"): _ingress,
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
        if any(spec.get(name) != before[name] for name in names if name in before):
            yield Cause("spec", "Forbidden: spec is immutable after creation except resources.requests", "FieldValueForbidden")
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
    return all(map(_is_amount, amounts)) and quantity(amounts[0]) < quantity(amounts[1])


def _fixed_of_pod(spec: Value) -> dict[str, Any]:
    changeable = {"containers", "initContainers", "tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "nodeName"}
    return {
        **{name: each for name, each in spec.items() if name not in changeable},
        "containers": [{**each, "image": ""} for each in spec.get("containers") or []],
        "initContainers": [{**each, "image": ""} for each in spec.get("initContainers") or []],
    }
