# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from ..api import Value, timestamp
from ..errors import ApiError
from ..store import Change
from .manager import NODES, PODS, Item, Manager, condition, condition_of, is_going, is_true, owner_reference
from .scheduler import misfit

REVISION = "deployment.kubernetes.io/revision"
DEPLOYMENTS = ("apps", "deployments")
REPLICA_SETS = ("apps", "replicasets")
STATEFUL_SETS = ("apps", "statefulsets")
DAEMON_SETS = ("apps", "daemonsets")
JOBS = ("batch", "jobs")
CLAIMS = ("", "persistentvolumeclaims")


def template_hash(template: Value) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def _share(value: Any, of: int, *, up: bool) -> int:
    """A count or a percentage of replicas."""
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * of / 100
        return math.ceil(exact) if up else math.floor(exact)
    return int(value)


def is_active(pod: Value) -> bool:
    return not is_going(pod) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def seconds_since(moment: str) -> float:
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds()


def is_available(pod: Value, least: int) -> bool:
    """Ready for at least this many seconds."""
    return is_true(pod, "Ready") and (not least or seconds_since(condition_of(pod, "Ready")["lastTransitionTime"]) >= least)


class Workloads:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._progress: dict[str, tuple[Any, float]] = {}
        manager.handle(DEPLOYMENTS, self.deployment)
        manager.handle(REPLICA_SETS, self.replica_set)
        manager.handle(STATEFUL_SETS, self.stateful_set)
        manager.handle(DAEMON_SETS, self.daemon_set)
        manager.handle(JOBS, self.job)
        manager.followers.append(self._of_nodes)

    def _of_nodes(self, change: Change) -> Iterator[Item]:
        for each in self._manager.api.store.all(DAEMON_SETS) if change.key == NODES else ():
            yield Item(DAEMON_SETS, each["metadata"]["namespace"], each["metadata"]["name"])

    def _new_pod(self, owner: Value, template: Value, name: str = "", **labels: str) -> None:
        """Makes a pod, or tells why not in an event and raises ApiError."""
        metadata = copy.deepcopy(template.get("metadata") or {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        names = {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
        metadata.update(names, namespace=owner["metadata"]["namespace"], ownerReferences=[owner_reference(owner)])
        try:
            pod = self._manager.create(PODS, {"metadata": metadata, "spec": copy.deepcopy(template["spec"])})
        except ApiError as error:
            self._manager.event(owner, "FailedCreate", f"Error creating: {error.message}", kind="Warning")
            raise
        self._manager.event(owner, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")

    # --- deployments

    def deployment(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return None
        spec = value["spec"]
        sets = self._manager.owned(REPLICA_SETS, value)
        new = next((each for each in sets if _same_template(each, spec["template"])), None)
        if new is None and not spec.get("paused"):
            if spec["strategy"]["type"] == "Recreate" and self._scale_down_all(value, sets):
                return self._deployment_status(value, sets, None)
            new = self._new_set(value, sets)
            sets.append(new)
        if new is not None:
            self._renumber(value, new, sets)
            self._roll(value, new, [each for each in sets if each is not new])
        value = self._manager.api.get(self._manager.resource(DEPLOYMENTS), item.namespace, item.name)
        sets = self._manager.owned(REPLICA_SETS, value)
        return self._deployment_status(
            value, sets, new and next(each for each in sets if each["metadata"]["uid"] == new["metadata"]["uid"])
        )

    def _scale_down_all(self, value: Value, sets: Sequence[Value]) -> bool:
        """Whether pods of old templates are still there."""
        for each in sets:
            self._scale(value, each, 0)
        return any(self._manager.owned(PODS, each) for each in sets)

    def _new_set(self, value: Value, sets: Sequence[Value]) -> Value:
        spec = value["spec"]
        template = copy.deepcopy(spec["template"])
        digest = template_hash(template)
        template.setdefault("metadata", {}).setdefault("labels", {})["pod-template-hash"] = digest
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})["pod-template-hash"] = digest
        metadata = {
            "name": f"{value['metadata']['name']}-{digest}", "namespace": value["metadata"]["namespace"],
            "labels": dict(template["metadata"]["labels"]), "ownerReferences": [owner_reference(value)],
            "annotations": {REVISION: str(_next_revision(sets))},
        }  # fmt: skip
        made = {"replicas": 0, "selector": selector, "template": template, "minReadySeconds": spec.get("minReadySeconds", 0)}
        return self._manager.create(REPLICA_SETS, {"metadata": metadata, "spec": made})

    def _renumber(self, value: Value, new: Value, sets: Sequence[Value]) -> None:
        """A template that comes back gets the next revision; the deployment names the revision that it is at."""
        others = [each for each in sets if each is not new]
        revision = _revision(new)
        if others and revision <= max(map(_revision, others)):
            revision = _next_revision(sets)
        annotation = {REVISION: str(revision)}
        for key, each in ((REPLICA_SETS, new), (DEPLOYMENTS, value)):
            if (each["metadata"].get("annotations") or {}).get(REVISION) != str(revision):
                live = self._manager.api.get(self._manager.resource(key), each["metadata"]["namespace"], each["metadata"]["name"])
                self._manager.api.edit(
                    self._manager.resource(key), live, lambda one: one["metadata"].setdefault("annotations", {}).update(annotation)
                )

    def _scale(self, deployment: Value, replica_set: Value, replicas: int) -> None:
        metadata = replica_set["metadata"]
        live = self._manager.api.find(REPLICA_SETS, metadata["namespace"], metadata["name"])
        if live is None or live["spec"]["replicas"] == replicas:
            return
        word = "up" if replicas > live["spec"]["replicas"] else "down"
        told = f"Scaled {word} replica set {metadata['name']} from {live['spec']['replicas']} to {replicas}"
        self._manager.event(deployment, "ScalingReplicaSet", told)
        self._manager.api.edit(self._manager.resource(REPLICA_SETS), live, lambda one: one["spec"].update(replicas=replicas))

    def _roll(self, value: Value, new: Value, old: list[Value]) -> None:
        """One step of a rolling update within maxSurge and maxUnavailable."""
        spec, wanted = value["spec"], value["spec"]["replicas"]
        if spec["strategy"]["type"] == "Recreate":
            return self._scale(value, new, wanted)
        rolling = spec["strategy"]["rollingUpdate"]
        surge, missing = (_share(rolling[name], wanted, up=name == "maxSurge") for name in ("maxSurge", "maxUnavailable"))
        missing = 1 if not surge and not missing else missing
        there, total = new["spec"]["replicas"], sum(each["spec"]["replicas"] for each in [new, *old])
        if there > wanted or not old or total == there:
            self._scale(value, new, wanted)
        elif there < wanted:
            self._scale(value, new, there + max(0, min(wanted + surge - total, wanted - there)))
        broken = max(0, there - _count(new, "availableReplicas"))
        spare = total - (wanted - missing) - broken
        for each in sorted(old, key=_revision):
            idle = each["spec"]["replicas"] - _count(each, "availableReplicas")
            step = max(0, min(idle, spare))
            spare -= step
            available = sum(_count(one, "availableReplicas") for one in [new, *old]) - (wanted - missing)
            step += max(0, min(each["spec"]["replicas"] - step, available, spare))
            spare -= step
            if step:
                self._scale(value, each, each["spec"]["replicas"] - step)
        return None

    def _deployment_status(self, value: Value, sets: Sequence[Value], new: Value | None) -> None:
        wanted = value["spec"]["replicas"]
        total, ready, available = (sum(_count(each, name) for each in sets) for name in ("replicas", "readyReplicas", "availableReplicas"))
        updated = _count(new, "replicas") if new else 0
        counts = {
            "replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available,
            "unavailableReplicas": max(0, max(wanted, total) - available),
        }  # fmt: skip
        rolling = value["spec"]["strategy"].get("rollingUpdate") or {"maxUnavailable": 0}
        enough = available >= wanted - _share(rolling["maxUnavailable"], wanted, up=False)
        words = ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        if not enough:
            words = ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        done = updated == wanted == total and available >= wanted and new is not None
        conditions = [condition("Available", enough, *words), self._progressing(value, new, counts, done=done)]
        failure = new and condition_of(new, "ReplicaFailure")
        if failure:
            conditions.append(failure)
        for each in conditions:
            each.setdefault("lastUpdateTime", each["lastTransitionTime"])
        counts = {name: number for name, number in counts.items() if number}
        self._manager.set_status(
            DEPLOYMENTS, value, {"observedGeneration": value["metadata"]["generation"], **counts, "conditions": conditions}
        )
        if done:
            self._forget_old(value, [each for each in sets if each is not new])

    def _progressing(self, value: Value, new: Value | None, counts: dict[str, int], *, done: bool) -> Value:
        uid, name = value["metadata"]["uid"], new["metadata"]["name"] if new else ""
        if done:
            self._progress.pop(uid, None)
            return condition("Progressing", True, "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
        state = (name, tuple(counts.values()))
        if self._progress.get(uid, (None, 0.0))[0] != state:
            self._progress[uid] = (state, time.monotonic())
        left = value["spec"]["progressDeadlineSeconds"] - (time.monotonic() - self._progress[uid][1])
        if left <= 0:
            return condition("Progressing", False, "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
        self._manager.enqueue(Item(DEPLOYMENTS, value["metadata"]["namespace"], value["metadata"]["name"]), left + 0.01)
        return condition("Progressing", True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')

    def _forget_old(self, value: Value, old: list[Value]) -> None:
        idle = sorted((each for each in old if not each["spec"]["replicas"] and not _count(each, "replicas")), key=_revision)
        for each in idle[: max(0, len(idle) - value["spec"]["revisionHistoryLimit"])]:
            self._manager.delete(REPLICA_SETS, each)

    # --- replica sets

    def replica_set(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        wanted, failure = value["spec"]["replicas"], None
        pods = [pod for pod in self._manager.owned(PODS, value) if is_active(pod)]
        for pod in sorted(pods, key=lambda each: is_true(each, "Ready"))[: max(0, len(pods) - wanted)]:
            self._manager.event(value, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
            self._manager.delete(PODS, pod)
        try:
            for _missing in range(wanted - len(pods)):
                self._new_pod(value, value["spec"]["template"])
        except ApiError as error:
            failure = condition("ReplicaFailure", True, "FailedCreate", error.message)
            self._manager.enqueue(item, 0.5)
        pods = [pod for pod in self._manager.owned(PODS, value) if is_active(pod)]
        least = value["spec"].get("minReadySeconds") or 0
        counts = {
            "replicas": len(pods), "fullyLabeledReplicas": len(pods), "readyReplicas": sum(is_true(pod, "Ready") for pod in pods),
            "availableReplicas": sum(is_available(pod, least) for pod in pods),
        }  # fmt: skip
        if counts["availableReplicas"] < counts["readyReplicas"]:
            self._manager.enqueue(item, 0.2)
        kept = {name: number for name, number in counts.items() if number or name == "replicas"}
        status = {"observedGeneration": value["metadata"]["generation"], **kept, "conditions": [failure] if failure else []}
        self._manager.set_status(REPLICA_SETS, value, status)

    # --- stateful sets

    def stateful_set(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        revision = f"{value['metadata']['name']}-{template_hash(value['spec']['template'])}"
        pods = {pod["metadata"]["name"]: pod for pod in self._manager.owned(PODS, value)}
        self._stateful_step(value, pods, revision)
        pods = {pod["metadata"]["name"]: pod for pod in self._manager.owned(PODS, value)}
        active = [pod for pod in pods.values() if is_active(pod)]
        updated = sum(pod["metadata"]["labels"].get("controller-revision-hash") == revision for pod in active)
        ready, done = sum(is_true(pod, "Ready") for pod in active), updated == value["spec"]["replicas"] == len(active)
        before = (value.get("status") or {}).get("currentRevision", revision)
        status = {
            "observedGeneration": value["metadata"]["generation"],
            "replicas": len(active), "readyReplicas": ready, "availableReplicas": ready,
            "currentReplicas": updated if done else len(active) - updated, "updatedReplicas": updated, "collisionCount": 0,
            "currentRevision": revision if done and ready == updated else before, "updateRevision": revision,
        }  # fmt: skip
        self._manager.set_status(STATEFUL_SETS, value, status)

    def _stateful_step(self, value: Value, pods: dict[str, Value], revision: str) -> None:
        spec, name = value["spec"], value["metadata"]["name"]
        names = [f"{name}-{number}" for number in range(spec["replicas"])]
        ordered = spec["podManagementPolicy"] == "OrderedReady"
        for each in names:
            if each not in pods:
                self._stateful_pod(value, each, revision)
            if ordered and (each not in pods or not is_true(pods[each], "Ready")):
                self._replace_stale(pods, [each], revision)
                return
        surplus = sorted((each for each in pods if each not in names), key=lambda each: -int(each.rsplit("-", 1)[1]))
        for each in surplus[:1] if ordered else surplus:
            self._manager.delete(PODS, pods[each])
        if not surplus and spec["updateStrategy"]["type"] == "RollingUpdate":
            first = (spec["updateStrategy"].get("rollingUpdate") or {}).get("partition") or 0
            self._replace_stale(pods, list(reversed(names[first:])), revision)

    def _replace_stale(self, pods: dict[str, Value], names: Sequence[str], revision: str) -> None:
        """Ends the first pod of an older template; the next look makes it anew. Broken ones are replaced at once."""
        for each in names:
            pod = pods.get(each)
            if pod and is_active(pod) and pod["metadata"]["labels"].get("controller-revision-hash") != revision:
                self._manager.delete(PODS, pod)
                return

    def _stateful_pod(self, value: Value, name: str, revision: str) -> None:
        template = copy.deepcopy(value["spec"]["template"])
        template["spec"].setdefault("hostname", name)
        volumes = template["spec"].setdefault("volumes", [])
        for claim in value["spec"].get("volumeClaimTemplates") or []:
            claim_name = f"{claim['metadata']['name']}-{name}"
            volumes.append({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name}})
            if not self._manager.api.find(CLAIMS, value["metadata"]["namespace"], claim_name):
                labels = {**(claim["metadata"].get("labels") or {}), **(value["spec"]["selector"].get("matchLabels") or {})}
                metadata = {"name": claim_name, "namespace": value["metadata"]["namespace"], "labels": labels}
                self._manager.create(CLAIMS, {"metadata": metadata, "spec": copy.deepcopy(claim["spec"])})
        labels = {"controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": name}
        self._new_pod(value, template, name, **labels, **{"apps.kubernetes.io/pod-index": name.rsplit("-", 1)[1]})

    # --- daemon sets

    def daemon_set(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        revision = template_hash(value["spec"]["template"])
        nodes = {node["metadata"]["name"]: node for node in self._manager.api.store.all(NODES)}
        wanted = [name for name, node in nodes.items() if not misfit(_on_any_node(value), node, daemon=True)]
        pods = [pod for pod in self._manager.owned(PODS, value) if is_active(pod)]
        placed = {pod["spec"].get("nodeName"): pod for pod in pods}
        for name in wanted:
            if name not in placed and not any(each["spec"].get("nodeName") == name for each in self._manager.owned(PODS, value)):
                self._daemon(item, value, name, revision)
        for name, pod in placed.items():
            if name not in wanted:
                self._manager.delete(PODS, pod)
        stale = [pod for pod in pods if pod["metadata"]["labels"].get("controller-revision-hash") != revision]
        if stale and all(is_true(pod, "Ready") for pod in pods if pod not in stale):
            self._manager.delete(PODS, stale[0])
        self._daemon_status(value, wanted, revision)

    def _daemon(self, item: Item, value: Value, node: str, revision: str) -> None:
        template = copy.deepcopy(value["spec"]["template"])
        template["spec"]["nodeName"] = node
        try:
            self._new_pod(value, template, **{"controller-revision-hash": revision, "pod-template-generation": "1"})
        except ApiError:
            self._manager.enqueue(item, 0.5)

    def _daemon_status(self, value: Value, wanted: Sequence[str], revision: str) -> None:
        pods = [pod for pod in self._manager.owned(PODS, value) if is_active(pod)]
        ready = sum(is_true(pod, "Ready") for pod in pods)
        counts = {
            "currentNumberScheduled": len(pods), "desiredNumberScheduled": len(wanted), "numberMisscheduled": 0, "numberReady": ready,
            "updatedNumberScheduled": sum(pod["metadata"]["labels"].get("controller-revision-hash") == revision for pod in pods),
            "numberAvailable": ready, "numberUnavailable": len(wanted) - ready,
        }  # fmt: skip
        required = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
        kept = {name: number for name, number in counts.items() if number or name in required}
        self._manager.set_status(DAEMON_SETS, value, {"observedGeneration": value["metadata"]["generation"], **kept})

    # --- jobs

    def job(self, item: Item, value: Value | None) -> None:
        if value is None or is_going(value):
            return
        spec, status = value["spec"], dict(value.get("status") or {})
        if "selector" not in spec:
            value = self._manager.api.edit(self._manager.resource(JOBS), value, _select_by_uid)
            spec = value["spec"]
        if any(each["type"] in ("Complete", "Failed") for each in status.get("conditions") or []):
            if spec.get("ttlSecondsAfterFinished") is not None:
                self._expire(item, value)
            return
        pods = self._manager.owned(PODS, value)
        phases = [(pod.get("status") or {}).get("phase") for pod in pods]
        done, failed, active = phases.count("Succeeded"), phases.count("Failed"), [pod for pod in pods if is_active(pod)]
        wanted = spec.get("completions", 1)
        if done < wanted and failed <= spec["backoffLimit"] and not spec.get("suspend"):
            for _missing in range(min(spec["parallelism"], wanted - done) - len(active)):
                self._new_pod(value, spec["template"])
            active = [pod for pod in self._manager.owned(PODS, value) if is_active(pod)]
        counts = {"active": len(active), "succeeded": done, "failed": failed, "ready": sum(is_true(pod, "Ready") for pod in active)}
        status = {"startTime": status.get("startTime") or timestamp(), **{name: number for name, number in counts.items() if number}}
        if done >= wanted:
            told = ("CompletionsReached", "Reached expected number of succeeded pods")
            status["conditions"] = [condition("SuccessCriteriaMet", True, *told), condition("Complete", True, *told)]
            status["completionTime"] = timestamp()
            self._manager.event(value, "Completed", "Job completed")
        elif failed > spec["backoffLimit"]:
            told = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
            status["conditions"] = [condition("FailureTarget", True, *told), condition("Failed", True, *told)]
            self._manager.event(value, *told, kind="Warning")
        self._manager.set_status(JOBS, value, status)

    def _expire(self, item: Item, value: Value) -> None:
        ended = next(each for each in value["status"]["conditions"] if each["type"] in ("Complete", "Failed"))
        left = value["spec"]["ttlSecondsAfterFinished"] - seconds_since(ended["lastTransitionTime"])
        if left > 0:
            self._manager.enqueue(item, left)
        else:
            self._manager.delete(JOBS, value)


def _select_by_uid(job: Value) -> None:
    labels = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"], "controller-uid": job["metadata"]["uid"]}
    job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}}
    metadata = job["spec"]["template"].setdefault("metadata", {})
    names = {"batch.kubernetes.io/job-name": job["metadata"]["name"], "job-name": job["metadata"]["name"]}
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels, **names}


def _on_any_node(value: Value) -> Value:
    return {"metadata": value["spec"]["template"].get("metadata") or {}, "spec": value["spec"]["template"]["spec"]}


def _count(value: Value | None, name: str) -> int:
    return int(((value or {}).get("status") or {}).get(name) or 0)


def _revision(replica_set: Value) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def _next_revision(sets: Sequence[Value]) -> int:
    return 1 + max(map(_revision, sets), default=0)


def _same_template(replica_set: Value, template: Value) -> bool:
    own = copy.deepcopy(replica_set["spec"]["template"])
    own["metadata"]["labels"].pop("pod-template-hash", None)
    return bool(own == {**template, "metadata": {**(template.get("metadata") or {})}})
