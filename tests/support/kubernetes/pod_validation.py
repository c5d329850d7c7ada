# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the schema cannot say of pods: references inside one, combinations that exclude each other, words that it leaves open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import defaults
from .errors import Cause
from .schemas import quantity
from .words import LABEL, check_labels, duplicates, is_amount, one_of, required

Value = Mapping[str, Any]
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ACTIONS = ("httpGet", "tcpSocket", "exec", "grpc", "sleep")
_NUMBERS_OF_PROBES = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def pod_problems(spec: Value, path: str) -> Iterator[Cause]:
    """path: of the spec."""
    volumes = [each.get("name") for each in spec.get("volumes") or []]
    for place, name in duplicates(volumes):
        yield Cause(f"{path}.volumes[{place}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    for place, volume in enumerate(spec.get("volumes") or []):
        for kind in [each for each in volume if each != "name"][1:]:
            yield Cause(f"{path}.volumes[{place}].{kind}", "Forbidden: may not specify more than 1 volume type", "FieldValueForbidden")
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    names = [each.get("name") for each in defaults.containers_of(spec)]
    for place, name in duplicates(names):
        yield Cause(f"{path}.containers[{place}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    for kind in ("initContainers", "containers"):
        for place, container in enumerate(spec.get(kind) or []):
            yield from _container(container, f"{path}.{kind}[{place}]", volumes, init=kind == "initContainers")
            yield from _hooks(container, spec, f"{path}.{kind}[{place}].lifecycle")
    yield from _placement(spec, path)
    yield from _security(spec.get("securityContext") or {}, f"{path}.securityContext")


def _placement(spec: Value, path: str) -> Iterator[Cause]:
    yield from check_labels(spec.get("nodeSelector") or {}, f"{path}.nodeSelector")
    place_of_terms = ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = ((spec.get("affinity") or {}).get(place_of_terms[0]) or {}).get(place_of_terms[1])
    if terms is not None and not terms.get("nodeSelectorTerms"):
        yield required(f"{path}.affinity.{'.'.join(place_of_terms)}.nodeSelectorTerms", "must have at least one node selector term")
    for place, each in enumerate(spec.get("tolerations") or []):
        yield from one_of(each.get("operator"), f"{path}.tolerations[{place}].operator", "Equal", "Exists")
        if each.get("operator") == "Exists" and each.get("value"):
            told = f"Invalid value: \"{each['value']}\": value must be empty when `operator` is 'Exists'"
            yield Cause(f"{path}.tolerations[{place}].operator", told)
        if not each.get("key") and each.get("operator") != "Exists":
            yield Cause(f"{path}.tolerations[{place}].operator", "Invalid value: operator must be Exists when `key` is empty")
    for place, each in enumerate(spec.get("topologySpreadConstraints") or []):
        here = f"{path}.topologySpreadConstraints[{place}]"
        if (each.get("maxSkew") or 0) < 1:
            yield Cause(f"{here}.maxSkew", "Invalid value: 0: must be greater than zero")
        yield from one_of(each.get("whenUnsatisfiable"), f"{here}.whenUnsatisfiable", "DoNotSchedule", "ScheduleAnyway")


def _hooks(container: Value, spec: Value, path: str) -> Iterator[Cause]:
    for name, hook in (container.get("lifecycle") or {}).items():
        if name == "stopSignal":
            continue
        if not any(action in hook for action in _ACTIONS):
            yield required(f"{path}.{name}", "must specify a handler type")
        grace, seconds = spec.get("terminationGracePeriodSeconds", 30), (hook.get("sleep") or {}).get("seconds", 0)
        if not 0 <= seconds <= grace:
            told = f"Invalid value: {seconds}: must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            yield Cause(f"{path}.{name}.sleep", told)


def _security(context: Value, path: str) -> Iterator[Cause]:
    profile = (context.get("seccompProfile") or {}).get("type")
    yield from one_of(profile, f"{path}.seccompProfile.type", "Localhost", "RuntimeDefault", "Unconfined")
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        if not 0 <= context.get(name, 0) < 2**31:
            yield Cause(f"{path}.{name}", f"Invalid value: {context[name]}: must be between 0 and 2147483647, inclusive")
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        yield Cause(path, "Invalid value: cannot set `allowPrivilegeEscalation` to false and `privileged` to true")


def _container(container: Value, path: str, volumes: Sequence[str], *, init: bool) -> Iterator[Cause]:
    if not LABEL.fullmatch(container.get("name", "")):
        yield Cause(f"{path}.name", f'Invalid value: "{container.get("name", "")}": a lowercase RFC 1123 label')
    if not container.get("image"):
        yield required(f"{path}.image")
    mounts = container.get("volumeMounts") or []
    for place, mount in enumerate(mounts):
        if mount.get("name") not in volumes:
            yield Cause(f"{path}.volumeMounts[{place}].name", f'Not found: "{mount.get("name")}"', "FieldValueNotFound")
    for place, mount_path in duplicates([each.get("mountPath") for each in mounts]):
        yield Cause(f"{path}.volumeMounts[{place}].mountPath", f'Invalid value: "{mount_path}": must be unique')
    for place, variable in enumerate(container.get("env") or []):
        if variable.get("value") and variable.get("valueFrom"):
            yield Cause(f"{path}.env[{place}].valueFrom", 'Invalid value: "": may not be specified when `value` is not empty')
    yield from one_of(container.get("imagePullPolicy"), f"{path}.imagePullPolicy", "Always", "IfNotPresent", "Never")
    yield from _security(container.get("securityContext") or {}, f"{path}.securityContext")
    yield from _ports(container, path)
    yield from _resources(container.get("resources") or {}, f"{path}.resources")
    yield from _probes(container, path, init=init and container.get("restartPolicy") != "Always")


def _ports(container: Value, path: str) -> Iterator[Cause]:
    ports = container.get("ports") or []
    for place, port in enumerate(ports):
        if port.get("name") and not _PORT_NAME.fullmatch(port["name"]):
            yield Cause(f"{path}.ports[{place}].name", f'Invalid value: "{port["name"]}": must be no more than 15 characters')
        number = port.get("containerPort") or 0
        if not 0 < number < 65536:
            yield Cause(f"{path}.ports[{place}].containerPort", f"Invalid value: {number}: must be between 1 and 65535, inclusive")
    for place, name in duplicates([each.get("name") for each in ports if each.get("name")]):
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
        if not actions:
            yield required(f"{path}.{name}", "must specify a handler type")
        for each in actions[1:]:
            yield Cause(f"{path}.{name}.{each}", "Forbidden: may not specify more than 1 handler type", "FieldValueForbidden")
        for each in _NUMBERS_OF_PROBES:
            if probe.get(each, 0) < 0:
                yield Cause(f"{path}.{name}.{each}", f"Invalid value: {probe[each]}: must be greater than or equal to 0")
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
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif with_limit and is_amount(amount) and is_amount(limits[name]):
            if extended and quantity(amount) != quantity(limits[name]):
                yield Cause(f"{path}.requests", f'Invalid value: "{amount}": must be equal to {name} limit of {limits[name]}')
            elif quantity(amount) > quantity(limits[name]):
                yield Cause(f"{path}.requests", f'Invalid value: "{amount}": must be less than or equal to {name} limit of {limits[name]}')


def _amount(name: str, amount: Any, path: str) -> Iterator[Cause]:
    if not is_amount(amount):
        yield Cause(path, f'Invalid value: "{amount}": must be a quantity that is not negative')
    elif "/" in name and quantity(amount) != int(quantity(amount)):
        yield Cause(path, f'Invalid value: "{amount}": must be an integer')
    elif "/" not in name and name not in ("cpu", "memory", "ephemeral-storage") and not name.startswith("hugepages-"):
        yield Cause(path, f'Invalid value: "{name}": must be a standard resource type or fully qualified')
