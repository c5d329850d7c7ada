# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rest: namespaces, garbage, custom resources, services, volumes, budgets, autoscaling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .. import selectors
from ..admission import PROTECTED
from ..api import Value, timestamp
from ..resources import from_definition
from ..schemas import quantity
from ..store import Change, Key
from .manager import PODS, Item, Manager, condition, is_going, is_true, owner_reference
from .workloads import CLAIMS, _share, is_active

NAMESPACES = ("", "namespaces")
SERVICES = ("", "services")
SLICES = ("discovery.k8s.io", "endpointslices")
ENDPOINTS = ("", "endpoints")
VOLUMES = ("", "persistentvolumes")
STORAGE_CLASSES = ("storage.k8s.io", "storageclasses")
DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")
BUDGETS = ("policy", "poddisruptionbudgets")
AUTOSCALERS = ("autoscaling", "horizontalpodautoscalers")
API_SERVICES = ("apiregistration.k8s.io", "apiservices")


class Namespaces:
    """Fills new namespaces and empties those that go."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        manager.handle(NAMESPACES, self.namespace)
        manager.followers.append(self._inside)

    def _inside(self, change: Change) -> Iterator[Item]:
        if change.type == "DELETED" and change.value["metadata"].get("namespace"):
            yield Item(NAMESPACES, "", change.value["metadata"]["namespace"])

    def namespace(self, item: Item, value: Value | None) -> None:
        if value is None:
            return
        store = self._manager.api.store
        if not is_going(value):
            for plural, name in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
                if not store.get(("", plural), item.name, name):
                    self._manager.create(("", plural), {"metadata": {"name": name, "namespace": item.name}})
            return
        inside = [(key, each) for key in store.kinds() for each in store.all(key, item.name)]
        for key, each in inside:
            if not is_going(each) and store.get(key, item.name, each["metadata"]["name"]):
                self._manager.delete(key, each)
        if not any(store.all(key, item.name) for key in store.kinds()) and not value["metadata"].get("finalizers"):
            store.delete(self._manager.resource(NAMESPACES), value)


class Garbage:
    """Deletes what belonged to something that is gone, and does the foreground and orphaning kinds of deletion."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        manager.followers.append(self._note)
        manager.handle(("", "garbage"), self._collect)

    def _note(self, change: Change) -> Iterator[Item]:
        metadata = change.value["metadata"]
        waits = {"foregroundDeletion", "orphan"} & set(metadata.get("finalizers") or [])
        owners = metadata.get("ownerReferences") or []
        before = (change.previous or {"metadata": {}})["metadata"].get("ownerReferences") or []
        if change.type == "DELETED" or owners != before or waits:
            yield Item(("", "garbage"), "", "collect")

    def _collect(self, _item: Item, _value: Value | None) -> None:
        store = self._manager.api.store
        everything = [(key, each) for key in store.kinds() for each in store.all(key)]
        uids = {each["metadata"]["uid"] for _key, each in everything}
        for key, each in everything:
            owners = each["metadata"].get("ownerReferences") or []
            live = store.get(key, each["metadata"].get("namespace"), each["metadata"]["name"])
            if live is None:
                continue
            if owners and not any(owner["uid"] in uids for owner in owners) and not is_going(live):
                self._manager.delete(key, live)
            elif is_going(live):
                self._finish(key, live)

    def _finish(self, key: Key, value: Value) -> None:
        finalizers, uid = value["metadata"].get("finalizers") or [], value["metadata"]["uid"]
        if "orphan" in finalizers:
            for kind, each in list(self._manager.api.store.owned_by(uid)):
                self._manager.api.edit(self._manager.resource(kind), each, lambda one: _disown(one, uid))
            self._release(key, value, "orphan")
        elif "foregroundDeletion" in finalizers:
            dependents = list(self._manager.api.store.owned_by(uid))
            for kind, each in dependents:
                if not is_going(each):
                    self._manager.delete(kind, each)
            if not any(_blocks(each, uid) for _kind, each in self._manager.api.store.owned_by(uid)):
                self._release(key, value, "foregroundDeletion")

    def _release(self, key: Key, value: Value, finalizer: str) -> None:
        def change(one: Value) -> None:
            one["metadata"]["finalizers"] = [each for each in one["metadata"]["finalizers"] if each != finalizer]

        self._manager.api.edit(self._manager.resource(key), value, change)


def _disown(value: Value, uid: str) -> None:
    value["metadata"]["ownerReferences"] = [each for each in value["metadata"]["ownerReferences"] if each["uid"] != uid]


def _blocks(value: Value, uid: str) -> bool:
    return any(each["uid"] == uid and each.get("blockOwnerDeletion") for each in value["metadata"]["ownerReferences"])


class CustomResources:
    """Serves the kinds of CustomResourceDefinitions. statuses: kind → what an operator would write into the status."""

    def __init__(self, manager: Manager) -> None:
        self.statuses: dict[str, Callable[[Value], Mapping[str, Any] | None]] = {}
        self._manager = manager
        manager.handle(DEFINITIONS, self.definition)
        manager.followers.append(self._instances)

    def _instances(self, change: Change) -> Iterator[Item]:
        if change.value["kind"] in self.statuses and change.type != "DELETED":
            self._manager.handlers.setdefault(change.key, [self.instance])
            yield Item(change.key, change.value["metadata"].get("namespace", ""), change.value["metadata"]["name"])

    def instance(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value) or value["kind"] not in self.statuses:
            return
        status = self.statuses[value["kind"]](value)
        if status is not None:
            told = {"observedGeneration": value["metadata"].get("generation", 1), **status}
            self._manager.set_status(item.key, value, told)

    def definition(self, item: Item, value: Value | None) -> None:
        if value is None:
            group, plural = item.name.partition(".")[2], item.name.partition(".")[0]
            self._manager.api.registry.remove(group, plural)
            return
        key = value["spec"]["group"], value["spec"]["names"]["plural"]
        if is_going(value):
            for each in self._manager.api.store.all(key):
                self._manager.delete(key, each)
            if not self._manager.api.store.all(key):
                self._manager.api.store.delete(self._manager.resource(DEFINITIONS), value)
            return
        self._manager.api.registry.remove(*key)
        for resource in from_definition(value):
            self._manager.api.registry.add(resource)
        accepted = condition("NamesAccepted", True, "NoConflicts", "no conflicts found")
        established = condition("Established", True, "InitialNamesAccepted", "the initial names have been accepted")
        stored = [each["name"] for each in value["spec"]["versions"] if each.get("storage")]
        status = {"acceptedNames": value["spec"]["names"], "storedVersions": stored, "conditions": [accepted, established]}
        self._manager.set_status(DEFINITIONS, value, status)


class Services:
    """Endpoints of services. load_balancer: the address that LoadBalancers get, "" while there is none to be had."""

    def __init__(self, manager: Manager) -> None:
        self.load_balancer = "127.0.0.1"
        self._manager = manager
        manager.handle(SERVICES, self.service)
        manager.followers.append(self._of_pods)

    def _of_pods(self, change: Change) -> Iterator[Item]:
        if change.key == PODS:
            for service in self._manager.api.store.all(SERVICES, change.value["metadata"]["namespace"]):
                yield Item(SERVICES, service["metadata"]["namespace"], service["metadata"]["name"])

    def service(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        if value["spec"]["type"] == "LoadBalancer" and self.load_balancer:
            self._manager.set_status(SERVICES, value, {"loadBalancer": {"ingress": [{"ip": self.load_balancer, "ipMode": "VIP"}]}})
        elif value["spec"]["type"] != "LoadBalancer" and (value.get("status") or {}).get("loadBalancer"):
            self._manager.set_status(SERVICES, value, {"loadBalancer": {}})
        if not value["spec"].get("selector"):
            return
        pods = [
            pod
            for pod in self._manager.api.store.all(PODS, item.namespace)
            if selectors.matches({"matchLabels": value["spec"]["selector"]}, pod["metadata"].get("labels") or {})
            and (pod.get("status") or {}).get("podIP")
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        self._slice(value, pods)
        self._endpoints(value, pods)

    def _slice(self, service: Value, pods: list[Value]) -> None:
        published = bool(service["spec"].get("publishNotReadyAddresses"))
        endpoints = [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": published or (is_true(pod, "Ready") and not is_going(pod)), "serving": is_true(pod, "Ready"),
                    "terminating": is_going(pod),
                },
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": {"kind": "Pod", **{name: pod["metadata"][name] for name in ("name", "namespace", "uid")}},
            }
            for pod in pods
        ]  # fmt: skip
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        wanted = {"addressType": "IPv4", "endpoints": endpoints, "ports": list(_endpoint_ports(service, pods))}
        metadata = {"name": f"{name}-slice", "namespace": namespace, "labels": {**(service["metadata"].get("labels") or {}), **labels}}
        self._put(SLICES, service, metadata, wanted)

    def _endpoints(self, service: Value, pods: list[Value]) -> None:
        """The older kind, which tools still read."""
        ready, waiting = [], []
        for pod in pods:
            target = {"kind": "Pod", **{name: pod["metadata"][name] for name in ("name", "namespace", "uid")}}
            address = {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": target}
            (ready if is_true(pod, "Ready") and not is_going(pod) else waiting).append(address)
        places = {name: each for name, each in (("addresses", ready), ("notReadyAddresses", waiting)) if each}
        subsets = [{**places, "ports": list(_endpoint_ports(service, pods))}] if places else []
        metadata = {name: service["metadata"][name] for name in ("name", "namespace")}
        self._put(ENDPOINTS, service, metadata, {"subsets": subsets})

    def _put(self, key: Key, service: Value, metadata: Value, wanted: Mapping[str, Any]) -> None:
        live = self._manager.api.find(key, metadata["namespace"], metadata["name"])
        if live is None:
            self._manager.create(key, {"metadata": {**metadata, "ownerReferences": [owner_reference(service)]}, **wanted})
        elif any(live.get(name) != each for name, each in wanted.items()):
            self._manager.api.edit(self._manager.resource(key), live, lambda one: one.update(wanted))


def target_port(pod: Value | None, port: Mapping[str, Any]) -> int | None:
    """The number of a service's port in a pod."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in (pod or {"spec": {"containers": []}})["spec"]["containers"]:
        for each in container.get("ports") or []:
            if each.get("name") == target:
                return int(each["containerPort"])
    return None


def _endpoint_ports(service: Value, pods: list[Value]) -> Iterator[dict[str, Any]]:
    for port in service["spec"].get("ports") or []:
        number = target_port(pods[0] if pods else None, port)
        if number is not None:
            more = {"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}
            yield {"name": port.get("name", ""), "port": number, "protocol": port["protocol"], **more}


class Volumes:
    """Binds claims: to a volume that is there, or to one that a storage class makes."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        manager.handle(CLAIMS, self.claim)
        manager.handle(VOLUMES, self.volume)
        manager.followers.append(self._waiting)

    def _waiting(self, change: Change) -> Iterator[Item]:
        if change.key in (VOLUMES, STORAGE_CLASSES, PODS):
            for claim in self._manager.api.store.all(CLAIMS):
                if (claim.get("status") or {}).get("phase") != "Bound" or is_going(claim):
                    yield Item(CLAIMS, claim["metadata"]["namespace"], claim["metadata"]["name"])
        if change.key == CLAIMS and (change.type == "DELETED" or (change.value.get("status") or {}).get("phase") == "Bound"):
            for pod in self._manager.api.store.all(PODS, change.value["metadata"]["namespace"]):
                if not pod["spec"].get("nodeName"):
                    yield Item(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
            if change.type == "DELETED" and change.value["spec"].get("volumeName"):
                yield Item(VOLUMES, "", change.value["spec"]["volumeName"])

    def volume(self, item: Item, value: Value | None) -> None:
        if value is None:
            return
        if is_going(value):
            if (value.get("status") or {}).get("phase") != "Bound":
                self._let_go(VOLUMES, value)
            return
        reference = value["spec"].get("claimRef")
        if not reference:
            self._manager.set_status(VOLUMES, value, {"phase": "Available"})
        elif not self._manager.api.find(CLAIMS, reference["namespace"], reference["name"]) and value["status"]["phase"] == "Bound":
            value = self._manager.set_status(VOLUMES, value, {"phase": "Released"})
            if value["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                self._manager.delete(VOLUMES, value)

    def claim(self, item: Item, value: Value | None) -> None:
        if value is not None and is_going(value) and not any(pod["spec"].get("nodeName") for pod in self._users(value)):
            self._let_go(CLAIMS, value)
        if value is None or is_going(value) or (value.get("status") or {}).get("phase") == "Bound":
            return
        volume = next((each for each in self._manager.api.store.all(VOLUMES) if _suits(each, value)), None)
        name = value["spec"].get("storageClassName")
        if volume is None and name:
            found = self._manager.api.find(STORAGE_CLASSES, None, name)
            if found is None:
                told = f'storageclass.storage.k8s.io "{name}" not found'
                self._manager.event(value, "ProvisioningFailed", told, kind="Warning", component="persistentvolume-controller")
                return
            if found["volumeBindingMode"] == "WaitForFirstConsumer" and not any(self._users(value)):
                told = "waiting for first consumer to be created before binding"
                self._manager.event(value, "WaitForFirstConsumer", told, component="persistentvolume-controller")
                return
            volume = self._provision(value, found)
        if volume is not None:
            self._bind(value, volume)

    def _let_go(self, key: Key, value: Value) -> None:
        def change(one: Value) -> None:
            one["metadata"]["finalizers"] = [each for each in one["metadata"].get("finalizers") or [] if each != PROTECTED[key]]

        if PROTECTED[key] in (value["metadata"].get("finalizers") or []):
            self._manager.api.edit(self._manager.resource(key), value, change)

    def _users(self, claim: Value) -> Iterator[Value]:
        """Pods that mount it and have not ended."""
        for pod in self._manager.api.store.all(PODS, claim["metadata"]["namespace"]):
            mounted = ((each.get("persistentVolumeClaim") or {}).get("claimName") for each in pod["spec"].get("volumes") or [])
            if claim["metadata"]["name"] in mounted and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                yield pod

    def _provision(self, claim: Value, storage_class: Value) -> Value:
        name = f"pvc-{claim['metadata']['uid']}"
        spec = {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]}, "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": storage_class["reclaimPolicy"], "storageClassName": storage_class["metadata"]["name"],
            "csi": {"driver": storage_class["provisioner"], "volumeHandle": name},
        }  # fmt: skip
        self._manager.event(
            claim, "ProvisioningSucceeded", f"Successfully provisioned volume {name}", component=storage_class["provisioner"]
        )
        return self._manager.create(VOLUMES, {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Pending"}})

    def _bind(self, claim: Value, volume: Value) -> None:
        named = {name: claim["metadata"][name] for name in ("name", "namespace", "uid")}
        reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **named}
        volume = self._manager.api.edit(self._manager.resource(VOLUMES), volume, lambda one: one["spec"].update(claimRef=reference))
        self._manager.set_status(VOLUMES, volume, {"phase": "Bound"})
        claim = self._manager.api.edit(
            self._manager.resource(CLAIMS), claim, lambda one: one["spec"].update(volumeName=volume["metadata"]["name"])
        )
        status = {"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]}
        self._manager.set_status(CLAIMS, claim, status)


def _suits(volume: Value, claim: Value) -> bool:
    spec, wanted = volume["spec"], claim["spec"]
    reference = spec.get("claimRef") or {}
    mine = (reference.get("namespace"), reference.get("name")) == (claim["metadata"]["namespace"], claim["metadata"]["name"])
    if (reference and not mine) or volume.get("status", {}).get("phase") in ("Released", "Failed"):
        return False
    if wanted.get("volumeName"):
        return bool(wanted["volumeName"] == volume["metadata"]["name"])
    if spec.get("storageClassName", "") != wanted.get("storageClassName", ""):
        return False
    if not selectors.matches(wanted.get("selector") or {}, volume["metadata"].get("labels") or {}):
        return False
    enough = quantity(spec["capacity"]["storage"]) >= quantity(wanted["resources"]["requests"]["storage"])
    return enough and set(wanted["accessModes"]) <= set(spec["accessModes"])


class Budgets:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        manager.handle(BUDGETS, self.budget)
        manager.followers.append(self._of_pods)

    def _of_pods(self, change: Change) -> Iterator[Item]:
        if change.key == PODS:
            for each in self._manager.api.store.all(BUDGETS, change.value["metadata"]["namespace"]):
                yield Item(BUDGETS, each["metadata"]["namespace"], each["metadata"]["name"])

    def budget(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        spec = value["spec"]
        pods = [
            pod
            for pod in self._manager.api.store.all(PODS, item.namespace)
            if selectors.matches(spec.get("selector"), pod["metadata"].get("labels") or {}) and is_active(pod)
        ]
        healthy, total = sum(is_true(pod, "Ready") for pod in pods), len(pods)
        if "minAvailable" in spec:
            least = _share(spec["minAvailable"], total, up=True)
        else:
            least = max(0, total - _share(spec.get("maxUnavailable", 1), total, up=True))
        allowed = max(0, healthy - least)
        told = condition("DisruptionAllowed", allowed > 0, "SufficientPods" if allowed else "InsufficientPods")
        counts = {"currentHealthy": healthy, "desiredHealthy": least, "disruptionsAllowed": allowed, "expectedPods": total}
        self._manager.set_status(BUDGETS, value, {"observedGeneration": value["metadata"]["generation"], **counts, "conditions": [told]})


class Autoscalers:
    """Scales by values that the test sets. metrics: name of a metric ("cpu" is utilization in percent) → its value, an average a pod."""

    def __init__(self, manager: Manager) -> None:
        self.metrics: dict[str, float] = {}
        self._manager = manager
        manager.handle(AUTOSCALERS, self.autoscaler)

    def wake(self) -> None:
        for each in self._manager.api.store.all(AUTOSCALERS):
            self._manager.enqueue(Item(AUTOSCALERS, each["metadata"]["namespace"], each["metadata"]["name"]))

    def autoscaler(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        reference = value["spec"]["scaleTargetRef"]
        resource = self._manager.api.registry.of_kind(reference["apiVersion"], reference["kind"])
        target = resource and self._manager.api.find(resource.key, item.namespace, reference["name"])
        if resource is None or target is None:
            told = condition("AbleToScale", False, "FailedGetScale", f"the HPA controller was unable to get {reference['name']}'s scale")
            self._manager.set_status(AUTOSCALERS, value, {"conditions": [told], "desiredReplicas": 0, "currentReplicas": 0})
            return
        current, spec = target["spec"].get("replicas", 1), value["spec"]
        wanted = [each for each in (self._wanted(metric, current) for metric in spec["metrics"]) if each is not None]
        asked = max(wanted, default=current)
        least = max(asked, spec["minReplicas"])
        bounded = min(least, spec["maxReplicas"])
        if bounded != current:
            self._manager.api.edit(self._manager.resource(resource.key), target, lambda one: one["spec"].update(replicas=bounded))
            self._manager.event(value, "SuccessfulRescale", f"New size: {bounded}", component="horizontal-pod-autoscaler")
        known = condition("ScalingActive", True, "ValidMetricFound", "the HPA was able to successfully calculate a replica count")
        if not wanted:
            known = condition("ScalingActive", False, "FailedGetResourceMetric", "the HPA was unable to compute the replica count")
        able = condition("AbleToScale", True, "ReadyForNewScale", "recommended size matches current size")
        status = {"currentReplicas": current, "desiredReplicas": bounded, "conditions": [able, known]}
        if bounded != current:
            status["lastScaleTime"] = timestamp()
        self._manager.set_status(AUTOSCALERS, value, {"currentMetrics": [], **status})

    def _wanted(self, metric: Mapping[str, Any], current: int) -> int | None:
        source = next(each for name, each in metric.items() if name != "type")
        name = source.get("name") or source["metric"]["name"]
        if name not in self.metrics:
            return None
        target = source["target"]
        aim = target.get("averageUtilization") or quantity(target.get("averageValue") or target.get("value"))
        return math.ceil(current * self.metrics[name] / float(aim))


class ApiServices:
    """Says that aggregated APIs are available once their service has a ready pod."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        manager.handle(API_SERVICES, self.api_service)
        manager.followers.append(self._of_slices)

    def _of_slices(self, change: Change) -> Iterator[Item]:
        if change.key == SLICES:
            for each in self._manager.api.store.all(API_SERVICES):
                yield Item(API_SERVICES, "", each["metadata"]["name"])

    def api_service(self, item: Item, value: Value | None) -> None:
        if value is None:
            return
        service = value["spec"].get("service")
        told = condition("Available", True, "Local" if not service else "Passed", "all checks passed")
        if service:
            found = self._manager.api.find(SLICES, service["namespace"], f"{service['name']}-slice")
            if not any(each["conditions"]["ready"] for each in (found or {"endpoints": []})["endpoints"]):
                why = f'endpoints for service/{service["name"]} in "{service["namespace"]}" have no addresses'
                told = condition("Available", False, "MissingEndpoints", why)
        self._manager.set_status(API_SERVICES, value, {"conditions": [told]})
