# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kubernetes' Pod Security Standards, levels baseline and restricted, as their documentation lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_VOLUMES = frozenset({"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"})
# The level baseline lets these be added.
_CAPABILITIES = {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID"}
_CAPABILITIES |= {"SETPCAP", "SETUID", "SYS_CHROOT"}
_SECCOMP = ("RuntimeDefault", "Localhost")

Spec = Mapping[str, Any]


def restricted(spec: Spec) -> list[str]:
    """What forbids a pod at level restricted."""
    return [*baseline(spec), *_restricted(spec)]


def baseline(spec: Spec) -> list[str]:
    """What forbids a pod at level baseline."""
    found = [f"{name} is on" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [f"volume {volume['name']} is a hostPath" for volume in spec.get("volumes", ()) if "hostPath" in volume]
    for container in _containers(spec):
        context = container.get("securityContext") or {}
        added = set((context.get("capabilities") or {}).get("add") or ())
        if context.get("privileged"):
            found.append(f"{container['name']} is privileged")
        if added - _CAPABILITIES:
            found.append(f"{container['name']} adds {', '.join(sorted(added - _CAPABILITIES))}")
        if any(port.get("hostPort") for port in container.get("ports", ())):
            found.append(f"{container['name']} has a port of the host")
        if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
            found.append(f"{container['name']} is unconfined")
    return found


def _restricted(spec: Spec) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    for volume in spec.get("volumes", ()):
        if not _VOLUMES & volume.keys():
            yield f"volume {volume['name']} is of a kind that is not allowed"
    if pod.get("runAsUser") == 0:
        yield "the pod runs as root"
    for container in _containers(spec):
        yield from (f"{container['name']} {problem}" for problem in _container(pod, container.get("securityContext") or {}))


def _container(pod: Spec, context: Spec) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may escalate its privileges"
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile", pod.get("seccompProfile") or {}).get("type") not in _SECCOMP:
        yield "has no seccomp profile"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "does not drop ALL"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"


def _containers(spec: Spec) -> list[Spec]:
    return [*spec.get("initContainers", ()), *spec["containers"]]
