# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the rollout of a Deployment, DaemonSet or StatefulSet is done, goes on or is stuck, and sentences on why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]
DONE, GOING, STUCK = "done", "going", "stuck"
DEPLOYMENT, DAEMON_SET, STATEFUL_SET = "Deployment", "DaemonSet", "StatefulSet"
# Kind → its name in the API.
PLURALS = {DEPLOYMENT: "deployments", DAEMON_SET: "daemonsets", STATEFUL_SET: "statefulsets"}
_REVISION = "deployment.kubernetes.io/revision"
# Reasons of a waiting container that seldom pass by themselves. The kubelet tries again, so only their persistence counts.
_BAD = (
    "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """state: done, going or stuck. final: no more waiting can help. text: how far it is, in words. bad: pods in trouble."""

    state: str
    text: str
    final: bool = False
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """An entry of a replica's repository index."""

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True)
class Observed:
    """What belongs to one workload. deployment: it, whatever its kind; None for none. index: a pod's name → its models.
    logs: a pod's name → its last lines."""

    deployment: Object | None = None
    replica_sets: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    index: Mapping[str, Sequence[Model]] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    kind: str = DEPLOYMENT


@dataclass(frozen=True)
class _Counts:
    """Pods that are wanted, are of the newest template, are ready, and all that are there."""

    wanted: int
    new: int
    ready: int
    all: int


def judge(seen: Observed) -> Verdict:
    workload = seen.deployment
    if workload is None:
        return Verdict(STUCK, f"there is no {seen.kind}", final=True)
    counts = _counts(seen.kind, workload["spec"], workload.get("status") or {})
    text = f"{min(counts.new, counts.wanted)} of {counts.wanted} replicas are new, {counts.ready} ready"
    if int((workload.get("status") or {}).get("observedGeneration", 0)) < int(workload["metadata"].get("generation", 0)):
        return Verdict(GOING, "the cluster has not seen it yet")
    if counts.new >= counts.wanted and counts.all <= counts.new and counts.ready >= counts.wanted:
        return Verdict(DONE, f"{counts.wanted} of {counts.wanted} replicas are ready")
    bad = tuple(pod["metadata"]["name"] for pod in new_pods(seen) if in_trouble(pod, seen.index))
    progress = condition(workload, "Progressing")
    if progress.get("status") == "False" and progress.get("reason") == "ProgressDeadlineExceeded":
        overdue = workload["spec"].get("progressDeadlineSeconds", 600)
        return Verdict(STUCK, f"{text}; it made no progress for {overdue} s", final=True, bad=bad)
    return Verdict(STUCK if bad else GOING, text, bad=bad)


def combined(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict for several workloads, by their names: done when all are, stuck when one is."""
    open_ones = {name: each for name, each in verdicts.items() if each.state != DONE}
    if not open_ones:
        return Verdict(DONE, "; ".join(f"{name}: {each.text}" for name, each in verdicts.items()) or "there is nothing to wait for")
    state = STUCK if any(each.state == STUCK for each in open_ones.values()) else GOING
    text = "; ".join(f"{name}: {each.text}" for name, each in open_ones.items())
    bad = tuple(pod for each in open_ones.values() for pod in each.bad)
    return Verdict(state, text, any(each.final for each in open_ones.values()), bad)


def _counts(kind: str, spec: Object, status: Object) -> _Counts:
    def count(name: str, missing: int = 0) -> int:
        return int(status.get(name, missing))

    if kind == DAEMON_SET:
        wanted = count("desiredNumberScheduled")
        # Pods are replaced on their nodes, so there are never more of them. Nothing is updated by itself with the strategy OnDelete.
        new = wanted if _on_delete(spec) else count("updatedNumberScheduled")
        return _Counts(wanted, new, count("numberAvailable"), new)
    wanted = int(spec.get("replicas", 1))
    if kind == STATEFUL_SET:
        rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        new = wanted if _on_delete(spec) or rolling.get("partition") else count("updatedReplicas")
        ready = count("availableReplicas", count("readyReplicas"))
        return _Counts(wanted, new, ready, new)
    return _Counts(wanted, count("updatedReplicas"), count("availableReplicas"), count("replicas"))


def _on_delete(spec: Object) -> bool:
    return bool((spec.get("updateStrategy") or {}).get("type") == "OnDelete")


def condition(value: Object, kind: str) -> Object:
    found = (value.get("status") or {}).get("conditions") or ()
    return next((each for each in found if each["type"] == kind), {})


def new_pods(seen: Observed) -> list[Object]:
    """Those of the workload's present template, without those that leave."""
    if seen.kind != DEPLOYMENT:
        # A former one in trouble keeps a rolling update from going on just as well.
        return staying(seen.pods)
    number = ((seen.deployment or {}).get("metadata", {}).get("annotations") or {}).get(_REVISION)
    uids = {each["metadata"]["uid"] for each in seen.replica_sets if (each["metadata"].get("annotations") or {}).get(_REVISION) == number}
    return [pod for pod in staying(seen.pods) if any(owner["uid"] in uids for owner in pod["metadata"].get("ownerReferences") or ())]


def staying(pods: Sequence[Object]) -> list[Object]:
    """Pods that are not on their way out, by name."""
    found = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and pod.get("status", {}).get("phase") not in _ENDED]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


_ENDED = ("Failed", "Succeeded")


def is_ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def in_trouble(pod: Object, index: Mapping[str, Sequence[Model]]) -> bool:
    """Whether waiting alone will hardly make it ready: a container that cannot start or stay, or models that failed while none loads."""
    if is_ready(pod):
        return False
    for status in container_statuses(pod):
        state = status.get("state") or {}
        if (state.get("waiting") or {}).get("reason") in _BAD:
            return True
        if (state.get("terminated") or {}).get("exitCode") and int(status.get("restartCount", 0)) > 0:
            return True
    models = index.get(pod["metadata"]["name"], ())
    return bool(failed_models(models)) and not any(each.state == "LOADING" for each in models)


def container_statuses(pod: Object) -> list[Object]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def failed_models(models: Sequence[Model]) -> list[Model]:
    return [each for each in models if each.state == "UNAVAILABLE" and each.reason not in ("", "unloaded")]


# --- sentences


def explain(seen: Observed, lines: int = 10) -> list[str]:
    """What keeps the new replicas from being ready, a text each; pods with the same trouble are told once."""
    found: list[str] = []
    if seen.deployment is not None:
        failure = condition(seen.deployment, "ReplicaFailure")
        if failure.get("status") == "True":
            found.append(f"no pods can be made: {failure.get('message', '')}")
    told: dict[tuple[str, ...], list[str]] = {}
    for pod in new_pods(seen):
        if not is_ready(pod):
            told.setdefault(tuple(of_pod(pod, seen, lines)), []).append(pod["metadata"]["name"])
    return found + [f"{_names(names)}: {'; '.join(texts)}" for texts, names in told.items()]


def _names(names: Sequence[str]) -> str:
    return f"pod {names[0]}" if len(names) == 1 else f"pods {', '.join(names)}"


def of_pod(pod: Object, seen: Observed, lines: int = 10) -> Iterator[str]:
    """What one pod waits for or ended with, its warnings and the end of its log, a text each."""
    name = pod["metadata"]["name"]
    texts = [*_placement(pod), *(text for status in container_statuses(pod) for text in _container(status))]
    yield from texts or ["it runs and is not ready"]
    for model in failed_models(seen.index.get(name, ())):
        yield f"model {model.name} {model.version}: {model.reason}".replace(" :", ":")
    for event in _events(name, seen.events):
        yield f"event {event.get('reason', '')}: {str(event.get('message') or '').strip()}"
    log = [line.strip() for line in (seen.logs.get(name) or "").splitlines() if line.strip()][-lines:]
    if log:
        yield "the end of its log: " + " | ".join(log)


def _placement(pod: Object) -> Iterator[str]:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"no node takes it: {scheduled.get('message') or scheduled.get('reason')}"


def _container(status: Object) -> Iterator[str]:
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated")
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or last
    if waiting.get("reason") in (None, "PodInitializing", "ContainerCreating") and not ended:
        return
    if not state.get("running") and waiting.get("reason"):
        message = f" ({waiting['message'].strip()})" if waiting.get("message") else ""
        yield f"container {status['name']} waits: {waiting['reason']}{message}"
    if ended and ended.get("exitCode"):
        times = int(status.get("restartCount", 0))
        again = f", and was started again {times} time{'s' if times != 1 else ''}" if times else ""
        yield f"container {status['name']} ended with {ended['exitCode']} ({ended.get('reason') or 'Error'}){again}"


def _events(pod: str, events: Sequence[Object]) -> list[Object]:
    """The last three different warnings of a pod."""
    mine = [each for each in events if each.get("type") == "Warning" and (each.get("involvedObject") or {}).get("name") == pod]
    mine.sort(key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or ""))
    unique = {(each.get("reason"), each.get("message")): each for each in mine}
    return list(unique.values())[-3:]
