# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Admission: what the server checks and fills in with regard to other objects. Pod Security's "restricted" and "baseline" among it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import defaults
from .errors import ApiError, Cause, forbidden, invalid
from .resources import Resource
from .store import Store
from .words import random_suffix

_LEVEL = "pod-security.kubernetes.io/"
_BASELINE_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
}  # fmt: skip
_RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}
# What stays until nothing uses it any more, and by which finalizer.
PROTECTED = {
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
}
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
Value = Mapping[str, Any]


class Admission:
    """Reads other objects from the store; changes only the object that is admitted.

    webhooks: what operators check and fill in, of the resource, the object and what it replaces. They raise ApiError.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.webhooks: list[Callable[[Resource, dict[str, Any], Value | None], None]] = []
        self.service_address: Callable[[int], str] = lambda count: f"10.96.{count // 250}.{count % 250 + 2}"
        self._addresses = 0

    def namespace(self, resource: Resource, name: str, namespace: str | None, *, creates: bool) -> None:
        """Raises ApiError when the namespace is not there, or going and something would be made in it."""
        if not resource.namespaced or not creates:
            return
        found = self._store.get(("", "namespaces"), None, namespace or "")
        if not found:
            raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"})
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = forbidden(resource, name, why)
            error.details["causes"] = [{"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}]
            raise error

    def admit(self, resource: Resource, value: dict[str, Any], old: Value | None, warn: Callable[[str], None]) -> None:
        """Raises ApiError for what is refused."""
        if resource.key == ("", "services"):
            self._service(resource, value, old)
        elif resource.key == ("", "pods") and old is None:
            self._pod(resource, value)
        elif resource.key == ("", "persistentvolumeclaims") and old is None:
            self._claim(value)
        if resource.key in PROTECTED and old is None:
            value["metadata"].setdefault("finalizers", []).append(PROTECTED[resource.key])
        spec = defaults.pod_spec_of(resource, value)
        if spec is not None and (old is None or resource.plural != "pods"):
            self._pod_security(resource, value, spec, warn)
        for each in self.webhooks:
            each(resource, value, old)

    # --- services

    def _service(self, resource: Resource, value: dict[str, Any], old: Value | None) -> None:
        spec = value["spec"]
        _drop_of_other_type(spec, (old or {}).get("spec") or {})
        if spec["type"] == "ExternalName":
            return
        if not spec.get("clusterIP"):
            self._addresses += 1
            before = ((old or {}).get("spec") or {}).get("clusterIP")
            spec["clusterIP"] = before or self.service_address(self._addresses)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        if spec["type"] == "ClusterIP":
            return
        taken = {each: name for name, each in self._node_ports(value)}
        before_ports = {each.get("name"): each.get("nodePort") for each in ((old or {}).get("spec") or {}).get("ports") or []}
        for place, port in enumerate(spec.get("ports") or []):
            if port.get("nodePort") in taken:
                told = f"Invalid value: {port['nodePort']}: provided port is already allocated"
                raise invalid(resource, value["metadata"]["name"], [Cause(f"spec.ports[{place}].nodePort", told)])
            port.setdefault("nodePort", before_ports.get(port.get("name")) or self._free_port(taken))
            taken[port["nodePort"]] = value["metadata"]["name"]

    def _node_ports(self, value: Value) -> Iterator[tuple[str, int]]:
        mine = (value["metadata"].get("namespace"), value["metadata"]["name"])
        for service in self._store.all(("", "services")):
            if (service["metadata"]["namespace"], service["metadata"]["name"]) != mine:
                for port in service["spec"].get("ports") or []:
                    if port.get("nodePort"):
                        yield service["metadata"]["name"], port["nodePort"]

    @staticmethod
    def _free_port(taken: Mapping[int, str]) -> int:
        return next(port for port in range(30000, 32768) if port not in taken)

    # --- claims and pods

    def _claim(self, value: dict[str, Any]) -> None:
        if "storageClassName" in value["spec"]:
            return
        for each in self._store.all(("storage.k8s.io", "storageclasses")):
            if (each["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true":
                value["spec"]["storageClassName"] = each["metadata"]["name"]

    def _pod(self, resource: Resource, value: dict[str, Any]) -> None:
        metadata, spec = value["metadata"], value["spec"]
        account = spec["serviceAccountName"]
        if not self._store.get(("", "serviceaccounts"), metadata["namespace"], account):
            why = f'error looking up service account {metadata["namespace"]}/{account}: serviceaccount "{account}" not found'
            raise forbidden(resource, metadata["name"], why)
        self._token(metadata["namespace"], spec)
        if spec.get("priorityClassName"):
            found = self._store.get(("scheduling.k8s.io", "priorityclasses"), None, spec["priorityClassName"])
            if not found:
                raise forbidden(resource, metadata["name"], f"no PriorityClass with name {spec['priorityClassName']} was found")
            spec.update(priority=found["value"], preemptionPolicy=found["preemptionPolicy"])
        if spec.get("runtimeClassName") and not self._store.get(("node.k8s.io", "runtimeclasses"), None, spec["runtimeClassName"]):
            why = f'pod rejected: RuntimeClass "{spec["runtimeClassName"]}" not found'
            raise forbidden(resource, metadata["name"], why)

    def _token(self, namespace: str, spec: dict[str, Any]) -> None:
        """The account's token, for each container that has nothing in its place."""
        account = self._store.get(("", "serviceaccounts"), namespace, spec["serviceAccountName"]) or {}
        if not spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
            return
        name = f"kube-api-access-{random_suffix()}"
        field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
        sources = [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [field]}},
        ]
        without = [each for each in defaults.containers_of(spec) if _TOKEN not in (m["mountPath"] for m in each.get("volumeMounts") or [])]
        for container in without:
            container.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": _TOKEN})
        if without:
            spec.setdefault("volumes", []).append({"name": name, "projected": {"defaultMode": 420, "sources": sources}})

    # --- pod security

    def _pod_security(self, resource: Resource, value: Value, spec: Value, warn: Callable[[str], None]) -> None:
        namespace = self._store.get(("", "namespaces"), None, value["metadata"].get("namespace") or "") or {"metadata": {}}
        labels = namespace["metadata"].get("labels") or {}
        for mode in ("enforce", "warn"):
            level = labels.get(f"{_LEVEL}{mode}", "privileged")
            found = list(violations(spec, level))
            if not found:
                continue
            told = f'violate PodSecurity "{level}:latest": {", ".join(found)}'
            if mode == "enforce" and resource.plural == "pods":
                raise forbidden(resource, value["metadata"]["name"], told.replace("violate ", "violates ", 1))
            if mode == "warn" or resource.plural != "pods":
                warn(f"would {told}")
                return


def _drop_of_other_type(spec: dict[str, Any], before: Value) -> None:
    """What only the former type of a service had goes with it, unless the client wrote it anew."""
    if before.get("type") in ("NodePort", "LoadBalancer") and spec["type"] in ("ClusterIP", "ExternalName"):
        taken = {port.get("nodePort") for port in before.get("ports") or []}
        for port in spec.get("ports") or []:
            if port.get("nodePort") in taken:
                port.pop("nodePort", None)
        for name in ("externalTrafficPolicy", "allocateLoadBalancerNodePorts"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    if spec["type"] == "ExternalName" and before.get("clusterIP") == spec.get("clusterIP"):
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)


def violations(spec: Value, level: str) -> Iterator[str]:
    """What a pod's spec does that the level forbids."""
    if level in ("baseline", "restricted"):
        yield from _baseline(spec)
    if level == "restricted":
        yield from _restricted(spec)


def _baseline(spec: Value) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"host namespaces ({name}=true)"
    for volume in spec.get("volumes") or []:
        if "hostPath" in volume:
            yield f'hostPath volumes (volume "{volume["name"]}")'
    for container in defaults.containers_of(spec):
        security = container.get("securityContext") or {}
        if security.get("privileged"):
            yield f'privileged (container "{container["name"]}" must not set securityContext.privileged=true)'
        added = set((security.get("capabilities") or {}).get("add") or []) - _BASELINE_CAPABILITIES
        if added:
            yield f'non-default capabilities (container "{container["name"]}" must not include {sorted(added)} in capabilities.add)'
        if any(port.get("hostPort") for port in container.get("ports") or []):
            yield f'hostPort (container "{container["name"]}" uses a hostPort)'


def _restricted(spec: Value) -> Iterator[str]:
    for volume in spec.get("volumes") or []:
        if set(volume) - {"name"} - _RESTRICTED_VOLUMES and "hostPath" not in volume:
            yield f'restricted volume types (volume "{volume["name"]}")'
    pod = spec.get("securityContext") or {}
    for container in defaults.containers_of(spec):
        named, security = f'container "{container["name"]}"', container.get("securityContext") or {}
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"allowPrivilegeEscalation != false ({named} must set securityContext.allowPrivilegeEscalation=false)"
        if "ALL" not in ((security.get("capabilities") or {}).get("drop") or []):
            yield f'unrestricted capabilities ({named} must set securityContext.capabilities.drop=["ALL"])'
        if security.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"runAsNonRoot != true (pod or {named} must set securityContext.runAsNonRoot=true)"
        if security.get("runAsUser", pod.get("runAsUser")) == 0:
            yield f"runAsUser=0 (pod or {named} must not set runAsUser=0)"
        profile = (security.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            told = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
            yield f"seccompProfile (pod or {named} {told})"
